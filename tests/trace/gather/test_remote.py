"""A suspect's server: each question is asked once, whatever happens in between."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gathered import DIGEST, GREEN, ItemFile, server_suspect

from fault_server import Behaviour, FaultServer
from potstill.canonical import canonical_json
from potstill.endpoint.budget import Tokens
from potstill.errors import PotstillError
from potstill.trace.gather.answers import gather_answers
from potstill.trace.gather.remote import RemoteModel, spent_in
from potstill.trace.marks import planned_mark
from potstill.trace.marks_in_text import AnswerItem, MarksInTextPlanned, marks_in_text_finding

MARK = planned_mark(GREEN, tokenizer="blake3:teacher", vocabulary=256)


def planned(prompts: int = 6, **more: Any) -> MarksInTextPlanned:
    texts = tuple(f"Prompt {i}?" for i in range(prompts))
    return MarksInTextPlanned(configuration="c", mark=MARK, prompts=texts, **more)


def encode(text: str) -> list[int]:
    """The teacher's tokenizer: a byte is a token."""
    return list(text.encode())


def gather(plan: MarksInTextPlanned, remote: RemoteModel, log: ItemFile) -> list[AnswerItem]:
    gather_answers(plan, remote, GREEN, encode, DIGEST, log.items, log.append)
    found: list[AnswerItem] = log.items
    return found


def remote_of(server: FaultServer, folder: Path, **more: Any) -> RemoteModel:
    return RemoteModel(server_suspect(server.url, "nano", **more), folder / "spool.jsonl")


@pytest.fixture
def log(tmp_path: Path) -> ItemFile:
    return ItemFile(tmp_path / "raw.jsonl", AnswerItem)


