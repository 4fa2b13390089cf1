"""The order of things, with stages that only say that they were called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from learnt_stores import PLAN, written
from pipeline_runs import Noted, recipe_values
from potstill.errors import PotstillError
from potstill.exchanges.rows import Mark
from potstill.exchanges.store import ExchangeStore
from potstill.progress import Silent
from potstill.recipe import Recipe
from potstill.runs import distill as module
from potstill.runs.callbacks import Callback
from potstill.runs.parts import Parts
from potstill.work.evaluation import Overlap
from potstill.work.records import AskingCost
from potstill.work.rundir import RunDir
from potstill.work.stage_records import (
    UNMEASURED,
    CollectRecord,
    CurateRecord,
    GivenAnswers,
    ShrinkRecord,
    StageRecord,
    StoredRows,
)

RECIPE = Recipe.model_validate(recipe_values("teacher", "rows.jsonl"))
ROWS = [written(prompt, "Yes.") for prompt in PLAN.train]


def collected(parts: Parts) -> CollectRecord:
    """Store a row more than there was, and say so."""
    known = len(parts.store.ids())
    parts.store.append(ROWS[: known + 1])
    overlap = Overlap(
        held_out=1, train=1, exact=0, near=0, dropped_from_training=0, method="m", threshold=0.5
    )
    return CollectRecord(
        figures=GivenAnswers(
            exchanges=known + 1, computed=1, response_tokens=1, seconds=0.0, tokens_per_s=0.0
        ),
        overlap=overlap,
        stored=StoredRows(exchanges=known + 1, targets=0),
        **UNMEASURED,
    )


def curated(parts: Parts) -> CurateRecord:
    """Keep every answer."""
    parts.store.mark([Mark(key, "curate", True, "") for key in parts.store.ids()])
    return CurateRecord(
        rows=1,
        kept=1,
        train=1,
        train_kept=1,
        dropped={},
        alone={},
        examples={},
        verified=None,
        judge=None,
        notes=(),
        **UNMEASURED,
    )


def shrunk(parts: Parts) -> ShrinkRecord:
    return ShrinkRecord(blocks=None, **UNMEASURED)


class Told(Callback):
    def __init__(self, told: list[str], root: Path) -> None:
        self.told, self.root = told, root
        self.records: list[StageRecord] = []

    def stage_started(self, stage: str) -> None:
        self.told.append(f"{stage} starts")

    def stage_finished(self, stage: str, record: Any) -> None:
        # It is on disk by now: a program that is killed in here has it.
        assert (self.root / "state" / f"{stage}.json").is_file()
        self.told.append(f"{stage} ends")
        self.records.append(record)

    def logged(self, entry: Mapping[str, Any]) -> None:
        self.told.append(f"logged {entry}")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happened, in order; nothing is checked, and no teacher is there."""
    found: list[str] = []

    def telling(name: str, stage: Any) -> Any:
        def tell(parts: Parts) -> Any:
            found.append(name)
            return stage(parts)

        return tell

    stages = {"collect": collected, "curate": curated, "shrink": shrunk}
    for name, stage in stages.items():
        monkeypatch.setitem(module.STAGES, name, telling(name, stage))
    monkeypatch.setattr(module, "check_all", lambda parts: None)
    monkeypatch.setattr(module, "note_changed_files", lambda parts: None)
    monkeypatch.setattr(module, "require_terms_of_all", lambda parts: None)
    monkeypatch.setattr(Parts, "decision", Permitted())
    return found


class Permitted:
    def require(self) -> None:
        pass


def run(root: Path, *, until: str = "shrink", progress: Any = None, **more: Any) -> RunDir:
    return module.distill(RECIPE, root, until=until, progress=progress or Silent(), **more)


def test_stages_are_done_once_in_order_and_callbacks_are_told(
    told: list[str], tmp_path: Path
) -> None:
    callback = Told(told, tmp_path)
    directory = run(tmp_path, callbacks=[callback])
    expected = [
        said
        for name in ("collect", "curate", "shrink")
        for said in (f"{name} starts", name, f"{name} ends")
    ]
    assert told == expected
    # What is told is what is recorded, with what it took.
    for record in callback.records:
        assert directory.done(type(record)) == record and record.seconds > 0
    run(tmp_path, callbacks=[callback])
    assert told == expected


def test_until_stops_behind_a_stage(told: list[str], tmp_path: Path) -> None:
    run(tmp_path, until="curate")
    assert told == ["collect", "curate"]
    run(tmp_path)
    assert told == ["collect", "curate", "shrink"]
    with pytest.raises(PotstillError, match="there is no stage distil; there are collect, curate"):
        run(tmp_path, until="distil")


def test_a_callback_that_raises_stops_the_run_which_goes_on_behind_the_stage(
    told: list[str], tmp_path: Path
) -> None:
    class Stops(Callback):
        def stage_finished(self, stage: str, record: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, callbacks=[Stops()])
    assert told == ["collect"]
    run(tmp_path, until="curate")
    assert told == ["collect", "curate"]


