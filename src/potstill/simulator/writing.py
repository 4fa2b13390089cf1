"""A world as Parquet: what a detector is given, and apart from it what is true."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from potstill.simulator import columns, rows, world
from potstill.simulator.spec import CampaignSpec, WorldSpec

ROWS_A_GROUP = 50_000
_COMPRESSED = {"compression": "zstd", "compression_level": 1}
_FEW_VALUES = ["model", "product", "system", "tools", "user_agent", "account_id"]


def write_world(
    spec: WorldSpec, out: Path, made_by: str, advance: Callable[[int], None] = lambda rows: None
) -> dict[str, int]:
    """Write a world into an empty or new directory; return its requests by kind.

    `requests/` and `accounts.parquet` are a provider's logs, `truth/` says what they are, and
    `world.json` what the world was made from, and by what (`made_by`). Raises ValueError where
    something is in the directory, or the spec asks for more requests than it has.
    """
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty: choose another directory")
    (out / "requests").mkdir(parents=True)
    (out / "truth" / "requests").mkdir(parents=True)
    made = world.built(spec)
    accounts, true_accounts = columns.account_tables(made)
    pq.write_table(accounts, out / "accounts.parquet", **_COMPRESSED)
    pq.write_table(true_accounts, out / "truth" / "accounts.parquet", **_COMPRESSED)
    counted: dict[str, int] = {}
    asked: dict[str, int] = {}
    for day in range(spec.days):
        advance(_write_day(made, day, out, counted, asked))
    pq.write_table(_campaign_table(made, asked), out / "truth" / "campaigns.parquet")
    facts = {
        "simulator": made_by,
        "requests_by_kind": dict(sorted(counted.items())),
        "spec": dataclasses.asdict(spec),
    }
    (out / "world.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return counted


def _write_day(
    made: world.World, day: int, out: Path, counted: dict[str, int], asked: dict[str, int]
) -> int:
    """Write a day, a row group at a time, so that memory holds one day's bare numbers.

    Returns its requests.
    """
    whole = world.day_of(made, day)
    name = f"day-{day:02d}.parquet"
    options = _COMPRESSED | {"use_dictionary": _FEW_VALUES}
    with (
        pq.ParquetWriter(out / "requests" / name, columns.REQUESTS, **options) as requests,
        pq.ParquetWriter(
            out / "truth" / "requests" / name, columns.TRUE_REQUESTS, **_COMPRESSED
        ) as truth,
    ):
        for first in range(0, len(whole), ROWS_A_GROUP):
            part = rows.part(whole, first, ROWS_A_GROUP)
            table, true = columns.request_tables(made, part, day, first)
            requests.write_table(table)
            truth.write_table(true)
            for name_, into in (("kind", counted), ("campaign_id", asked)):
                for found in true[name_].drop_null().value_counts().to_pylist():
                    into[found["values"]] = into.get(found["values"], 0) + found["counts"]
    return len(whole)


def _campaign_table(made: world.World, asked: dict[str, int]) -> pa.Table:
    def row(campaign: CampaignSpec) -> dict[str, object]:
        return {
            "campaign_id": campaign.campaign_id,
            "mechanism": campaign.mechanism,
            "held_out": campaign.held_out,
            "accounts": campaign.accounts,
            "cover": campaign.look.cover,
            "rate": campaign.look.rate,
            "mix": campaign.look.mix,
            "days": campaign.look.days,
            "requests": asked.get(campaign.campaign_id, 0),
            "families": list(campaign.families),
            "campaign": json.dumps(dataclasses.asdict(campaign)),
        }

    fields = [
        ("campaign_id", pa.string()), ("mechanism", pa.string()), ("held_out", pa.bool_()),
        ("accounts", pa.int32()), ("cover", pa.string()), ("rate", pa.float64()),
        ("mix", pa.float64()), ("days", pa.int32()), ("requests", pa.int64()),
        ("families", pa.list_(pa.string())), ("campaign", pa.string()),
    ]  # fmt: skip
    return pa.Table.from_pylist([row(c) for c in made.spec.campaigns], schema=pa.schema(fields))
