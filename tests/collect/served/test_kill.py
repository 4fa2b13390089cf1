"""A collecting process that is killed loses nothing that was stored and doubles nothing."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import scoring_server
from fault_server import Behaviour, FaultServer
from potstill.collect.served.answers import collect_from_endpoint
from potstill.collect.served.figures import EndpointFigures
from potstill.exchanges.exchange import Prompt
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.models.sampling import Sampling
from potstill.models.teacher_tokens import TeacherTokens
from potstill.progress import Silent
from potstill.recipe import EndpointConfig
from potstill.terms import Evidence, Stated, decide
from potstill.text.turns import prompt_id_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

COUNT, SAMPLES = 120, 2


SPEC = TargetSpec("top-k", scoring_server.COUNT)


def collected(
    url: str, root: Path, model: str = "nano", tokens: TeacherTokens | None = None
) -> EndpointFigures:
    prompts = []
    for i in range(COUNT):
        messages = ({"role": "user", "content": f"Question {i}"},)
        prompts.append(Prompt(prompt_id_of(messages), messages, "train", "test"))
    store = ExchangeStore(root)
    try:
        return collect_from_endpoint(
            EndpointConfig(
                url=url,
                provider="test",
                max_in_flight=16,
                top_logprobs=scoring_server.COUNT if tokens else 0,
            ),
            model,
            prompts,
            Sampling(max_tokens=16),
            store,
            decide("nano", (Evidence("mit", "test", "mit"),), Stated()),
            samples=SAMPLES,
            tokens=tokens,
            spec=SPEC if tokens else None,
            progress=Silent(),
        )
    finally:
        store.close()


def killed(url: str, root: Path, *more: Any, appends: int, after: bool) -> None:
    """Collect in a child that kills itself at its n-th append, before or after it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside the server's thread
        pid = os.fork()
    if pid == 0:
        plain, left = ExchangeStore.append, appends

        def append(self: ExchangeStore, *rows: Any) -> None:
            nonlocal left
            left -= 1
            if left == 0 and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            plain(self, *rows)
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        ExchangeStore.append = append  # type: ignore[method-assign]
        try:
            collected(url, root, *more)
        except BaseException as error:
            os.write(2, repr(error).encode())
        os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "the child ended by itself"
    assert os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.skipif(sys.platform == "darwin", reason="forks beside threads")
def test_after_kills_everything_is_stored_once(tmp_path: Path) -> None:
    with FaultServer(Behaviour(rate=0.1, seed=2, delay_s=0.01)) as server:
        for appends, after in ((1, False), (1, True), (2, False), (2, True)):
            killed(server.url, tmp_path, appends=appends, after=after)
        store = ExchangeStore(tmp_path)
        before = {row.exchange_id: row.response for row in store.read()}
        store.close()
        asked_before = server.seen.copy()
        figures = collected(server.url, tmp_path)
        store = ExchangeStore(tmp_path)
        rows = store.read()
        store.close()
    assert 0 < len(before) < COUNT * SAMPLES
    assert figures.before == len(before)
    assert figures.before + figures.stored == COUNT * SAMPLES == len(rows)
    assert {(r.messages[0]["content"], r.sample_index) for r in rows} == {
        (f"Question {i}", sample) for i in range(COUNT) for sample in range(SAMPLES)
    }
    assert before.items() <= {row.exchange_id: row.response for row in rows}.items()
    # What was stored in full is not asked again.
    whole = [r.messages[0]["content"] for r in rows if r.exchange_id in before]
    assert all(
        server.seen[text] == asked_before[text] for text in whole if whole.count(text) == SAMPLES
    )


@pytest.mark.skipif(sys.platform == "darwin", reason="forks beside threads")
def test_after_kills_every_response_has_all_of_its_targets_or_none(
    nano_llama: Path, tmp_path: Path
) -> None:
    tokens = TeacherTokens.of(nano_llama)
    assert tokens.id_of_text  # before the forks, which would each read it
    with scoring_server.ScoringServer(tokens) as server:
        more = ("smollm2-nano", tokens)
        for appends, after in ((1, True), (2, False), (2, True)):
            killed(server.url, tmp_path, *more, appends=appends, after=after)
        store = ExchangeStore(tmp_path)
        stored = len(store.ids())
        store.close()
        figures = collected(server.url, tmp_path, *more)
    assert 0 < stored == figures.before < COUNT * SAMPLES
    store = ExchangeStore(tmp_path)
    rows = store.read()
    having = {row.exchange_id: row.response_token_ids for row in rows if row.response_token_ids}
    assert store.target_ids("test/smollm2-nano", SPEC) == having.keys()
    values = store.targets("test/smollm2-nano", SPEC, list(having))
    assert [len(v) for v in values] == [len(ids) for ids in having.values()]
    assert len(rows) == COUNT * SAMPLES > len(having) > figures.targets
    store.close()
