"""Simulate API traffic with known campaigns, as Parquet.

    python benchmarks/traffic/make.py --requests 1000000 --seed 7 --out world
    python benchmarks/traffic/make.py --requests 1000000 --seed 7 --out world --held-out
    python benchmarks/traffic/make.py --spec world/world.json --out again

DIR/requests/ and DIR/accounts.parquet are what a detector is given; DIR/truth/ it never sees;
DIR/world.json says what the world was made from. The same spec gives the same rows.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "traffic"

from potstill.simulator.grid import HELD_OUT, OPEN, drawn_spec
from potstill.simulator.spec import WorldSpec, from_json
from potstill.simulator.writing import write_world
from traffic.freeze import digest


def write(spec: WorldSpec, out: Path) -> dict[str, int]:
    """Write a world into an empty or new directory; return its requests by kind."""
    return write_world(spec, out, digest())


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
