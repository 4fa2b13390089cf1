"""What verifying a run or a student misses, and how long it takes.

A nano model is distilled, and its run and its student are harmed in every way that the tests
know: bytes edited, files added, removed, renamed and replaced by links, rows swapped. A student
with large weights is verified beside nothing but hashing the same files with all threads. And the
command is timed as a whole process, on a student so small that its start is all of it.
Writes benchmarks/results/lineage.json.

    python benchmarks/lineage.py [--gigabytes 2] [--edits 200]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from blake3 import blake3
from common import write_results

sys.path += [str(Path(__file__).parents[1] / "tests" / part) for part in ("", "nano")]

import nano_models
import nano_text

import pipeline_runs
from potstill.errors import PotstillError
from potstill.lineage.document import MANIFEST_FILE, SIGNATURE_FILE, read_manifest
from potstill.lineage.files import entries_under
from potstill.lineage.keys import SigningKey, make_key, read_signing_key
from potstill.lineage.manifest import sign
from potstill.lineage.signing import sign_file
from potstill.runs.verified_any import verify_lineage

# Fixed before the first run.
SEED = 20_261_130
FILES, ROUNDS, STARTS = 20, 7, 11
_CHUNK = 1 << 26


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_DATA_HOME"] = str(folder / "data")
        run = nano_run(folder)
        key = read_signing_key(made_key(folder))
        sign(run, key)
        public = folder / "key.pub"
        harms = [harmed(one, public, arguments.edits) for one in (run, run / "student")]
        starts = started(run / "student", public)
        rounds = hashed(large(run / "student", folder / "large", arguments.gigabytes, key), public)
    missed = sum(row["missed"] for row in harms)
    claims = {
        "edits_missed": {
            "value": missed,
            "unit": f"of {sum(row['harms'] for row in harms)} harms",
            "runs": [row["missed"] for row in harms],
        },
        "verify_vs_hashing": {
            "value": round(median(row["hashing_s"] / row["verify_s"] for row in rounds), 4),
            "unit": "speed of hashing alone, all threads, warm",
            "runs": [round(row["hashing_s"] / row["verify_s"], 4) for row in rounds],
        },
        "verify_start_s": {
            "value": round(median(starts), 3),
            "unit": "s, the whole command on a nano student",
            "runs": [round(one, 3) for one in starts],
        },
    }
    for claim, found in claims.items():
        print(f"{claim}: {found['value']} {found['unit']}")
    write_results("lineage", claims, [*harms, *rounds], torch.float32)


def nano_run(folder: Path) -> Path:
    """Return the run of a nano teacher."""
    nano_models.build("llama", folder / "teacher")
    prompts = folder / "prompts.jsonl"
    lines = (json.dumps({"prompt": text}) for text in nano_text.prompts())
    prompts.write_text("\n".join(lines), encoding="utf-8")
    values = pipeline_runs.recipe_values(folder / "teacher", prompts)
    return pipeline_runs.run(values, folder / "run")[0].root


def made_key(folder: Path) -> Path:
    """Return the file of a new key, whose public half lies beside it."""
    make_key(folder / "key")
    return folder / "key"


def harmed(root: Path, public: Path, edits: int) -> dict[str, Any]:
    """Return how many harms to a directory there were, and how many verifying did not name."""
    draw = random.Random(SEED)
    every = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    filled = [name for name in every if (root / name).stat().st_size]
    missed: dict[str, int] = {}
    counts: dict[str, int] = {}

    def tried(kind: str, name: str, harm: Callable[[], Any]) -> None:
        counts[kind] = counts.get(kind, 0) + 1
        with as_it_was(root / name):
            harm()
            if not named(root, public, name):
                missed[kind] = missed.get(kind, 0) + 1

    for number in range(edits):
        # The manifest and its signature have their share, however many files there are.
        name = (MANIFEST_FILE, SIGNATURE_FILE)[number % 2] if number < 40 else draw.choice(filled)
        tried("edits", name, lambda name=name: edited(root / name, draw))
    for number in range(FILES):
        name = draw.choice(every)
        path = root / name
        beside = (path.parent / f"added-{number}").relative_to(root).as_posix()
        tried("added", beside, lambda at=beside: (root / at).write_bytes(b"x"))
        tried("removed", name, path.unlink)
        tried("links", name, lambda path=path: linked(path, public.parent / "aside"))
        with as_it_was(root / f"{name}-renamed"):
            tried("renamed", name, lambda path=path: path.rename(f"{path}-renamed"))
    items = "student/items.json" if (root / "student").is_dir() else "items.json"
    tried("swapped", items, lambda: swapped(root / items))
    assert verify_lineage(root, key=public).checks
    return {
        "directory": "run" if (root / "student").is_dir() else "student",
        "harms": sum(counts.values()),
        "missed": sum(missed.values()),
        "counts": counts,
        "missed_by_kind": missed,
    }


@contextmanager
def as_it_was(path: Path) -> Iterator[None]:
    """Put a file back as it was, or take it away where there was none."""
    before = path.read_bytes() if path.is_file() else None
    yield
    path.unlink(missing_ok=True)
    if before is not None:
        path.write_bytes(before)


def named(root: Path, public: Path, name: str) -> bool:
    """Tell whether verifying refuses a directory, and names the file."""
    try:
        verify_lineage(root, key=public)
    except PotstillError as error:
        return name in str(error)
    return False


def edited(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= draw.randrange(1, 256)
    path.write_bytes(bytes(content))


def linked(path: Path, aside: Path) -> None:
    """Put a link to the very same content in a file's place."""
    shutil.copyfile(path, aside)
    path.unlink()
    path.symlink_to(aside)


