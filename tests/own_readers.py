"""Servers that read a student's own text, for tests: what asks them, without a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fault_server import FaultServer
from pipeline_runs import Noted
from potstill.collect.served.own_text import OwnTextReader
from potstill.collect.served.step import TextReader
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.models.teacher_tokens import TeacherTokens
from potstill.progress import Progress
from potstill.recipe import EndpointConfig
from potstill.terms.gate import Stated, TermsDecision, decide
from potstill.terms.licences import Evidence
from potstill.work.access import Server

NAME = "smollm2-nano"
ALLOWED = decide(NAME, (Evidence("apache-2.0", "test", "apache-2.0"),), Stated())


def text_reader(
    server: FaultServer,
    tokens: TeacherTokens,
    folder: Path,
    count: int,
    decision: TermsDecision = ALLOWED,
    **fields: Any,
) -> TextReader:
    """Return a server as a reader whose log is in `folder`; `fields` are the endpoint's."""
    given = {"top_logprobs": count, "scores_text": True, "price_in": 2.0, "price_out": 4.0}
    config = EndpointConfig(url=server.url, provider="test", **{**given, **fields})
    asked = Server(NAME, config, tells_targets=True)
    spec = TargetSpec("top-k", count)
    found = TextReader.of(asked, tokens, spec, folder / "readings.jsonl", decision)
    assert found is not None
    return found


def own_reader(
    server: FaultServer,
    tokens: TeacherTokens,
    folder: Path,
    count: int,
    *,
    progress: Progress | None = None,
    decision: TermsDecision = ALLOWED,
    **fields: Any,
) -> OwnTextReader:
    """Return what has a server read own text, in `folder`, where it goes on from."""
    reader = text_reader(server, tokens, folder, count, decision, **fields)
    store = ExchangeStore(folder / "run")
    shown = progress or Noted()
    return OwnTextReader(
        reader, store, folder / "read", paid=folder / "paid.jsonl", progress=shown, environ={}
    )
