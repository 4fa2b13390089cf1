"""Rows of searched worlds, made by hand."""

from __future__ import annotations

from typing import Any

from watched.judging import Case, Hit, WorldRow


def a_hit(**changed: Any) -> Hit:
    given: dict[str, Any] = {
        "world": 0, "campaign": "c0", "mechanism": "relay", "cover": "ci_keys", "accounts": 20,
        "rate": 26.0, "mix": 0.0, "days": 7, "families": ("content", "time"), "templates": 3,
        "languages": 1, "paraphrase": 0.0, "requests": 100, "share": 0.0, "named": 0, "cases": 0,
        "held": (), "why": "scattered", "best": "", "leaked": None,
    }  # fmt: skip
    return Hit.model_validate(given | changed)


def a_case(campaigns: dict[str, int], innocents: dict[str, int]) -> Case:
    accounts = sum(campaigns.values()) + sum(innocents.values())
    guilty = max(campaigns.values(), default=0)
    kind = max(innocents, key=innocents.__getitem__) if innocents else "campaign"
    return Case(
        world=0, accounts=accounts, guilty=guilty, campaigns=campaigns, innocents=innocents,
        kind=kind, false=2 * guilty < accounts, said="",
    )  # fmt: skip


def a_row(hits: tuple[Hit, ...], cases: tuple[Case, ...], members: dict[str, int]) -> WorldRow:
    return WorldRow(
        world=0, sort="open", code="", level=0.05, privacy="full", by_day=False, made_s=0,
        ingest_s=1, find_s=2, peak_gb=1, candidates=3, benign=2_000_000,
        benign_kinds={"ordinary": 1_600_000, "hackathon": 100_000, "ci_keys": 300_000},
        members=members, hits=hits, cases=cases, named={},
    )  # fmt: skip