def test_every_answer_is_an_item_in_plan_order(tmp_path: Path, log: ItemFile) -> None:
    plan = planned(samples=2, temperature=0.7, max_tokens=9)
    with FaultServer() as server:
        items = gather(plan, remote_of(server, tmp_path), log)
    assert [(i.index, i.prompt, i.sample, i.outcome) for i in items] == [
        (n, n % 6, n // 6, "answered") for n in range(12)
    ]
    assert all(i.text and i.ids == tuple(encode(i.text)) for i in items)
    assert {(b["temperature"], b["max_tokens"], b["top_p"]) for b in server.bodies} == {
        (0.7, 9, 1.0)
    }
    assert len({b["seed"] for b in server.bodies}) == 12
    # Nothing is computed that a reader of plan and items could not compute again.
    found = marks_in_text_finding(plan, items, DIGEST)
    assert found == marks_in_text_finding(plan, items, DIGEST, GREEN)
    assert found.n > 100


def test_seeds_follow_from_the_plan_alone(tmp_path: Path) -> None:
    seen = []
    for number in range(2):
        folder = tmp_path / str(number)
        with FaultServer() as server:
            gather(planned(), remote_of(server, folder), ItemFile(folder / "raw.jsonl", AnswerItem))
        seen.append({(b["messages"][0]["content"], b["seed"]) for b in server.bodies})
    assert seen[0] == seen[1]


def test_a_finished_log_asks_nothing(tmp_path: Path, log: ItemFile) -> None:
    with FaultServer() as server:
        before = gather(planned(), remote_of(server, tmp_path), log)
        assert server.requests == 6
        assert gather(planned(), remote_of(server, tmp_path), log) == before
        assert server.requests == 6


def test_what_was_paid_for_is_not_asked_again_though_no_item_was_written(
    tmp_path: Path, log: ItemFile
) -> None:
    with FaultServer() as server:

        def fails(item: AnswerItem) -> None:
            raise RuntimeError("no room")

        with pytest.raises(RuntimeError, match="no room"):
            gather_answers(planned(), remote_of(server, tmp_path), GREEN, encode, DIGEST, [], fails)
        assert server.requests == 6
        assert len(gather(planned(), remote_of(server, tmp_path), log)) == 6
        assert server.requests == 6


def test_a_kill_loses_at_most_what_was_in_flight(tmp_path: Path, log: ItemFile) -> None:
    """The process dies while answers come; what its spool holds is never asked again."""
    import os
    import signal
    import threading

    from gathered import killed

    plan = planned(40)
    with FaultServer(Behaviour(latency_s=0.05)) as server:
        remote = remote_of(server, tmp_path)

        def work() -> None:
            def watch() -> None:
                while not remote.spool.exists() or remote.spool.read_bytes().count(b"\n") < 8:
                    pass
                os.kill(os.getpid(), signal.SIGKILL)

            threading.Thread(target=watch, daemon=True).start()
            gather_answers(plan, remote, GREEN, encode, DIGEST, [], log.append)

        killed(work)
        kept = remote.spool.read_bytes().count(b"\n")
        assert 8 <= kept < 40
        items = gather(plan, remote, log)
    assert [item.index for item in items] == list(range(40))
    assert all(item.answered for item in items)
    asked = Counter(body["messages"][0]["content"] for body in server.bodies)
    assert len(asked) == 40
    # Those in flight at the kill, and those of the last moment, which no disk had yet.
    assert sum(asked.values()) - 40 <= 16


def test_what_the_server_fails_at_is_counted_and_never_dropped(
    tmp_path: Path, log: ItemFile
) -> None:
    faults = ("500", "200 with an error", "truncated JSON")
    with FaultServer(Behaviour(rate=0.4, faults=faults, seed=3)) as server:
        items = gather(planned(30), remote_of(server, tmp_path), log)
        outcomes = Counter(item.outcome for item in items)
        assert outcomes["answered"] + outcomes["error"] == 30
        assert 0 < outcomes["error"] == sum(server.met.values())
        requests = server.requests
        gather(planned(30), remote_of(server, tmp_path), log)
        assert server.requests == requests
    assert all(not item.ids and not item.scores for item in items if not item.answered)
    assert marks_in_text_finding(planned(30), items, DIGEST).coins == 0


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        (Behaviour(text='" "'), "empty"),
        (Behaviour(text='""'), "empty"),
        (Behaviour(finish="content_filter"), "refused"),
        (Behaviour(finish="no word of any server"), "unreadable"),
        (Behaviour(text='"a\\u0000b"'), "unreadable"),
    ],
)
def test_a_suspect_that_gives_nothing_has_items_that_say_so(
    tmp_path: Path, log: ItemFile, behaviour: Behaviour, outcome: str
) -> None:
    with FaultServer(behaviour) as server:
        items = gather(planned(), remote_of(server, tmp_path), log)
    assert [item.outcome for item in items] == [outcome] * 6
    found = marks_in_text_finding(planned(), items, DIGEST)
    assert found.void is not None
    assert found.n == 0


def test_a_prompt_that_is_refused_each_time_is_refused(tmp_path: Path, log: ItemFile) -> None:
    refusal = {"error": {"message": "no", "code": "content_policy_violation"}}
    with FaultServer(Behaviour(status=(400, refusal))) as server:
        items = gather(planned(), remote_of(server, tmp_path), log)
    assert [item.outcome for item in items] == ["refused"] * 6


def test_a_server_that_fails_at_everything_costs_no_question(tmp_path: Path, log: ItemFile) -> None:
    with FaultServer(Behaviour(status=(500, {}))) as server:
        remote = remote_of(server, tmp_path)
        with pytest.raises(PotstillError, match=r"fails at every request \(status 500\)"):
            gather(planned(60), remote, log)
        assert not log.items
        server.behaviour = replace(server.behaviour, status=None)
        assert all(item.answered for item in gather(planned(60), remote, log))


def test_a_question_that_the_server_never_manages_is_an_error_in_the_end(
    tmp_path: Path, log: ItemFile
) -> None:
    class Picky(FaultServer):
        async def _complete(self, body: Any, headers: Any, writer: Any) -> bool:
            status = (500, {}) if body["messages"][-1]["content"] == "Prompt 5?" else None
            self.behaviour = replace(self.behaviour, status=status)
            return await super()._complete(body, headers, writer)

    with Picky() as server:
        items = gather(planned(), remote_of(server, tmp_path, max_in_flight=1), log)
    assert [item.outcome for item in items] == ["answered"] * 5 + ["error"]


