"""Cases as findings are what a consumer's own library takes, field by field."""

from __future__ import annotations

from typing import Any

import pytest
from case_worlds import NOW

from potstill.watch.case.models import Case, MemberStrength
from potstill.watch.case.ocsf import MOST_RESOURCES, finding_of

findings = pytest.importorskip(
    "py_ocsf_models.events.findings.detection_finding",
    reason="findings are checked with py-ocsf-models",
)


def read_back(case: Case) -> tuple[dict[str, Any], Any]:
    dumped = finding_of(case, NOW, "1.0").model_dump(mode="json")
    return dumped, findings.DetectionFinding.model_validate(dumped)


def missing(given: Any, kept: Any, at: str = "") -> list[str]:
    """Return what a consumer's models dropped: unknown fields pass them without a word."""
    if isinstance(given, dict):
        if not isinstance(kept, dict):
            return [at]
        return [
            lost
            for key, value in given.items()
            if value is not None
            for lost in (
                missing(value, kept[key], f"{at}.{key}") if key in kept else [f"{at}.{key}"]
            )
        ]
    if isinstance(given, list):
        if len(given) != len(kept):
            return [at]
        return [x for n, (a, b) in enumerate(zip(given, kept, strict=True))
                for x in missing(a, b, f"{at}[{n}]")]  # fmt: skip
    return [] if given == kept else [at]


def test_a_consumers_library_takes_every_field(searched: Any) -> None:
    for case in searched.cases:
        dumped, read = read_back(case)
        assert missing(dumped, read.model_dump(mode="json")) == []


def test_a_finding_says_what_it_is_about(searched: Any) -> None:
    case = searched.cases[0]
    dumped, read = read_back(case)
    assert read.class_uid == 2004 and read.type_uid == 200401 and read.metadata.version == "1.5.0"
    assert read.finding_info.uid == case.case_id
    assert dumped["time"] == int(NOW.timestamp() * 1000)
    assert dumped["start_time"] < dumped["end_time"] < dumped["time"]
    assert [one["uid"] for one in dumped["resources"]] == [
        one.account for one in case.inference.members
    ]
    uids = {
        (attack["sub_technique"] or attack["technique"])["uid"]
        for attack in dumped["finding_info"]["attacks"]
    }
    assert uids == {one.uid for one in case.inference.techniques} >= {"AML.T0024.002", "AML.T0040"}
    parents = {attack["technique"]["uid"] for attack in dumped["finding_info"]["attacks"]}
    assert all(uid.count(".") == 1 for uid in parents)


def test_a_case_found_before_is_an_update_and_a_closed_one_is_closed(searched: Any) -> None:
    case = searched.cases[0]
    known = case.model_copy(update={"history": case.history.model_copy(update={"new": False})})
    assert read_back(known)[1].type_uid == 200402
    history = case.history.model_copy(
        update={"status": "closed", "closed_because": "a class", "closed_at": "x"}
    )
    _, read = read_back(case.model_copy(update={"history": history}))
    assert (read.type_uid, read.status_id, read.status_detail) == (200403, 3, "a class")


def test_a_large_case_says_how_many_accounts_are_left_out(searched: Any) -> None:
    case = searched.cases[0]
    many = tuple(
        MemberStrength(account=f"a{n}", strength="medium", families=(), signs=())
        for n in range(MOST_RESOURCES + 7)
    )
    inference = case.inference.model_copy(update={"members": many})
    dumped, _ = read_back(case.model_copy(update={"inference": inference}))
    assert len(dumped["resources"]) == MOST_RESOURCES
    assert dumped["metadata"]["labels"] == ["7 more accounts in case.json"]
