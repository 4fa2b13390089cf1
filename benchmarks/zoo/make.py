"""Make the zoo's models; those that are there are not made again.

python benchmarks/zoo/make.py FOLDER [--part innocents|relatives|guilty|altered] [--quick]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import suspects
from world import World

PARTS = ("innocents", "relatives", "guilty", "altered")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--quick", action="store_true", help="One of each of the main kinds.")
    given = parser.parse_args()
    world = World(given.folder)
    for part in ["quick"] if given.quick else given.part or PARTS:
        for suspect in getattr(suspects, part)():
            started = time.perf_counter()
            path = suspect.make(world)
            took = time.perf_counter() - started
            print(f"{suspect.name}: {path.relative_to(given.folder)}, {took:.0f} s", flush=True)


if __name__ == "__main__":
    main()