def test_an_outage_in_the_middle_costs_no_question(tmp_path: Path, log: ItemFile) -> None:
    class Failing(FaultServer):
        async def _complete(self, body: Any, headers: Any, writer: Any) -> bool:
            if self.requests == 20:
                self.behaviour = replace(self.behaviour, status=(500, {}))
            return await super()._complete(body, headers, writer)

    with Failing() as server:
        remote = remote_of(server, tmp_path)
        with pytest.raises(PotstillError, match="fails at every request"):
            gather(planned(90), remote, log)
        server.behaviour = replace(server.behaviour, status=None)
        items = gather(planned(90), remote, log)
    assert all(item.answered for item in items)


def test_no_server_is_said(tmp_path: Path, log: ItemFile) -> None:
    with FaultServer() as server:
        pass
    with pytest.raises(PotstillError, match=r"suspect\.endpoint\.url"):
        gather(planned(), remote_of(server, tmp_path), log)


def test_a_budget_holds_over_kills(tmp_path: Path, log: ItemFile) -> None:
    """12 tokens are used by each answer; the next may take more than what is left."""
    with FaultServer() as server:
        tight = remote_of(server, tmp_path, budget_tokens=600)
        with pytest.raises(PotstillError, match=r"raise suspect\.endpoint\.budget"):
            gather(planned(40, max_tokens=40), tight, log)
        asked = server.requests
        assert 0 < asked < 40
        with pytest.raises(PotstillError, match="the budget allows no further question"):
            gather(planned(40, max_tokens=40), tight, log)
        assert server.requests == asked
        spent = replace(tight, spent=Tokens(600, 0))
        with pytest.raises(PotstillError, match="the budget allows no further question"):
            gather(planned(3, max_tokens=40), replace(spent, spool=tmp_path / "other"), log)
        assert server.requests == asked
        more = remote_of(server, tmp_path, budget_tokens=60_000)
        assert len(gather(planned(40, max_tokens=40), more, log)) == 40
        assert server.requests == 40


def test_a_damaged_spool_is_said_with_its_line(tmp_path: Path, log: ItemFile) -> None:
    with FaultServer() as server:
        remote = remote_of(server, tmp_path)
        gather(planned(), remote, log)
        lines = remote.spool.read_bytes().splitlines()
        lines[2] = canonical_json({"number": 2, "outcome": "unheard of"})
        remote.spool.write_bytes(b"\n".join(lines) + b"\n")
        with pytest.raises(PotstillError, match=r"line 3 of .* is no reply"):
            gather(planned(), remote, ItemFile(tmp_path / "b.jsonl", AnswerItem))


def test_a_sequential_plan_stops_where_it_is_told(tmp_path: Path, log: ItemFile) -> None:
    plan = planned(300, sequential=True)
    with FaultServer() as server:
        gather_answers(
            plan,
            remote_of(server, tmp_path),
            GREEN,
            encode,
            DIGEST,
            [],
            log.append,
            enough=lambda: len(log.items) >= 200,
        )
    assert len(log.items) == 256
    assert marks_in_text_finding(plan, log.items, DIGEST).sequential


def test_one_budget_holds_for_all_spools(tmp_path: Path) -> None:
    with FaultServer() as server:
        gather(planned(), remote_of(server, tmp_path), ItemFile(tmp_path / "a.jsonl", AnswerItem))
        spent = spent_in([tmp_path / "spool.jsonl", tmp_path / "nothing.jsonl"])
        # As the server says of each answer.
        assert spent == Tokens(6 * 7, 6 * 5)
        more = remote_of(server, tmp_path / "b", budget_tokens=spent.total)
        with pytest.raises(PotstillError, match="the budget allows no further question"):
            gather(
                planned(),
                replace(more, spent=spent),
                ItemFile(tmp_path / "b.jsonl", AnswerItem),
            )
        assert server.requests == 6
