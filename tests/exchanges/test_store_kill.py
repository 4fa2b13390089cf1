"""Killing the store, at any line it executes, loses nothing acknowledged and doubles nothing.

A forked child works on the store and kills itself (SIGKILL) at the n-th line it executes in the
modules that write; the parent then looks at what is on the disk.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from torch import Tensor

from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.rows import Mark
from potstill.exchanges.specs import HIDDEN_FP16
from potstill.exchanges.store import ExchangeStore
from potstill.exchanges.targets import ExchangeTargets, HiddenStates

SCORER = "blake3:teacher"
WRITERS = ("durable.py", "journal.py", "compaction.py", "shards.py", "targets.py", "store.py")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def exchange(number: int) -> Exchange:
    return Exchange(
        exchange_id=f"id-{number:04d}",
        prompt_id=f"prompt-{number}",
        split="train",
        messages=({"role": "user", "content": str(number)},),
        response=f"response {number}",
        prompt_token_ids=(1, 2),
        response_token_ids=(3, number),
        tokenizer="blake3:tokenizer",
        finish_reason="stop",
        teacher=SCORER,
        sampling={"seed": 0},
        sample_index=0,
        terms_decision="allow",
        source="starter",
        created_at="2026-01-01T00:00:00Z",
    )


def kept(number: int, hidden_RD: Tensor) -> ExchangeTargets:
    return ExchangeTargets(f"id-{number:04d}", SCORER, HIDDEN_FP16, HiddenStates(hidden_RD))


def targets(number: int) -> ExchangeTargets:
    return kept(number, torch.full((2, 3), float(number)))


def in_child(work: Callable[[], None], before: Callable[[], None] = lambda: None) -> int:
    """Run `work` in a forked child; return its wait status (0: it came to its end)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside idle threads
        pid = os.fork()
    if pid == 0:
        try:
            before()
            work()
            os._exit(0)
        except BaseException as error:
            sys.settrace(None)
            os.write(2, repr(error).encode() + b"\n")
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    return status


def kill_at_line(number: int, files: tuple[str, ...] = WRITERS) -> Callable[[], None]:
    """Return what makes this process kill itself at the n-th line it executes in `files`."""
    left = number

    def on_line(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        if event == "line":
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return on_line

    def on_call(frame: FrameType, event: str, argument: Any) -> Any:
        return on_line if frame.f_code.co_filename.endswith(files) else None

    return lambda: sys.settrace(on_call)


def stored_rows(root: Path, table: str) -> int:
    return sum(pq.read_metadata(path).num_rows for path in (root / table).glob("*.parquet"))


def numbers_in(store: ExchangeStore) -> list[int]:
    return [int(e.exchange_id.removeprefix("id-")) for e in store.read()]


def check_whole(root: Path, numbers: set[int], marked: dict[int, bool]) -> None:
    """The store holds exactly this, before and after compaction, and each row once."""
    store = ExchangeStore(root)
    assert store.repair() == []
    for _ in range(2):
        assert store.read() == [exchange(n) for n in sorted(numbers)]
        assert store.target_ids(SCORER, HIDDEN_FP16) == {f"id-{n:04d}" for n in numbers}
        for n, got in zip(
            sorted(numbers),
            store.targets(SCORER, HIDDEN_FP16, [f"id-{n:04d}" for n in sorted(numbers)]),
            strict=True,
        ):
            assert isinstance(got, HiddenStates)
            assert torch.equal(got.hidden_RD, torch.full((2, 3), float(n)).half())
        assert store.marks() == [Mark(f"id-{n:04d}", "m", marked[n], "") for n in sorted(marked)]
        store.compact()
    assert stored_rows(root, "exchanges") == len(numbers)
    assert stored_rows(root, "targets") == len(numbers)
    assert not list(root.rglob("*.tmp")) and not list(root.rglob("*.sqlite*"))
    store.close()


@pytest.mark.slow
def test_a_kill_at_every_line_of_compaction(tmp_path: Path) -> None:
    seed = tmp_path / "seed"
    store = ExchangeStore(seed)
    store.append([exchange(0)], [targets(0)])
    store.compact()
    store.append([exchange(1), exchange(2)], [targets(1), targets(2)])
    store.mark([Mark("id-0001", "m", False, "")])
    store.close()
    root = tmp_path / "run"
    line, killed = 1, 0
    while True:
        shutil.copytree(seed, root)
        status = in_child(lambda: ExchangeStore(root).compact(), kill_at_line(line))
        # More rows, so that a compaction that does not look would write other shards.
        ExchangeStore(root).append([exchange(3)], [targets(3)])
        check_whole(root, {0, 1, 2, 3}, {1: False})
        shutil.rmtree(root)
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        killed += 1
        line += 11
    assert killed > 30


def test_a_kill_at_every_line_of_a_transaction(tmp_path: Path) -> None:
    seed = tmp_path / "seed"
    store = ExchangeStore(seed)
    store.append([exchange(0)], [targets(0)])
    store.close()
    root = tmp_path / "run"
    outcomes = []
    line = 1
    while True:
        shutil.copytree(seed, root)
        status = in_child(
            lambda: ExchangeStore(root).append(
                [exchange(1), exchange(2)], [targets(1), targets(2)]
            ),
            kill_at_line(line, ("journal.py",)),
        )
        store = ExchangeStore(root)
        outcomes.append(len(store.ids()))
        assert len(store.target_ids(SCORER, HIDDEN_FP16)) == outcomes[-1]
        store.close()
        shutil.rmtree(root)
        line += 1
        if status == 0:
            break
    # None of the batch until the commit, all of it from then on.
    assert set(outcomes) == {1, 3} and outcomes == sorted(outcomes)


def append_and_say(root: Path, numbers: list[int], pipe: int) -> None:
    store = ExchangeStore(root)
    for n in numbers:
        store.append([exchange(n)], [targets(n)])
        os.write(pipe, n.to_bytes(4, "little"))


@pytest.mark.parametrize("line", [40, 90, 140, 200, 300, 450])
def test_what_append_has_returned_for_is_there_after_a_kill(tmp_path: Path, line: int) -> None:
    read_end, write_end = os.pipe()
    status = in_child(
        lambda: append_and_say(tmp_path, list(range(40)), write_end), kill_at_line(line)
    )
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        said = pipe.read()
    acknowledged = {int.from_bytes(said[i : i + 4], "little") for i in range(0, len(said), 4)}
    assert os.WIFSIGNALED(status)
    stored = set(numbers_in(ExchangeStore(tmp_path)))
    assert acknowledged <= stored
    assert len(stored - acknowledged) <= 1
    ExchangeStore(tmp_path).append(
        [exchange(n) for n in range(40)], [targets(n) for n in range(40)]
    )
    check_whole(tmp_path, set(range(40)), {})


def test_a_real_size_limit_is_a_full_disk(tmp_path: Path) -> None:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))

    def fill() -> None:
        store = ExchangeStore(tmp_path)
        wide = [kept(n, torch.randn(2, 9000)) for n in range(40)]
        stored = 0
        with pytest.raises(PotstillError, match="the disk is full"):  # noqa: PT012
            for n in range(40):
                store.append([exchange(n)], [wide[n]])
                stored += 1
        assert 0 < stored < 40
        assert numbers_in(store) == list(range(stored))

    assert in_child(fill, limit) == 0
    store = ExchangeStore(tmp_path)
    before = numbers_in(store)
    assert before

    def compact() -> None:
        with pytest.raises(PotstillError, match="the disk is full"):
            ExchangeStore(tmp_path).compact()

    def tiny_limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    store.close()
    assert in_child(compact, tiny_limit) == 0
    assert not list(tmp_path.rglob("*.tmp"))
    store = ExchangeStore(tmp_path)
    store.compact()
    assert numbers_in(store) == before and stored_rows(tmp_path, "exchanges") == len(before)


