"""Cases as bundles are what the standard's own library and schemas take, and name nobody."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from case_worlds import NOW

from potstill.watch.case.models import Case
from potstill.watch.case.stix import WHAT_IT_IS_NOT, bundle_of

stix2 = pytest.importorskip("stix2", reason="bundles are checked with stix2")


def written(case: Case) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bundle_of(case, NOW).model_dump_json())
    return found


def closed(case: Case) -> Case:
    history = case.history.model_copy(
        update={"status": "closed", "closed_because": "a class", "closed_at": "2026-03-08"}
    )
    return case.model_copy(update={"history": history})


def said(bundle: dict[str, Any]) -> dict[str, Any]:
    objects = [
        {k: as_moment(v) if k.endswith("_seen") else v for k, v in one.items() if v is not False}
        for one in bundle["objects"]
    ]
    return {**bundle, "objects": objects}


def as_moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def by_type(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [one for one in bundle["objects"] if one["type"] == kind]


def test_the_standards_library_takes_every_field(searched: Any) -> None:
    for case in (*searched.cases, closed(searched.cases[0])):
        bundle = written(case)
        read = stix2.parse(bundle, allow_custom=False, version="2.1")
        # What is not revoked need not say so.
        assert said(json.loads(read.serialize())) == said(bundle)


def test_the_standards_schemas_hold(searched: Any) -> None:
    validator = pytest.importorskip("stix2validator", reason="schemas come with stix2-validator")
    # What the standard only recommends (random ids, hashes of pages) are warnings.
    options = validator.ValidationOptions(version="2.1")
    for case in (*searched.cases, closed(searched.cases[0])):
        found = validator.validate_instance(written(case), options)
        assert found.is_valid, [error.message for error in found.errors]


def test_a_bundle_says_what_a_case_is_and_is_not_and_names_no_account(searched: Any) -> None:
    for case in searched.cases:
        bundle = written(case)
        (grouping,) = by_type(bundle, "grouping")
        assert case.sentence in grouping["description"]
        assert WHAT_IT_IS_NOT in grouping["description"]
        assert grouping["confidence"] <= 50 and grouping["context"] == "suspicious-activity"
        techniques = {one.uid for one in case.inference.techniques}
        named = {
            reference["external_id"]
            for one in by_type(bundle, "attack-pattern")
            for reference in one["external_references"]
        }
        assert named == techniques >= {"AML.T0024.002", "AML.T0040"}
        seen = {one["sighting_of_ref"] for one in by_type(bundle, "sighting")}
        assert seen == {one["id"] for one in by_type(bundle, "attack-pattern")}
        text = json.dumps(bundle)
        accounts = [one.account for one in case.inference.members]
        assert accounts and not any(account in text for account in accounts)
        assert not any(str(row[1]) in text for row in case.facts.shared.rows)


def test_ids_stay_and_a_closed_case_is_revoked(searched: Any) -> None:
    case = searched.cases[0]
    open_one, closed_one = written(case), written(closed(case))
    assert [one["id"] for one in open_one["objects"]] == [
        one["id"] for one in closed_one["objects"]
    ]
    assert not any(one.get("revoked") for one in open_one["objects"])
    revoked = [one["type"] for one in closed_one["objects"] if one.get("revoked")]
    assert set(revoked) == {"sighting", "grouping"}
    assert "a class" not in json.dumps(closed_one)
    others = {one["id"] for one in by_type(written(searched.cases[1]), "grouping")}
    assert others.isdisjoint(one["id"] for one in by_type(open_one, "grouping"))
