"""Simulate API traffic with known campaigns, as Parquet.

    python benchmarks/traffic/make.py --requests 1000000 --seed 7 --out world
    python benchmarks/traffic/make.py --requests 1000000 --seed 7 --out world --held-out
    python benchmarks/traffic/make.py --spec world/world.json --out again

DIR/requests/ and DIR/accounts.parquet are what a detector is given; DIR/truth/ it never sees;
DIR/world.json says what the world was made from. The same spec gives the same rows.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "traffic"

import pyarrow as pa
import pyarrow.parquet as pq

from traffic import columns, rows, world
from traffic.freeze import digest
from traffic.grid import HELD_OUT, OPEN, drawn_spec
from traffic.spec import Campaign, WorldSpec, from_json

ROWS_A_GROUP = 50_000
_COMPRESSED = {"compression": "zstd", "compression_level": 1}
_FEW_VALUES = ["model", "product", "system", "tools", "user_agent", "account_id"]


def write(spec: WorldSpec, out: Path) -> dict[str, int]:
    """Write a world into an empty or new directory; return its requests by kind."""
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
        _write_day(made, day, out, counted, asked)
    pq.write_table(_campaign_table(made, asked), out / "truth" / "campaigns.parquet")
    facts = {
        "simulator": digest(),
        "requests_by_kind": dict(sorted(counted.items())),
        "spec": dataclasses.asdict(spec),
    }
    (out / "world.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return counted


def _write_day(
    made: world.World, day: int, out: Path, counted: dict[str, int], asked: dict[str, int]
) -> None:
    """Write a day, a row group at a time, so that memory holds one day's bare numbers."""
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


def _campaign_table(made: world.World, asked: dict[str, int]) -> pa.Table:
    def row(campaign: Campaign) -> dict[str, object]:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--spec", type=Path, help="a world.json, or a spec alone")
    parser.add_argument("--held-out", action="store_true", help="mechanisms that are only reported")
    parser.add_argument(
        "--cell", action="append", default=[], metavar="ACCOUNTSxRATExMIX", help="e.g. 273x26x0.5"
    )
    parser.add_argument("--mechanism", action="append", default=[], choices=[*OPEN, *HELD_OUT])
    given = parser.parse_args()
    if (given.spec is None) == (given.requests is None):
        parser.error("give either --requests or --spec")
    if given.spec is not None:
        spec = from_json(given.spec)
    else:
        cells = [tuple(map(float, cell.split("x"))) for cell in given.cell]
        spec = drawn_spec(
            given.seed, given.requests, days=given.days, held_out=given.held_out,
            cells=tuple((int(c[0]), c[1], c[2]) for c in cells),
            mechanisms=tuple(given.mechanism),
        )  # fmt: skip
    begun = time.perf_counter()
    try:
        counted = write(spec, given.out)
    except ValueError as error:
        parser.error(str(error))
    for kind, count in sorted(counted.items(), key=lambda item: -item[1]):
        print(f"{count:>12,}  {kind}")
    print(f"{sum(counted.values()):>12,}  in {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
