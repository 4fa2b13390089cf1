"""Many things asked of a server: each once, stored as they come, whatever happens meanwhile.

Nothing of a run stands behind it: the rows of these tests are lines in a file.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fault_server import HARMLESS, Behaviour, FaultServer, error
from potstill.endpoint.budget import Tokens
from potstill.endpoint.client import Answered, EndpointClient, Failure, client_for
from potstill.endpoint.many import Stopped, Taken, ask_many
from potstill.endpoint.running import run_async
from potstill.endpoint.settings import ServerSettings, SettingNames
from potstill.endpoint.wire import ChatAnswer, ChatRequest
from potstill.errors import PotstillError
from potstill.models.sampling import Sampling
from potstill.progress import Silent

NAMES = SettingNames.under("suspect", model="suspect.model")


class Said(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@dataclass
class Lines:
    """Asks questions by number, and writes each answer as a line of a file."""

    client: EndpointClient
    path: Path
    parts: int = 1
    """So many requests an item takes, one after the other."""
    taken: Callable[[int], None] = lambda number: None
    stored_rows: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    async def ask(self, item: tuple[int, int]) -> Answered[ChatAnswer] | Failure:
        number, part = item
        messages = ({"role": "user", "content": f"Question {number}"},)
        return await self.client.ask(ChatRequest(messages, Sampling(max_tokens=16), seed=part))

    def take(
        self, item: tuple[int, int], outcome: Answered[ChatAnswer] | Failure
    ) -> Taken[tuple[int, int], str]:
        number, part = item
        if isinstance(outcome, Failure):
            self.failed.append(outcome.reason)
            return Taken(served=None if outcome.final else False)
        self.taken(number)
        row = f"{number} {part} {outcome.answer.choices[0].text}"
        left = (number, part + 1) if part + 1 < self.parts else None
        return Taken([row], served=True, left=left)

    def store(self, rows: list[str]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{row}\n" for row in rows))

    def stored(self, rows: list[str]) -> None:
        self.stored_rows += rows


def settings(server: FaultServer, **fields: Any) -> ServerSettings:
    known = {"provider": "test", "tries": 6, "timeout_s": 300.0, "max_in_flight": 16}
    return ServerSettings(**{"url": server.url, "names": NAMES, **known, **fields})


def asked(
    server: FaultServer,
    path: Path,
    count: int,
    *,
    progress: Said | None = None,
    hopeless: int = 50,
    parts: int = 1,
    taken: Callable[[int], None] = lambda number: None,
    kind: type[Lines] = Lines,
    **fields: Any,
) -> tuple[Stopped | None, Lines]:
    """Ask what has no line yet, so that the same call goes on; return how it ended."""
    client = client_for(settings(server, **fields), "nano", spent=Tokens())
    taker = kind(client, path, parts, taken)
    done = {tuple(map(int, line.split()[:2])) for line in lines(path)}
    items = [(number, part) for number in range(count) for part in [0] if (number, 0) not in done]
    stopped = run_async(
        ask_many(client, items, taker, progress=progress or Said(), hopeless=hopeless)
    )
    return stopped, taker


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def test_everything_is_asked_and_stored_once(tmp_path: Path) -> None:
    with FaultServer(Behaviour(latency_s=0.005)) as server:
        stopped, taker = asked(server, tmp_path / "rows", 200)
        assert server.requests == 200 and server.most_in_flight <= 16
    assert stopped is None
    found = lines(tmp_path / "rows")
    assert taker.stored_rows == found and len(set(found)) == 200
    assert {int(line.split()[0]) for line in found} == set(range(200))


def test_nothing_to_ask_asks_nothing(tmp_path: Path) -> None:
    with FaultServer() as server:
        assert asked(server, tmp_path / "rows", 0)[0] is None
        assert server.requests == 0


def test_what_is_left_of_an_item_is_asked_after_what_came(tmp_path: Path) -> None:
    with FaultServer() as server:
        asked(server, tmp_path / "rows", 20, parts=3)
    found = [line.split()[:2] for line in lines(tmp_path / "rows")]
    assert sorted(map(tuple, found)) == sorted(
        (str(n), str(p)) for n in range(20) for p in range(3)
    )


def test_faults_lose_and_double_nothing(tmp_path: Path) -> None:
    with FaultServer(Behaviour(rate=0.2, seed=1, delay_s=0.01)) as server:
        stopped, taker = asked(server, tmp_path / "rows", 200)
        assert sum(server.met.values()) - sum(server.met[f] for f in HARMLESS) > 10
    assert stopped is None and not taker.failed
    assert len({line.split()[0] for line in lines(tmp_path / "rows")}) == 200
    assert len(lines(tmp_path / "rows")) == 200


def test_an_outage_stops_it_and_the_next_call_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    with FaultServer() as server:
        asked(server, path, 10)
        server.behaviour = Behaviour(rate=1.0, faults=("503",))
        stopped, taker = asked(server, path, 100, hopeless=5, tries=1, max_in_flight=2)
        assert stopped == "failures"
        assert 5 <= len(taker.failed) <= 7 and len(lines(path)) == 10
        server.behaviour = Behaviour()
        assert asked(server, path, 100)[0] is None
    assert len({line.split()[0] for line in lines(path)}) == len(lines(path)) == 100


def test_failures_count_in_a_row_alone(tmp_path: Path) -> None:
    with FaultServer(Behaviour(rate=0.4, faults=("503",), seed=5)) as server:
        fields = {"tries": 1, "max_in_flight": 1}
        stopped, taker = asked(server, tmp_path / "rows", 100, hopeless=12, **fields)
    assert stopped is None and len(taker.failed) > 12


def test_refused_prompts_are_no_outage(tmp_path: Path) -> None:
    with FaultServer(Behaviour(status=(400, error("bad", "no")))) as server:
        stopped, taker = asked(server, tmp_path / "rows", 60, hopeless=5)
    assert stopped is None and len(taker.failed) == 60


def test_a_budget_stops_it_before_it_is_exceeded(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    with FaultServer() as server:
        stopped, taker = asked(server, path, 300, budget_tokens=3_000)
        assert stopped == "budget" and not taker.failed
        assert server.requests * 12 == taker.client.budget.spent.total <= 3_000
    assert 0 < len(lines(path)) == server.requests < 300


def test_an_error_of_the_server_is_raised_once_what_came_is_stored(tmp_path: Path) -> None:
    progress = Said()
    with (
        FaultServer(Behaviour(revoked_after=100, latency_s=0.01)) as server,
        pytest.raises(PotstillError, match=r"name that in suspect\.key_env"),
    ):
        asked(server, tmp_path / "rows", 1_000, progress=progress, max_in_flight=4)
    assert len(lines(tmp_path / "rows")) == 100 == sum(server.seen.values())


def test_an_error_of_the_taker_keeps_the_others(tmp_path: Path) -> None:
    seen: list[int] = []

    def odd(number: int) -> None:
        if len(seen) == 30:
            raise ZeroDivisionError
        seen.append(number)

    progress = Said()
    with FaultServer(Behaviour(latency_s=0.02)) as server, pytest.raises(ZeroDivisionError):
        asked(server, tmp_path / "rows", 400, taken=odd, progress=progress, max_in_flight=4)
    assert len(lines(tmp_path / "rows")) == 30
    assert progress.lines == ["stopping: 3 requests in flight are waited for"]


class _LastWord(Lines):
    """Finds out with its tenth row that there is no use in going on."""

    def take(
        self, item: tuple[int, int], outcome: Answered[ChatAnswer] | Failure
    ) -> Taken[tuple[int, int], str]:
        taken = super().take(item, outcome)
        if item[0] != 9:
            return taken
        return Taken(taken.rows, error=PotstillError("none has what was asked for"))


def test_rows_that_come_with_an_error_are_stored(tmp_path: Path) -> None:
    with (
        FaultServer() as server,
        pytest.raises(PotstillError, match="none has what was asked for"),
    ):
        asked(server, tmp_path / "rows", 400, kind=_LastWord, max_in_flight=1)
    assert [int(line.split()[0]) for line in lines(tmp_path / "rows")] == list(range(10))


class _FullOnce(Lines):
    """A disk that is full at the second group, once."""

    groups = 0

    def store(self, rows: list[str]) -> None:
        self.groups += 1
        if self.groups == 2:
            raise PotstillError("the disk is full")
        super().store(rows)


def test_whatever_stops_the_disk_for_once_what_came_is_kept(tmp_path: Path) -> None:
    with (
        FaultServer(Behaviour(latency_s=0.1)) as server,
        pytest.raises(PotstillError, match="the disk is full"),
    ):
        asked(server, tmp_path / "rows", 400, kind=_FullOnce, max_in_flight=8)
    assert 0 < server.requests < 400
    assert len(lines(tmp_path / "rows")) == sum(server.seen.values())


@pytest.mark.parametrize("moment", [1, 20])
def test_an_interruption_keeps_what_came(tmp_path: Path, moment: int) -> None:
    """Ctrl-C, as the system sends it, while answers come."""
    seen: list[int] = []

    def interrupted(number: int) -> None:
        seen.append(number)
        if len(seen) == moment:
            os.kill(os.getpid(), signal.SIGINT)

    with FaultServer() as server, pytest.raises(KeyboardInterrupt):
        asked(server, tmp_path / "rows", 400, taken=interrupted, max_in_flight=4)
    found = [int(line.split()[0]) for line in lines(tmp_path / "rows")]
    assert sorted(found) == sorted(seen) and len(seen) < 400


def test_it_works_where_a_loop_is_running(tmp_path: Path) -> None:
    async def notebook() -> Stopped | None:
        with FaultServer() as server:
            return asked(server, tmp_path / "rows", 3)[0]

    assert asyncio.run(notebook()) is None
    assert len(lines(tmp_path / "rows")) == 3


def test_a_killed_call_has_stored_what_came(tmp_path: Path) -> None:
    places = (str(Path(__file__).parent), str(Path(__file__).parents[1]))
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(tmp_path / "rows")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*places, *sys.path])},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "silent"
    time.sleep(1.0)  # five times the group's
    process.kill()
    process.wait()
    assert len(lines(tmp_path / "rows")) == 10
    with FaultServer() as server:
        asked(server, tmp_path / "rows", 40)
        assert server.requests == 30
    assert len({line.split()[0] for line in lines(tmp_path / "rows")}) == 40


# Ten questions are answered, the eleventh never.
_KILLED = """
import asyncio, sys
from pathlib import Path
import test_many as tests

class Mute(tests.FaultServer):
    async def _complete(self, body, headers, writer):
        if self.requests == 10:
            print("silent", flush=True)
            await asyncio.sleep(600)
        return await super()._complete(body, headers, writer)

with Mute() as server:
    tests.asked(server, Path(sys.argv[1]), 40, max_in_flight=1)
"""
