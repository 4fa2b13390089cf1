"""The zoo from nothing: models, tests of each, the peers, the summary.

    python benchmarks/zoo/everything.py [FOLDER] [--quick]

Every step goes on where it was stopped. `--quick` takes one suspect of each of the main kinds,
leaves the committed results as they are, and writes FOLDER/zoo.json.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "potstill-zoo"


def steps(folder: Path, *, quick: bool) -> list[list[str]]:
    """Return each step's script and its arguments."""
    few = ["--quick"] if quick else []
    peers = folder / "peers"
    dry = ["--dry", str(folder / "zoo.json")] if quick else []
    return [
        ["make.py", str(folder), *few],
        ["run.py", str(folder), *few],
        *([] if quick else [[name, str(folder)] for name in ("smollm2.py", "smollm2_fresh.py")]),
        ["peers.py", str(folder), str(peers), *few],
        ["summary.py", str(folder), "--peers", str(peers), *dry],
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    # A quick zoo asks fewer suspects, so that its rows are no part of a whole one's.
    folder = given.folder or FOLDER / ("quick" if given.quick else "whole")
    for script, *arguments in steps(folder, quick=given.quick):
        started = time.perf_counter()
        subprocess.run([sys.executable, str(HERE / script), *arguments], check=True)
        print(f"{script}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
