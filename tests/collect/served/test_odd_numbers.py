"""Servers whose numbers are no distribution: their text is kept, and counted with the reason."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.models.teacher_tokens import TeacherTokens
from scoring_server import COUNT, ScoringServer
from served_collecting import Notes, collected, prompts

SPEC = TargetSpec("top-k", COUNT)
Row = dict[str, Any]


@pytest.fixture(scope="module")
def tokens(nano_llama: Path) -> TeacherTokens:
    return TeacherTokens.of(nano_llama)


class Odd(ScoringServer):
    """Every second answer's rows are changed."""

    def __init__(self, tokens: TeacherTokens, change: Callable[[Row], Row]) -> None:
        super().__init__(tokens, broken=10**9)
        self.change, self.changed = change, 0

    def _answer(self, body: Row, model: str) -> Row:
        answer = super()._answer(body, model)
        if int(body["messages"][-1]["content"].split()[-1]) % 2:
            self.changed += 1
            for choice in answer["choices"]:
                content = choice["logprobs"]["content"]
                choice["logprobs"]["content"] = [self.change(row) for row in content]
        return answer


def every(value: Any) -> Callable[[Row], Row]:
    """Return a change that gives all entries one log-probability."""

    def change(row: Row) -> Row:
        top = [entry | {"logprob": value} for entry in row["top_logprobs"]]
        return row | {"logprob": value, "top_logprobs": top}

    return change


def others(value: Any) -> Callable[[Row], Row]:
    """Return a change that makes the first entry certain, and gives the others a value."""

    def change(row: Row) -> Row:
        first, *rest = row["top_logprobs"]
        top = [first | {"logprob": 0.0}, *(entry | {"logprob": value} for entry in rest)]
        return row | {"logprob": 0.0, "top_logprobs": top}

    return change


def own(value: Any) -> Callable[[Row], Row]:
    return lambda row: row | {"logprob": value}


def twice(row: Row) -> Row:
    first, *rest = row["top_logprobs"]
    return row | {"top_logprobs": [first, *rest[:-1], first | {"logprob": -2.0}]}


def shuffled(row: Row) -> Row:
    top = list(row["top_logprobs"])
    random.Random(1).shuffle(top)
    return row | {"top_logprobs": top}


NONE = "a log-probability that is none"
ABOVE = "log-probabilities whose probabilities add up to more than 1"
MARK = "a mark in place of a log-probability (-9999 or the like)"
OWN = "a token's own log-probability is not that of its entry in the list"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (every(0.0), ABOVE),
        (every(float("nan")), NONE),
        (every(0.7), NONE),
        (every(-40.0), "tokens that cannot be the likeliest: they leave too much to the others"),
        (others(-9999.0), MARK),
        (others(float("-inf")), MARK),
        (own(-3.3), OWN),
        (own(0.0), OWN),
        (twice, "two log-probabilities of one token"),
    ],
)
def test_numbers_that_are_no_distribution_are_no_targets(
    change: Callable[[Row], Row], reason: str, tokens: TeacherTokens, tmp_path: Path
) -> None:
    progress = Notes()
    with Odd(tokens, change) as server:
        figures = collected(
            server,
            tmp_path,
            prompts(12),
            model="smollm2-nano",
            tokens=tokens,
            spec=SPEC,
            top_logprobs=COUNT,
            progress=progress,
        )
        assert isinstance(server, Odd) and server.changed == 6
    assert (figures.stored, figures.targets) == (12, 6)
    assert figures.without_targets == {reason: 6}
    assert any(
        f"6 responses have targets, the others none: {reason} (6)" in line
        for line in progress.lines
    )
    store = ExchangeStore(tmp_path)
    assert len(store.target_ids("test/smollm2-nano", SPEC)) == 6
    store.close()


def test_entries_in_no_order_are_targets(tokens: TeacherTokens, tmp_path: Path) -> None:
    with Odd(tokens, shuffled) as server:
        figures = collected(
            server,
            tmp_path,
            prompts(12),
            model="smollm2-nano",
            tokens=tokens,
            spec=SPEC,
            top_logprobs=COUNT,
        )
    assert (figures.targets, figures.without_targets) == (12, {})


@pytest.mark.parametrize(("read", "cut"), [(7, 12), (2_000, 0), (0, 0)])
def test_prompts_that_a_server_did_not_read_whole_are_said(
    read: int, cut: int, tokens: TeacherTokens, tmp_path: Path
) -> None:
    class Cutting(ScoringServer):
        def _answer(self, body: Row, model: str) -> Row:
            answer = super()._answer(body, model)
            answer["usage"]["prompt_tokens"] = read
            return answer

    progress = Notes()
    with Cutting(tokens) as server:
        figures = collected(
            server,
            tmp_path,
            prompts(12),
            model="smollm2-nano",
            tokens=tokens,
            spec=SPEC,
            top_logprobs=COUNT,
            progress=progress,
        )
    assert (figures.cut_prompts, figures.compared) == (cut, 12 if read else 0)
    said = [line for line in progress.lines if "read fewer tokens" in line]
    assert len(said) == (1 if cut else 0)
    if cut:
        most = max(len(tokens.prompt_ids(p.messages) or ()) for p in prompts(12)) - 7
        assert "of 12 of 12 prompts the server read fewer tokens than they have" in said[0]
        assert f"up to {most} fewer: it cuts them, or has another template" in said[0]
        assert figures.notes()[-1] == said[0].partition(": ")[2]