def test_a_stage_that_fails_leaves_no_record(
    told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(parts: Parts) -> Any:
        raise PotstillError("nothing to cut")

    callback = Told(told, tmp_path)
    with monkeypatch.context() as patched:
        patched.setitem(module.STAGES, "shrink", fails)
        with pytest.raises(PotstillError, match="nothing to cut"):
            run(tmp_path, callbacks=[callback])
    assert told[-1] == "shrink starts"
    assert RunDir.reading(tmp_path).done(ShrinkRecord) is None


def test_what_asking_took_is_added_up_over_calls(
    told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a call that was stopped too: its answers stay."""

    def stopped(parts: Parts) -> Any:
        collected(parts)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setitem(module.STAGES, "collect", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    first = RunDir.reading(tmp_path).done(AskingCost)
    assert first is not None and first.seconds is not None and first.seconds > 0
    directory = run(tmp_path, until="collect")
    both, record = directory.done(AskingCost), directory.done(CollectRecord)
    assert both is not None and both.seconds is not None and record is not None
    assert both.seconds > first.seconds and record.seconds == both.seconds
    # Other stages take what they take in one call.
    curated_in = run(tmp_path, until="curate").done(CurateRecord)
    assert curated_in is not None and curated_in.seconds < both.seconds + 1


@pytest.mark.parametrize(
    ("earlier", "now", "expected"),
    [
        (None, (2.0, 5.0), (2.0, 5.0)),
        ((1.0, 3.0), (2.0, 5.0), (3.0, 8.0)),
        # A machine that does not say what it takes: the sum is not known.
        ((1.0, None), (2.0, 5.0), (3.0, None)),
        ((1.0, 3.0), (2.0, None), (3.0, None)),
    ],
)
def test_asking_cost(earlier: Any, now: Any, expected: Any, tmp_path: Path) -> None:
    with RunDir.open(tmp_path, RECIPE) as directory:
        if earlier is not None:
            directory.finish(AskingCost(seconds=earlier[0], joules=earlier[1]))
        assert module._asking_cost(directory, *now) == expected
        kept = directory.done(AskingCost)
        assert kept is not None and (kept.seconds, kept.joules) == expected


def test_the_journal_is_compacted_before_others_read_the_answers(
    told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def looks(parts: Parts) -> CurateRecord:
        seen.append([path.suffix for path in (parts.run.root / "exchanges").iterdir()])
        return curated(parts)

    monkeypatch.setitem(module.STAGES, "curate", looks)
    run(tmp_path)
    assert seen == [[".parquet"]]


def test_what_a_stage_read_is_let_go_of_at_its_end(
    told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage sees what the one before it left, and holds no other's rows."""
    seen: list[Any] = []

    def reads(parts: Parts) -> Any:
        seen.append(parts.corpus)
        seen.append(len(parts.corpus.exchanges("train")))
        # Read once in a stage, whatever comes in between.
        parts.store.append(ROWS[len(parts.store.ids()) :][:1])
        assert len(parts.corpus.exchanges("train")) == seen[-1]
        assert parts.corpus is seen[-2]
        return curated(parts)

    def reads_again(parts: Parts) -> Any:
        reads(parts)
        return shrunk(parts)

    monkeypatch.setattr(Parts, "opened", None)
    monkeypatch.setattr(Parts, "author_identity", "past")
    monkeypatch.setitem(module.STAGES, "curate", reads)
    monkeypatch.setitem(module.STAGES, "shrink", reads_again)
    run(tmp_path)
    assert seen[1] == 1 and seen[3] == 2 and seen[0] is not seen[2]


def test_answers_that_came_after_the_others_were_curated_are_curated(
    told: list[str], tmp_path: Path
) -> None:
    run(tmp_path, until="curate")
    assert told == ["collect", "curate"]
    store = ExchangeStore(tmp_path)
    # As a call leaves it that was killed while it asked again.
    store.append(ROWS[-1:])
    store.close()
    run(tmp_path, until="curate")
    assert told == ["collect", "curate", "curate"]


def test_lost_rows_are_collected_again(told: list[str], tmp_path: Path) -> None:
    run(tmp_path, until="collect")
    for path in (tmp_path / "exchanges").iterdir():
        path.write_bytes(b"damaged")
    progress = Noted()
    run(tmp_path, until="collect", progress=progress)
    assert told == ["collect", "collect"]
    (note,) = [n for n in progress.notes if "damaged" in n]
    assert note.endswith("was damaged and set aside; its rows are collected again")
    # A call that was killed before they were back finds less than was left there.
    for path in (tmp_path / "exchanges").glob("*.parquet"):
        path.unlink()
    run(tmp_path, until="collect")
    assert told == ["collect"] * 3
