"""Every score of a run as one table: scores.parquet, a row for each group and signal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from potstill.watch.case.models import MemberStrength
from potstill.watch.evidence import CampaignsFound, Candidate
from potstill.watch.judging import FAMILIES

SCORES_FILE, STRENGTHS_FILE = "scores.parquet", "strengths.parquet"
SCHEMA = pa.schema(
    [
        ("candidate_id", pa.string()),
        ("case_id", pa.string()),
        ("chosen_by", pa.string()),
        ("parties", pa.int64()),
        ("requests", pa.int64()),
        ("log10_e", pa.float64()),
        ("found", pa.bool_()),
        *((f"log10_e_without_{family}", pa.float64()) for family in FAMILIES),
        ("signal", pa.string()),
        ("part", pa.string()),
        ("family", pa.string()),
        ("observed", pa.float64()),
        ("expected", pa.float64()),
        ("null_hypothesis", pa.string()),
        ("signal_log10_e", pa.float64()),
        ("chosen_by_it", pa.bool_()),
    ]
)


STRENGTHS = pa.schema(
    [
        ("case_id", pa.string()),
        ("account", pa.string()),
        ("strength", pa.string()),
        ("family", pa.string()),
        ("sign", pa.string()),
        ("says", pa.string()),
        ("computed_by", pa.string()),
        ("candidate_id", pa.string()),
    ]
)


def strengths_table(case_id: str, members: Sequence[MemberStrength]) -> pa.Table:
    """Return a row for each account of a case and each sign of it; one without a sign has one."""
    rows: list[dict[str, str | None]] = []
    for one in members:
        about: dict[str, str | None] = {
            "case_id": case_id,
            "account": one.account,
            "strength": one.strength,
        }
        signs = [
            {
                "family": sign.family,
                "sign": sign.kind,
                "says": sign.says,
                "computed_by": sign.computed_by,
                "candidate_id": sign.group,
            }
            for sign in one.signs
        ]
        rows += [about | sign for sign in signs] or [about]
    return pa.Table.from_pylist(rows, schema=STRENGTHS)


def scores_table(found: CampaignsFound, case_ids: Mapping[str, str]) -> pa.Table:
    """Return a row for each group and signal, also of groups that were not found.

    `case_ids` are the cases of campaigns. A group without a signal has one row.
    """
    of_group = {
        one.candidate_id: case_ids[campaign.campaign_id]
        for campaign in found.campaigns
        for one in campaign.candidates
    }
    rows = []
    for candidate in found.candidates:
        about = _about(candidate, of_group.get(candidate.candidate_id))
        signals = [
            {
                "signal": one.signal,
                "part": one.part,
                "family": one.family,
                "observed": one.observed,
                "expected": one.expected,
                "null_hypothesis": one.null,
                "signal_log10_e": one.log10_e,
                "chosen_by_it": one.chosen,
            }
            for one in candidate.signals
        ]
        rows += [about | one for one in signals] or [about]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as Parquet."""
    pq.write_table(table, path, compression="zstd")


def _about(one: Candidate, case_id: str | None) -> dict[str, str | int | float | bool | None]:
    return {
        "candidate_id": one.candidate_id,
        "case_id": case_id,
        "chosen_by": one.chosen_by,
        "parties": len(one.parties),
        "requests": one.requests,
        "log10_e": one.log10_e,
        "found": one.found,
        **{f"log10_e_without_{family}": one.without.get(family) for family in FAMILIES},
    }