def swapped(path: Path) -> None:
    items = json.loads(path.read_text(encoding="utf-8"))
    kl = items["sampled"]["students"]["student"]["kl"]
    kl[0], kl[1] = kl[1], kl[0]
    path.write_text(json.dumps(items, indent=2) + "\n", encoding="utf-8")


def started(student: Path, public: Path) -> list[float]:
    """Return the seconds that the command takes on a student of nearly no bytes."""
    command = [sys.executable, "-m", "potstill", "verify", str(student), "--key", str(public)]
    seconds = []
    for _ in range(STARTS + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    # The first one reads files that nobody has read.
    return seconds[1:]


def large(student: Path, to: Path, gigabytes: float, key: SigningKey) -> Path:
    """Return a copy of a student with shards of random bytes beside its weights, signed."""
    shutil.copytree(student, to)
    draw = random.Random(SEED)
    for shard in range(4):
        with (to / f"weights-{shard}.safetensors").open("wb") as file:
            for _ in range(max(1, round(gigabytes * 1e9 / 4 / _CHUNK))):
                file.write(draw.randbytes(_CHUNK))
    listed = entries_under(to, frozenset((MANIFEST_FILE, SIGNATURE_FILE)))
    made = read_manifest(to / MANIFEST_FILE).model_copy(update={"files": listed})
    (to / MANIFEST_FILE).write_bytes(made.as_bytes())
    sign_file(to / MANIFEST_FILE, key)
    return to


def hashed(root: Path, public: Path) -> list[dict[str, Any]]:
    """Return, round by round and in turns, the seconds of hashing alone and of verifying."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    size = sum(path.stat().st_size for path in files)
    rows = []
    for number in range(ROUNDS + 1):
        start = time.perf_counter()
        for path in files:
            blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest()
        between = time.perf_counter()
        verify_lineage(root, key=public)
        end = time.perf_counter()
        rows.append(
            {
                "round": number,
                "bytes": size,
                "hashing_s": round(between - start, 4),
                "verify_s": round(end - between, 4),
            }
        )
    # The first one brings the files into memory, and imports what verifying needs.
    return rows[1:]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--edits", type=int, default=200)
    return parser.parse_args()


if __name__ == "__main__":
    main()
