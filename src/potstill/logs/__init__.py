"""Stored calls of a large model: readers of the forms that logs have. Nothing here needs torch."""

from potstill.logs.call import Reason
from potstill.logs.forms import Detected, detect
from potstill.logs.reading import Log, read_calls
from potstill.logs.tally import CallsReport

__all__ = ["CallsReport", "Detected", "Log", "Reason", "detect", "read_calls"]