class StoreMachine(RuleBasedStateMachine):
    """Random work on a real disk against a plain model; a kill is one of the rules."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="potstill-store-"))
        self.numbers: set[int] = set()
        self.marked: dict[int, bool] = {}
        self.store = ExchangeStore(self.root)

    def add(self, store: ExchangeStore, numbers: list[int]) -> None:
        store.append([exchange(n) for n in numbers], [targets(n) for n in numbers])

    @rule(numbers=st.lists(st.integers(0, 12), max_size=4))
    def append(self, numbers: list[int]) -> None:
        self.add(self.store, numbers)
        self.numbers.update(numbers)

    @rule(kept=st.booleans(), pick=st.integers(0, 12))
    def mark(self, kept: bool, pick: int) -> None:
        if pick in self.numbers:
            self.store.mark([Mark(f"id-{pick:04d}", "m", kept, "")])
            self.marked[pick] = kept

    @rule()
    def compact(self) -> None:
        self.store.compact()

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = ExchangeStore(self.root)

    @rule()
    def read(self) -> None:
        assert numbers_in(self.store) == sorted(self.numbers)
        assert len(self.store.target_ids(SCORER, HIDDEN_FP16)) == len(self.numbers)

    @rule(
        numbers=st.lists(st.integers(0, 12), min_size=1, max_size=4),
        line=st.integers(20, 900),
        compacts=st.booleans(),
    )
    def killed(self, numbers: list[int], line: int, compacts: bool) -> None:
        """One batch and perhaps a compaction in a child that is killed somewhere."""

        def work() -> None:
            store = ExchangeStore(self.root)
            self.add(store, numbers)
            if compacts:
                store.compact()

        self.store.close()
        status = in_child(work, kill_at_line(line))
        self.store = ExchangeStore(self.root)
        assert self.store.repair() == []
        stored = set(numbers_in(self.store))
        whole = self.numbers | set(numbers)
        # All of the batch or none of it, and all of it where the child came to its end.
        assert stored == whole or (status != 0 and stored == self.numbers)
        self.numbers = stored

    @rule(line=st.integers(20, 300))
    def damaged(self, line: int) -> None:
        """A byte of a shard flips: repair names it, and what is gone is collected again."""
        paths = sorted(self.root.glob("*/*.parquet"))
        if not paths:
            return
        self.store.close()
        path = paths[line % len(paths)]
        data = bytearray(path.read_bytes())
        data[line % len(data)] ^= 0x10
        path.write_bytes(data)
        self.store = ExchangeStore(self.root)
        assert self.store.repair() == [f"{path.parent.name}/{path.name}"]
        left = self.store.ids()
        lost = {n for n in self.numbers if f"id-{n:04d}" not in left}
        self.add(self.store, sorted(self.numbers))
        for n in lost:
            self.marked.pop(n, None)
        if path.parent.name == "marks":
            here = {mark.exchange_id: mark.kept for mark in self.store.marks()}
            self.marked = {int(key.removeprefix("id-")): kept for key, kept in here.items()}

    def teardown(self) -> None:
        if hasattr(self, "root"):
            self.store.close()
            check_whole(self.root, self.numbers, self.marked)
            shutil.rmtree(self.root)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=15,
    stateful_step_count=14,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
