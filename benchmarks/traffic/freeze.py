"""The simulator as two digests a version, kept in FROZEN: of its sources, and of rows they make.

    python benchmarks/traffic/freeze.py               # after VERSION in spec.py was raised
    python benchmarks/traffic/freeze.py --same-rows   # other sources that make the same rows

Figures of a detector mean something only if what it is measured on was there first. So the
sources are frozen: whoever changes what they make raises VERSION, and results of two versions are
never compared.

Version 1 has two lines. It was frozen in this folder, where results of its first digest come from.
Then the modules that make rows moved to src/potstill/simulator, so that an installed potstill has
them: imports, two names of classes and hints of types changed, and nothing else. The digest of rows
was computed by the code before the move and by the code after it, and a test computes it again.
What decides no row (match.py, make.py, fit_servegen.py, this file) stayed, and is in no digest of
sources since; nor is writing.py, which make.py's writing of files became.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from potstill.simulator import columns, world
from potstill.simulator.grid import HELD_OUT, OPEN, drawn_campaign, drawn_spec
from potstill.simulator.spec import AWKWARD, WorldSpec

FROZEN = Path(__file__).resolve().with_name("FROZEN")
SOURCES = Path(world.__file__).resolve().parent
PLACE = "src/potstill/simulator"
_HEAD = "# version, SHA-256 of the sources, SHA-256 of rows (freeze.py), where the sources were\n"


@dataclasses.dataclass(frozen=True)
class Frozen:
    """What a version's sources were and made, and where they were."""

    sources: str
    rows: str
    place: str


def sources() -> list[Path]:
    """Return the files that decide what a world is, in order; writing.py only writes it."""
    found = [*SOURCES.rglob("*.py"), *SOURCES.rglob("*.json")]
    return sorted(path for path in found if path.name != "writing.py")


def digest() -> str:
    """Return the SHA-256 of all sources, names included."""
    whole = hashlib.sha256()
    for path in sources():
        whole.update(path.relative_to(SOURCES).as_posix().encode() + b"\0")
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def worlds() -> Iterator[WorldSpec]:
    """Yield small worlds that have every mechanism and every kind of innocent between them."""
    for held_out in (False, True):
        yield drawn_spec(11, 12_000, held_out=held_out)
    spec = WorldSpec(seed=12, requests=24_000)
    rng = np.random.default_rng(12)
    campaigns = tuple(
        drawn_campaign(
            rng, f"campaign-{number:03d}", name, (20, 6.0, 0.25), AWKWARD[number % len(AWKWARD)],
            spec.days, spec.launch_day,
        )
        for number, name in enumerate([*OPEN, *HELD_OUT])
    )  # fmt: skip
    yield dataclasses.replace(spec, campaigns=campaigns)


def rows_digest() -> str:
    """Return the SHA-256 of all that `worlds` come to, truth included.

    Moments are taken in whole seconds: their last digits differ from processor to processor.
    """
    whole = hashlib.sha256()
    for spec in worlds():
        made = world.built(spec)
        tables = [*columns.account_tables(made)]
        for day in range(spec.days):
            tables += columns.request_tables(made, world.day_of(made, day), day, 0)
        for table in tables:
            whole.update(json.dumps(_plain(table), ensure_ascii=True).encode())
    return whole.hexdigest()


def _plain(table: pa.Table) -> dict[str, list[object]]:
    in_seconds = {"time", "created_at"} & set(table.column_names)
    for name in in_seconds:
        seconds = table[name].cast(pa.timestamp("s", tz="UTC"), safe=False).cast(pa.int64())
        table = table.set_column(table.column_names.index(name), name, seconds)
    return table.to_pydict()


def version() -> int:
    """Return VERSION of spec.py as it is written there."""
    written = (SOURCES / "spec.py").read_text(encoding="utf-8")
    found = re.search(r"^VERSION = (\d+)$", written, re.M)
    if found is None:
        raise ValueError("spec.py states no VERSION")
    return int(found.group(1))


def frozen() -> dict[int, list[Frozen]]:
    """Return each version as it was frozen; the last of its lines is today's."""
    lines = FROZEN.read_text(encoding="utf-8").splitlines() if FROZEN.exists() else []
    found: dict[int, list[Frozen]] = {}
    for line in lines:
        if line[:1].isdigit():
            number, *rest = line.split()
            found.setdefault(int(number), []).append(Frozen(*rest))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--same-rows", action="store_true", help="the version stays")
    same_rows = parser.parse_args().same_rows
    known, now = frozen(), Frozen(digest(), rows_digest(), PLACE)
    before = known.setdefault(version(), [])
    if any(one.rows != now.rows for one in before):
        raise SystemExit(f"version {version()} is frozen with other rows: raise VERSION first")
    if all(one.sources != now.sources for one in before):
        if before and not same_rows:
            raise SystemExit(
                f"version {version()} is frozen with other sources: raise VERSION first, or say "
                "--same-rows where no world comes out otherwise"
            )
        before.append(now)
    lines = [
        " ".join([str(number), *dataclasses.astuple(one)])
        for number, every in sorted(known.items())
        for one in every
    ]
    FROZEN.write_text(_HEAD + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
