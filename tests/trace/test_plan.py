"""Plans: one spelling, known tests, nothing twice; and the chain that counts them."""

from __future__ import annotations

import json
from pathlib import Path

import bundles
import pytest
from pydantic import ValidationError

from potstill.canonical import canonical_json
from potstill.errors import PotstillError
from potstill.trace import keeping
from potstill.trace.plan import ChainPlace, ControlFacts, Tried, read_plan
from potstill.trace.tried import chain_secret, fixed_record, tried_in

PLACE = ChainPlace(records=1, head="h", tried=Tried())


def written(tmp_path: Path, **changed: object) -> Path:
    values = json.loads(bundles.plan(PLACE, [bundles.planned()]).as_bytes())
    path = tmp_path / "plan.json"
    path.write_bytes(canonical_json({**values, **changed}))
    return path


def test_a_plan_is_read_back_as_it_is_spelt(tmp_path: Path) -> None:
    plan = bundles.plan(PLACE, [bundles.planned()])
    found = read_plan(written(tmp_path))
    assert found.plan == plan and found.digest == plan.digest
    assert found.plan.planned[0].test == "watermark-text"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tests": [{"test": "phrenology"}]}, "the test phrenology is not known"),
        ({"tests": [{"test": "twins"}]}, "cannot be used"),
        ({"tests": [5]}, "a planned test has a name"),
        ({"more": 1}, "cannot be used (more"),
        ({"alpha": 2}, "cannot be used (alpha"),
    ],
)
def test_a_plan_that_is_none_is_refused(
    tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    with pytest.raises(PotstillError) as caught:
        read_plan(written(tmp_path, **changed))
    assert said in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "NaN"])
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(PotstillError):
        read_plan(tmp_path / "plan.json")


def test_a_control_that_is_the_suspect_or_stands_twice_is_refused() -> None:
    suspect = bundles.suspect().model_copy(update={"identity": "blake3:s"})
    one, other, theirs = (
        ControlFacts(name=name, identity=f"blake3:{name[0]}") for name in ("a", "b", "s")
    )
    again = one.model_copy(update={"name": "a copy of a"})
    unknown = ControlFacts(name="x"), ControlFacts(name="y")
    for controls, said in (
        ((one, other, again), "the controls a and a copy of a are one model, which counts once"),
        ((one, theirs), "the control s is the suspect itself"),
    ):
        with pytest.raises(PotstillError, match=said):
            bundles.plan(PLACE, [bundles.planned()], suspect=suspect, controls=controls)
    # Whose weights nobody has at hand is told apart by nothing.
    bundles.plan(PLACE, [bundles.planned()], suspect=suspect, controls=(one, other, *unknown))


def test_two_tests_alike_and_controls_of_no_test_are_refused() -> None:
    with pytest.raises(ValidationError, match="the same name and configuration"):
        bundles.plan(PLACE, [bundles.planned(), bundles.planned()])
    with pytest.raises(ValidationError, match="a test that the plan has not"):
        bundles.plan(PLACE, [bundles.planned()], controls=(ControlFacts(name="c", tests=(1,)),))


def test_the_chain_counts_suspects_checkpoints_and_keys_once() -> None:
    secret = bytes(32)

    def record(name: str, identity: str | None = None) -> object:
        who = bundles.suspect(name, identity=identity)
        return fixed_record(bundles.plan(PLACE, [bundles.planned()], suspect=who), secret)

    records = [record("a", "1"), record("a", "2"), record("b", "1"), record("a", "1")]
    tried = tried_in(records)  # type: ignore[arg-type]
    assert (tried.plans, tried.suspects, tried.checkpoints, tried.keys) == (4, 2, 3, 1)
    assert (tried.proof, tried.descent, tried.support) == (4, 0, 0)


def test_a_chain_s_secret_is_made_once_and_its_damage_is_said(tmp_path: Path) -> None:
    chain = tmp_path / "c.jsonl"
    first = chain_secret(chain)
    assert len(first) == 32 and chain_secret(chain) == first
    path = tmp_path / "c.jsonl.secret"
    assert path.stat().st_mode & 0o077 == 0
    path.write_text("not it")
    with pytest.raises(PotstillError, match="is damaged"):
        chain_secret(chain)


def test_the_chain_of_another_teacher_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    keeping.open_chain(path, "blake3:11", bundles.WHEN)
    with pytest.raises(PotstillError, match="belongs to another plan or teacher"):
        keeping.open_chain(path, "blake3:12", bundles.WHEN)
    assert keeping.tried_so_far(tmp_path / "none.jsonl", "blake3:11") == Tried()
