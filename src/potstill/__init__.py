"""Distil a small language model from a larger one, and report what it kept and what it cost.

The names below are the library; the pages in `docs/library/` show each at work. They are loaded
when they are first asked for, so that `import potstill` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from potstill import logs as logs
    from potstill import losses as losses
    from potstill.errors import PotstillError as PotstillError
    from potstill.exchanges.exchange import Exchange as Exchange
    from potstill.exchanges.store import ExchangeStore as ExchangeStore
    from potstill.recipe import Recipe as Recipe
    from potstill.runs.callbacks import Callback as Callback
    from potstill.runs.library import distill as distill
    from potstill.runs.run import Run as Run
    from potstill.runs.run import open_run as open_run
    from potstill.runs.verified_any import VerifiedLineage as VerifiedLineage
    from potstill.runs.verified_any import verify_lineage as verify_lineage
    from potstill.runs.verified_trace import VerifiedTrace as VerifiedTrace
    from potstill.runs.verified_trace import verify_trace as verify_trace
    from potstill.work.evaluation import Evaluation as Evaluation

_WHERE = {
    "Callback": "potstill.runs.callbacks",
    "Evaluation": "potstill.work.evaluation",
    "Exchange": "potstill.exchanges.exchange",
    "ExchangeStore": "potstill.exchanges.store",
    "PotstillError": "potstill.errors",
    "Recipe": "potstill.recipe",
    "Run": "potstill.runs.run",
    "VerifiedLineage": "potstill.runs.verified_any",
    "VerifiedTrace": "potstill.runs.verified_trace",
    "distill": "potstill.runs.library",
    "open_run": "potstill.runs.run",
    "verify_lineage": "potstill.runs.verified_any",
    "verify_trace": "potstill.runs.verified_trace",
}
_PACKAGES = ("logs", "losses")

__all__ = [
    "Callback",
    "Evaluation",
    "Exchange",
    "ExchangeStore",
    "PotstillError",
    "Recipe",
    "Run",
    "VerifiedLineage",
    "VerifiedTrace",
    "distill",
    "logs",
    "losses",
    "open_run",
    "verify_lineage",
    "verify_trace",
]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"potstill.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module 'potstill' has no attribute {name!r}")
    found = getattr(import_module(_WHERE[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
