"""What the tests of gathering share: a mark, a log of items, a suspect's server."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from made_keys import key_of

from potstill.canonical import canonical_json
from potstill.durable import append_line, read_lines
from potstill.models.loaded import LoadedModel
from potstill.trace.finding import TraceRecord
from potstill.trace.marks import PlannedMark, planned_mark
from potstill.trace.suspect import EndpointSuspect
from potstill.watermark.schemes import GreenList

GREEN = GreenList(key_of("trace"), 2, 0.5, 4.0)
DIGEST = "d" * 64

R = TypeVar("R", bound=TraceRecord)


def mark_of(teacher: LoadedModel) -> PlannedMark:
    """Return the mark of a teacher's answers."""
    tokenizer = teacher.tokenizer
    return planned_mark(GREEN, tokenizer=teacher.tokenizer_id, vocabulary=len(tokenizer))


class ItemFile:
    """A raw log without its chain; `dies_after` items the process is killed."""

    def __init__(self, path: Path, kind: type[TraceRecord], dies_after: int | None = None) -> None:
        self.path, self.kind, self.left = path, kind, dies_after

    @property
    def items(self) -> list[Any]:
        return [
            self.kind.model_validate_json(canonical_json(values))
            for values in read_lines(self.path)
        ]

    def append(self, item: TraceRecord) -> None:
        append_line(self.path, canonical_json(item.model_dump(mode="json")))
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def server_suspect(url: str, model: str = "smollm2-nano", **more: Any) -> EndpointSuspect:
    """Return a suspect behind a server, asked once and a few at a time."""
    endpoint = {"url": url, "provider": "someone", "max_in_flight": 4, "tries": 1, **more}
    return EndpointSuspect.model_validate({"model": model, "endpoint": endpoint})


def killed(work: Callable[[], None]) -> None:
    """Do some work in a process of its own that is killed by itself."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)  # it was to be killed before
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
