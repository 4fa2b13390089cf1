"""What a run records: every key, in every version's form, and what is damaged."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from potstill.collect.answers import CollectionFigures
from potstill.collect.served.reading import ScoringFigures
from potstill.curate.curation import CurationResult
from potstill.errors import PotstillError
from potstill.evaluate.measure import Measured
from potstill.evaluate.payback import MachinePrice, TokenPrice
from potstill.exchanges.exchange import Prompt
from potstill.exchanges.overlap import OverlapReport
from potstill.recipe import Recipe
from potstill.recipe.stages import ORDER
from potstill.shrink.cut import Cut
from potstill.train.result import TrainResult
from potstill.work import stage_records
from potstill.work.records import RECORDS, PlannedOverlap, Prompts, Spoken, Unasked
from potstill.work.rundir import RunDir
from potstill.work.stage_records import (
    CollectRecord,
    CurateRecord,
    EvaluateRecord,
    GivenAnswers,
    ServedAnswers,
    ShrinkRecord,
    TrainedStudent,
    TrainRecord,
)
from potstill.work.workdir import STATE, WorkRecord

BY_NAME = {record.name: record for record in RECORDS}
BEGUN_WITH = {
    "conversation",
    "precision",
    "teacher",
    "watermark",
    "order",
    "files",
    "prompts",
    "unasked",
    "checked",
    "minutes",
}
# What real runs of two commits wrote, lists shortened.
THEN, NOW = (
    json.loads((Path(__file__).parent / "records" / f"{commit}.json").read_text(encoding="utf-8"))
    for commit in ("17f08f5", "fc77ad9")
)
# Figures that evaluation.json has got since are null in what it writes of older records.
for _sections in (run["evaluate"]["sections"] for run in NOW.values() if "evaluate" in run):
    _sections["differences"]["student_over_untrained_own_kl"] = None
    for _model in filter(None, _sections["models"].values()):
        _model["own_kl_per_token"] = None
UNUSUAL = {
    "given student": ("shrink", {"blocks": None, "seconds": 0.1, "joules": 2.0}),
    "joint search": (
        "shrink",
        {
            **NOW["weights"]["shrink"],
            "trials": [
                {
                    "blocks": [],
                    "kl": None,
                    "ffn_channels": 64,
                    "kv_heads": 2,
                    "vocabulary": 99,
                    "parameters": 12345,
                    "taken": True,
                }
            ],
            "channels": [[0, 2], [1, 3]],
            "kv_heads": [[0], [0]],
            "ids_dropped": {"suppress_tokens": 3},
        },
    ),
    "judge and verifier": (
        "curate",
        {
            **NOW["weights"]["curate"],
            "verified": {"checked": 3, "correct": 2, "unknown": 0, "tokens": None},
            "judge": "some/model",
        },
    ),
    "failures of a server": (
        "collect",
        {
            **NOW["server"]["collect"],
            "figures": {
                **NOW["server"]["collect"]["figures"],
                "money": None,
                "failed": {"timeout": 1},
                "failures": [["id", "timeout"]],
            },
        },
    ),
    "losses that were not finite": (
        "train",
        {**NOW["gold"]["train"], "first_loss": None, "validated_by": None},
    ),
    "a mark": (
        "watermark",
        {
            "key_id": "blake3:0",
            "mark_id": "blake3:1",
            "epoch": "2026-12",
            "scheme": "green",
            "parameters": {"window": 1.0, "gamma": 0.5, "delta": 2.0},
        },
    ),
    "an order": ("order", {"secret": "blake3:0"}),
    "prompts too long": ("unasked", {"train": 3, "held_out": 1}),
    "minutes": (
        "minutes",
        {
            "minutes": 5.0,
            "chosen": {
                **{"prompts.limit": 394, "train.epochs": 1.78, "train.steps": 52},
                **{"collect.samples": 1, "evaluate.greedy": False},
            },
            "legs": [{"at": 0, "total": 66}, {"at": 5, "total": 52}],
            "estimate": 284.6,
            "stages": [
                {
                    **{"stage": "collect", "amount": "394 answers", "at_start": 102.7},
                    **{"predicted": 102.7, "taken": 63.0},
                }
            ],
            "rates": {"answer_token": 0.0024},
            "sizes": {"available": 1253.0, "heals": 1.0},
            "replayed": False,
        },
    ),
    "time spent": ("spent", {"seconds": 264.8}),
    "checked by an older version": ("checked", {"recipe": "blake3:0"}),
    "no files": (
        "checked",
        {"recipe": "blake3:0", "files": None, "models": {"student.model": "x"}},
    ),
}
NOW_ALL = [
    *((f"{kind}/{name}", name, v) for kind, run in NOW.items() for name, v in run.items()),
    *((what, name, values) for what, (name, values) in UNUSUAL.items()),
]
THEN_ALL = [(f"{kind}/{name}", name, v) for kind, run in THEN.items() for name, v in run.items()]
ONE_OF_EACH = {name: values for _, name, values in reversed(NOW_ALL)}


def read(name: str, values: Any) -> WorkRecord:
    return BY_NAME[name].from_json(json.dumps(values).encode())


def opened(root: Path) -> RunDir:
    recipe = Recipe.model_validate({"name": "run", "teacher": {"model": "a/b"}})
    return RunDir.open(root, recipe)


@pytest.mark.parametrize(
    ("name", "values"), [case[1:] for case in NOW_ALL], ids=[case[0] for case in NOW_ALL]
)
def test_a_record_is_written_as_it_was_read(name: str, values: Any, tmp_path: Path) -> None:
    record = read(name, values)
    assert record.as_json() == values
    with opened(tmp_path / "run") as run:
        run.finish(record)
        assert json.loads(run.record_path(name).read_text(encoding="utf-8")) == values
        assert run.done(type(record)) == record and run.damage() == []


@pytest.mark.parametrize(
    ("name", "values"), [case[1:] for case in THEN_ALL], ids=[case[0] for case in THEN_ALL]
)
def test_what_an_older_version_recorded_is_read(name: str, values: Any) -> None:
    record = read(name, values)
    shown = record.as_json()
    # Evaluation has got sections since, and prompts tools; nothing that was there is gone.
    assert set(values) <= set(shown)
    if name not in ("evaluate", "prompts"):
        assert shown == values


def test_older_records_say_what_they_said() -> None:
    trained = TrainRecord.from_json(json.dumps(THEN["weights"]["train"]).encode())
    assert trained.kept_step is None and trained.validated_by is None
    assert trained.cross_entropy is not None
    assert trained.cross_entropy.steps == THEN["weights"]["train"]["cross_entropy"]["steps"]
    evaluated = EvaluateRecord.from_json(json.dumps(THEN["gold"]["evaluate"]).encode())
    assert evaluated.task is not None and evaluated.task.unanswered == 0
    # Equal ends were no interval; one of two ends is one.
    assert evaluated.task.scores.student.readable.ci95 is None
    perplexity = evaluated.sections.models.student.perplexity
    assert (
        list(perplexity.ci95 or ())
        == (THEN["gold"]["evaluate"]["sections"]["models"]["student"]["perplexity"]["ci95"])
    )


def test_which_records_nobody_can_make_again() -> None:
    assert {record.name for record in RECORDS if record.begun_with} == BEGUN_WITH
    assert len(BY_NAME) == len(RECORDS) and set(ONE_OF_EACH) == set(BY_NAME)
    stages = set(ORDER) - {"report"}
    assert stages <= set(BY_NAME) - BEGUN_WITH
    for record in RECORDS:
        assert bool(record.made_again) != record.begun_with
        assert (record.__doc__ or "").count("Identity") == record.begun_with
        if record.name in stages:
            assert record.made_again == f"{record.name} is done again"


def damaged(values: dict[str, Any]) -> list[Any]:
    """Return what is left of a record by several kinds of damage."""
    first = next(iter(values))
    return [
        {**values, "another": 1},
        *([{k: v for k, v in values.items() if k != first}] if len(values) > 1 else [{}]),
        {**values, first: ["of", {"another": "kind"}]},
        [values],
        None,
    ]


@pytest.mark.parametrize("name", sorted(set(BY_NAME) - {"unasked"}))
def test_a_record_that_does_not_fit_is_damaged(name: str, tmp_path: Path) -> None:
    record = BY_NAME[name]
    with opened(tmp_path / "run") as run:
        for values in damaged(ONE_OF_EACH[name]):
            run.write_json(f"{STATE}/{name}.json", values)
            if record.begun_with:
                with pytest.raises(PotstillError, match=rf"{name}.json is damaged.*--fresh"):
                    run.done(record)
                assert run.damage() == []
            else:
                assert run.done(record) is None
                said = f"the record of {name} was damaged; {record.made_again}"
                assert run.damage() == [said]


def test_every_split_may_be_all_asked() -> None:
    assert Unasked().as_json() == {}
    assert Unasked.from_json(b'{"held_out": 2}') == Unasked(held_out=2)
    with pytest.raises(ValueError, match="other"):
        Unasked.from_json(b'{"other": 2}')


def test_numbers_are_not_made_of_what_looks_like_one() -> None:
    with pytest.raises(ValueError, match="steps"):
        read("train", {**NOW["gold"]["train"], "steps": "9"})
    with pytest.raises(ValueError, match="version"):
        read("conversation", {"version": "1", "date": "2026-01-01"})
    with pytest.raises(ValueError, match="date"):
        read("conversation", {"version": 1, "date": "some day"})
    assert read("conversation", {"version": 1, "date": "2026-01-02"}) == Spoken.model_validate(
        {"version": 1, "date": "2026-01-02"}
    )


def test_a_damaged_plan_is_not_quoted() -> None:
    values = json.loads(json.dumps(NOW["weights"]["prompts"]))
    values["prompts"][0]["messages"] = "a secret of somebody"
    with pytest.raises(ValueError, match="prompts") as caught:
        read("prompts", values)
    assert "secret of" not in str(caught.value)


def test_what_collecting_says_whoever_answered() -> None:
    kinds = {kind: CollectRecord.model_validate(NOW[kind]["collect"]) for kind in NOW}
    assert kinds["weights"].failures == () and kinds["weights"].notes == ()
    assert isinstance(kinds["gold"].figures, GivenAnswers) and kinds["gold"].notes == ()
    assert "the log is read as chat" in kinds["calls"].notes[0]
    assert isinstance(kinds["server"].figures, ServedAnswers)
    assert kinds["server"].notes[0].startswith("the server called its model")
    failed = CollectRecord.model_validate(UNUSUAL["failures of a server"][1])
    assert failed.failures == (("id", "timeout"),)


def test_a_plan_holds_its_prompts() -> None:
    plan = Prompts.model_validate(NOW["tools"]["prompts"])
    assert all(isinstance(prompt, Prompt) for prompt in plan.prompts)
    assert plan.prompts[0].tool_list and plan.columns is None
    assert Prompts.model_validate(NOW["gold"]["prompts"]).columns == ("kind", None)


def test_they_are_read_without_anything_heavy() -> None:
    script = (
        "import sys, potstill.work.rundir\n"
        "heavy = {'torch', 'transformers', 'pyarrow', 'scipy', 'numpy'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or None)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def names(part: type[BaseModel]) -> set[str]:
    return set(part.model_fields)


def test_records_have_the_keys_of_what_stages_give() -> None:
    took = {"seconds", "joules"}

    def given(kind: Any) -> set[str]:
        return {field.name for field in fields(kind)}

    assert names(stage_records.DecodedAnswers) == given(CollectionFigures) | {"watermark", "int8"}
    assert names(PlannedOverlap) == given(OverlapReport)
    assert names(stage_records.ReadAnswers) == given(ScoringFigures) | {"note"}
    curation = CurationResult((), 0, 0, {}, {}, {}).record()
    assert names(CurateRecord) == set(curation) | {"reading"} | took
    assert given(Cut) <= names(ShrinkRecord)
    assert names(stage_records.TriedCut) - {"kl", "taken", "parameters", "blocks"} == set(
        Cut((), (1,), ((1,),), ((1,),)).widths
    )
    more = {"lengths", "scored_again", "left_out", "validation_left_out", "on_policy"}
    more |= {"hidden_matching"}
    assert names(TrainedStudent) == given(TrainResult) | more
    assert names(TrainRecord) == names(TrainedStudent) | {"cross_entropy"} | took
    assert names(stage_records.PricedByTime) == given(MachinePrice)
    assert names(stage_records.PricedByTokens) == given(TokenPrice)
    assert names(stage_records.Sections) <= given(Measured)
