"""Responses collected from the fault server, and what is said meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fault_server import FaultServer
from potstill.collect.served.answers import collect_from_endpoint
from potstill.collect.served.figures import EndpointFigures
from potstill.exchanges.exchange import Exchange, Prompt
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.models.sampling import Sampling
from potstill.models.teacher_tokens import TeacherTokens
from potstill.progress import Silent, Step
from potstill.recipe import EndpointConfig
from potstill.terms import Evidence, Stated, TermsDecision, decide
from potstill.text.turns import prompt_id_of

KEY = "sk-very-secret-0123456789"
ALLOWED = decide("nano", (Evidence("mit", "test", "mit"),), Stated())
SAMPLING = Sampling(max_tokens=16, seed=4)


class Notes(Silent):
    """Keeps what is said, and the last figures shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.done = 0.0
        self.shown: dict[str, Any] = {}

    @contextmanager
    def step(self, name: str, total: float | None = None, unit: str = "") -> Iterator[Step]:
        yield self

    def advance(self, amount: float = 1.0, **figures: float | int | str) -> None:
        self.done += amount
        self.shown |= figures

    def note(self, text: str) -> None:
        self.lines.append(text)


def prompts(count: int, text: str = "Question {}") -> list[Prompt]:
    made = []
    for i in range(count):
        messages = ({"role": "user", "content": text.format(i)},)
        made.append(Prompt(prompt_id_of(messages), messages, "train", "test"))
    return made


def collected(
    server: FaultServer,
    root: Path,
    asked: list[Prompt],
    *,
    decision: TermsDecision = ALLOWED,
    samples: int = 1,
    sampling: Sampling = SAMPLING,
    progress: Notes | None = None,
    model: str = "nano",
    tokens: TeacherTokens | None = None,
    spec: TargetSpec | None = None,
    **fields: Any,
) -> EndpointFigures:
    config = EndpointConfig(**{"url": server.url, "provider": "test", **fields})
    store = ExchangeStore(root)
    try:
        return collect_from_endpoint(
            config,
            model,
            asked,
            sampling,
            store,
            decision,
            samples=samples,
            tokens=tokens,
            spec=spec,
            paid=root / "paid.jsonl",
            progress=progress or Notes(),
            environ={"THE_KEY": KEY},
        )
    finally:
        store.close()


def rows(root: Path) -> list[Exchange]:
    store = ExchangeStore(root)
    found = store.read()
    store.close()
    return found
