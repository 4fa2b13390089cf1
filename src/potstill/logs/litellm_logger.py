"""A callback of LiteLLM's, in its library or its proxy, that writes a serving log.

It needs LiteLLM (`pip install potstill[litellm]`), in whose process it runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any

from potstill.errors import PotstillError
from potstill.extras import extra_package
from potstill.logs.litellm_rows import NotLogged, ServedBy, rows_of
from potstill.logs.serving_file import ServingLog

_Base: Any = extra_package(
    "litellm.integrations.custom_logger", "the callback of the serving log", extra="litellm"
).CustomLogger
_REMEMBERED = 10_000  # calls, of which LiteLLM may tell twice
_logger = logging.getLogger(__name__)


class ServingLogger(_Base):
    """Writes each answer of a model that LiteLLM serves into a serving log.

    `counts` says what became of the calls: how many answers were written, and how many calls made
    no row, by reason. What cannot be written (a full disk) is counted as `not written`, and each
    time said in the log of Python's `logging`: LiteLLM would swallow the error.
    """

    def __init__(self, log: ServingLog | Path | str, by: ServedBy, **more: Any) -> None:
        super().__init__(**more)
        self.log = log if isinstance(log, ServingLog) else ServingLog(log)
        self.by = by
        self.counts: Counter[str] = Counter()
        self._told: OrderedDict[str, None] = OrderedDict()
        self._lock = Lock()

    def log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """Write what a call came to; LiteLLM calls this, by these names, after each."""
        self._write(kwargs, response_obj)

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """Write what an asynchronous call came to, without keeping others waiting for the disk."""
        await asyncio.to_thread(self._write, kwargs, response_obj)

    def _write(self, kwargs: dict[str, Any], response_obj: Any) -> None:
        if not self._first_time(kwargs.get("litellm_call_id")):
            self._count(NotLogged.TWICE)
            return
        dump = getattr(response_obj, "model_dump", None)
        response = dump() if callable(dump) else response_obj
        found = rows_of(kwargs, response if isinstance(response, dict) else {}, self.by)
        if isinstance(found, NotLogged):
            self._count(found)
            if found in (NotLogged.UNFIT, NotLogged.REDACTED, NotLogged.INCOMPLETE):
                _logger.warning("a call is not in the serving log: it is one %s", found.value)
            return
        try:
            self.log.append(found)
        except PotstillError as error:
            self._count("not written", len(found))
            _logger.error("a served answer is not in the serving log: %s", error)
            return
        self._count("written", len(found))

    def _count(self, what: str, count: int = 1) -> None:
        with self._lock:
            self.counts[what] += count

    def _first_time(self, call_id: Any) -> bool:
        """Tell whether a call was not told before; LiteLLM may tell of a streamed one twice."""
        if not isinstance(call_id, str):
            return True
        with self._lock:
            if call_id in self._told:
                return False
            self._told[call_id] = None
            if len(self._told) > _REMEMBERED:
                self._told.popitem(last=False)
            return True
