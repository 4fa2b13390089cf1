"""Stored calls of a large model, from logs, as exchanges or as prompts."""

from potstill.collect.calls.call import Reason
from potstill.collect.calls.exchanges import Calls, exchanges_from_calls, prompts_from_calls
from potstill.collect.calls.forms import Detected, detect
from potstill.collect.calls.reading import Log, read_calls
from potstill.collect.calls.tally import CallsReport

__all__ = [
    "Calls",
    "CallsReport",
    "Detected",
    "Log",
    "Reason",
    "detect",
    "exchanges_from_calls",
    "prompts_from_calls",
    "read_calls",
]
