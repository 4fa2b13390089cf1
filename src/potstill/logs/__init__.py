"""Stored calls of a large model: readers of the forms that logs have. Nothing here needs torch."""

from potstill.logs.accounts import Account
from potstill.logs.call import Ask, CallFacts, LoggedAnswer, LoggedCall, Reason, Record
from potstill.logs.forms import (
    Detected,
    LogForm,
    detect,
    form_named,
    known_forms,
    register,
    unregister,
)
from potstill.logs.reading import Log, read_calls
from potstill.logs.tally import CallsReport

__all__ = [
    "Account",
    "Ask",
    "CallFacts",
    "CallsReport",
    "Detected",
    "Log",
    "LogForm",
    "LoggedAnswer",
    "LoggedCall",
    "Reason",
    "Record",
    "detect",
    "form_named",
    "known_forms",
    "read_calls",
    "register",
    "unregister",
]
