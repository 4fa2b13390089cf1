"""Servers whose figures, endings and names cannot be taken as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fault_server import Behaviour, FaultServer, error
from potstill.errors import PotstillError
from potstill.models.sampling import Sampling
from served_collecting import KEY, Notes, collected, prompts, rows

LENGTHS = (29, 84, 17, 18)


def llama(*lengths: int, scored: bool = False) -> dict[str, Any]:
    """Return what llama.cpp answers: it counts one of the answers, the first."""
    choices: list[dict[str, Any]] = []
    for length in lengths:
        text = " a" * length
        choice = {"finish_reason": "stop", "message": {"content": text}}
        if scored:
            entry = {"token": " a", "logprob": -0.5}
            row = entry | {"top_logprobs": [entry, {"token": " b", "logprob": -1.5}]}
            choice["logprobs"] = {"content": [row] * length}
        choices.append(choice)
    usage = {"prompt_tokens": 36, "completion_tokens": lengths[0]}
    return {"choices": choices, "usage": usage, "timings": {"predicted_n": lengths[0]}}


@pytest.mark.parametrize("lengths", [(29, 84, 17, 18), (1, 200, 1, 1), (5, 6), (60, 60, 60, 60)])
def test_all_answers_to_one_request_are_charged(tmp_path: Path, lengths: tuple[int, ...]) -> None:
    progress = Notes()
    with FaultServer(Behaviour(more=llama(*lengths, scored=True))) as server:
        sampling, count = Sampling(max_tokens=400), len(lengths)
        figures = collected(
            server, tmp_path, prompts(1), samples=count, sampling=sampling, progress=progress
        )
    assert figures.response_tokens == sum(lengths) and figures.prompt_tokens == 36
    found = sorted(rows(tmp_path), key=lambda row: row.sample_index)
    assert [row.usage["completion_tokens"] for row in found] == list(lengths)
    said = "the server's figures were not all of 1 answers' tokens: those that came are counted"
    assert f"responses: {said}" in [line.replace("collect", "responses") for line in progress.lines]


class Llama(FaultServer):
    """Answers as llama.cpp does; `took` is what it really read and wrote."""

    def __init__(self, *, scored: bool = False) -> None:
        super().__init__()
        self.took, self.scored = 0, scored

    def _answer(self, body: dict[str, Any], model: str) -> dict[str, Any]:
        count, turn = body.get("n", 1), len(self.bodies)
        lengths = [LENGTHS[(turn + i) % len(LENGTHS)] for i in range(count)]
        self.took += 36 + sum(lengths)
        return super()._answer(body, model) | llama(*lengths, scored=self.scored)


@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("at_once", [1, 8])
def test_a_budget_holds_where_one_answer_of_several_is_counted(
    tmp_path: Path, scored: bool, at_once: int
) -> None:
    """2,500 tokens let 3,767 through."""
    progress, sampling = Notes(), Sampling(max_tokens=100)
    with Llama(scored=scored) as server:
        figures = collected(
            server,
            tmp_path,
            prompts(60),
            samples=4,
            sampling=sampling,
            budget_tokens=2_500,
            max_in_flight=at_once,
            progress=progress,
        )
        assert isinstance(server, Llama)
        charged = figures.prompt_tokens + figures.response_tokens
        assert figures.stopped == "budget" and 1_000 < server.took <= charged <= 2_500
    singly = "the server does not count the tokens of all 4 samples; they are asked for one by one"
    assert (singly in progress.lines) != scored
    assert figures.charged.keys() <= {"stated", "counted" if scored else "estimated"}
    if scored:
        assert charged == server.took


@pytest.mark.parametrize(
    "usage",
    [None, {}, {"prompt_tokens": 0, "completion_tokens": 0}, {"prompt_tokens": 7}],
)
def test_usage_that_is_not_said_is_unknown(tmp_path: Path, usage: Any) -> None:
    progress = Notes()
    with FaultServer(Behaviour(more={"usage": usage})) as server:
        figures = collected(
            server, tmp_path, prompts(2), progress=progress, price_in=1.0, price_out=1.0
        )
    assert figures.response_tokens > 0 and figures.prompt_tokens > 0
    assert any(line.startswith("collect: 2 responses, at most ") for line in progress.lines)
    assert any("did not say what 2 answers took" in line for line in progress.lines)
    for row in rows(tmp_path):
        assert 0 not in row.usage.values() and "completion_tokens" not in row.usage
    assert figures.notes() == figures.notes() != []


@pytest.mark.parametrize("text", ['""', r'" \n\t"', r'"\u200b"', r'"\u3000\ufeff"'])
def test_white_space_alone_is_no_answer(tmp_path: Path, text: str) -> None:
    progress = Notes()
    with FaultServer(Behaviour(text=text)) as server:
        figures = collected(server, tmp_path, prompts(3), progress=progress)
    assert figures.failed == {"white space alone, no answer": 3} and rows(tmp_path) == []
    assert "white space alone, no answer (3)" in progress.lines[-1]
    # It was paid for all the same.
    assert figures.response_tokens == 15


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("abort", "the server gave the response up"),
        ("error", "the server gave the response up"),
        ("content_filter", "refused, or withheld by the server's content filter"),
        ("unheard-of", "no known finish reason"),
        (None, "no finish reason"),
    ],
)
def test_what_is_not_known_to_be_whole_is_kept_out(
    tmp_path: Path, finish: str | None, reason: str
) -> None:
    with FaultServer(Behaviour(finish=finish)) as server:
        figures = collected(server, tmp_path, prompts(3))
    assert figures.failed == {reason: 3} and rows(tmp_path) == []


def test_answers_as_long_as_they_may_be_are_said(tmp_path: Path) -> None:
    progress = Notes()
    with FaultServer() as server:
        sampling = Sampling(max_tokens=5)
        figures = collected(server, tmp_path, prompts(4), sampling=sampling, progress=progress)
        longer = collected(server, tmp_path / "b", prompts(4), sampling=Sampling(max_tokens=6))
    assert (figures.at_limit, longer.at_limit) == (4, 0)
    assert any(
        "4 responses are as long as they may be, and the server calls them whole" in line
        for line in progress.lines
    )


@pytest.mark.parametrize("name", ["\x1b[31mred\x07", "a\r\nb", "a\u202eb", "a\u2028b\u200b"])
def test_labels_of_a_server_lose_what_a_terminal_obeys(tmp_path: Path, name: str) -> None:
    progress = Notes()
    with FaultServer() as server:
        collected(server, tmp_path, prompts(1))
        server.behaviour = Behaviour(more={"model": name}, fingerprint=name)
        figures = collected(server, tmp_path, prompts(3), progress=progress)
    (kept,) = figures.returned_models
    assert kept.isprintable() and all(line.isprintable() for line in progress.lines)
    assert {row.returned_model for row in rows(tmp_path)} == {"nano", kept}


@pytest.mark.parametrize("label", [KEY, f"model-{KEY}", "sk-proj-Ab12Cd34Ef56Gh78Ij90Kl12"])
def test_no_key_is_kept_as_a_label(tmp_path: Path, label: str) -> None:
    progress = Notes()
    with FaultServer(Behaviour(key=KEY, more={"system_fingerprint": label})) as server:
        collected(server, tmp_path, prompts(2), progress=progress, key_env="THE_KEY")
    for row in rows(tmp_path):
        assert label not in str(row.system_fingerprint)
    assert not any(label in line for line in progress.lines)


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ("<html><body>Welcome</body></html>", "is no OpenAI-compatible one (models gave no list"),
        ({"data": [{"name": "nano"}]}, "is no OpenAI-compatible one (models gave no list"),
        ({"data": "nano"}, "is no OpenAI-compatible one (models gave no list"),
        ({"data": ["one", "two"]}, "has no model nano; it offers one, two:"),
        ([{"id": "one"}], "has no model nano; it offers one:"),
        ({"data": [{"id": "\x1b[2Jone"}]}, "has no model nano; it offers [2Jone:"),
        ({"data": [{"id": f"one {KEY}"}, {"id": "two"}]}, "it offers (a name that looks like a"),
        ({"data": [{"id": KEY[3:15]}]}, "it offers (a name that looks like a key):"),
        ({"data": [{"id": "hf_AbCdEfGhIjKlMnOpQr0123456789"}]}, "(a name that looks like a key)"),
    ],
)
def test_an_odd_list_of_models_gives_one_sentence(tmp_path: Path, listed: Any, words: str) -> None:
    with FaultServer(Behaviour(models=listed)) as server:
        with pytest.raises(PotstillError) as caught:
            collected(server, tmp_path, prompts(2), key_env="THE_KEY")
        assert server.requests == 0
    said = str(caught.value)
    assert words in said and said.isprintable()
    assert KEY[3:15] not in said and "AbCdEf" not in said


@pytest.mark.parametrize("code", [KEY, KEY[:14], "sk-proj-Ab12Cd34Ef56Gh78Ij90Kl12"])
def test_an_error_that_is_named_by_a_key_is_not_quoted(tmp_path: Path, code: str) -> None:
    with FaultServer(Behaviour(status=(400, error(code, f"bad {code}")))) as server:
        figures = collected(server, tmp_path, prompts(2), key_env="THE_KEY")
    assert figures.failed == {"status 400": 2}


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(text='" "'),
        Behaviour(finish="content_filter"),
        Behaviour(rate=1.0, faults=("dropped half-way",)),
        Behaviour(rate=1.0, faults=("truncated JSON",)),
    ],
)
def test_a_budget_counts_what_was_paid_for_nothing_in_later_calls_too(
    tmp_path: Path, behaviour: Behaviour
) -> None:
    with FaultServer(behaviour) as server:
        for _ in range(8):
            figures = collected(server, tmp_path, prompts(9), budget_tokens=600, tries=1)
        asked = server.requests
        assert figures.stopped == "budget" and asked > 0
        collected(server, tmp_path, prompts(9), budget_tokens=600, tries=1)
        assert server.requests == asked
    # An answer that the server counts took 12 tokens, one that it lost as many as it may have.
    assert asked * 12 <= 600
    lines = (tmp_path / "paid.jsonl").read_text(encoding="utf-8").splitlines()
    assert 0 < len(lines) <= 8
