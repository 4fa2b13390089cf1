"""Simulated worlds, made and taken in one at a time, so that a kill costs one world at most."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from traffic.make import write

import potstill
from potstill.runs.watching import LogWanted, ingest_log
from potstill.simulator.grid import drawn_spec
from potstill.simulator.spec import WorldSpec

# The cells of worlds that are too small for the whole grid.
CELLS = tuple((a, r, m) for a, r in ((20, 26.0), (273, 6.0)) for m in (0.0, 0.25, 0.5))
_SOURCES = Path(potstill.__file__).parent
# What a store's bytes depend on.
_OF_INGEST = ("watch/ingest", "watch/schema.py", "watch/sketches.py", "watch/words.py", "text")


@dataclass(frozen=True)
class Plan:
    """A world to make. Without `grid` its campaigns are of CELLS; `quiet` ones have none."""

    number: int
    requests: int
    days: int = 7
    held_out: bool = False
    grid: bool = False
    innocents: tuple[str, ...] = ()
    """No campaigns, and `awkward` of the requests of these awkward kinds."""
    awkward: float = 0.5
    quiet: bool = False

    @property
    def sort(self) -> str:
        """Which worlds it is one of."""
        if self.quiet:
            return "quiet"
        if self.innocents:
            return f"{'+'.join(self.innocents)}-{self.awkward:g}"
        sort = "held" if self.held_out else "open"
        return f"{sort}-grid" if self.grid else sort

    @property
    def name(self) -> str:
        """Its directory's name."""
        days = "" if self.days == 7 else f"-{self.days}d"
        return f"{self.sort}-{self.requests}{days}-{self.number}"

    def spec(self) -> WorldSpec:
        """Return what the simulator is given."""
        cells = () if self.grid else CELLS
        spec = drawn_spec(
            self.number, self.requests, days=self.days, held_out=self.held_out, cells=cells
        )
        if self.quiet or self.innocents:
            spec = dataclasses.replace(spec, campaigns=())
        if self.innocents:
            spec = dataclasses.replace(spec, kinds=self.innocents, awkward_share=self.awkward)
        return spec


def linked_by(plan: Plan) -> dict[str, str]:
    """Return what joins each campaign's accounts by its making: *means* are cards, devices and a
    relay, *places* networks and e-mail domains; ten accounts or more have them in common."""
    found = {}
    for campaign in plan.spec().campaigns:
        r = campaign.relation
        means = max(r.payment, r.device) * campaign.accounts >= 10 or r.relay > 0
        places = max(r.subnet, r.domain) * campaign.accounts >= 10
        kinds = [name for name, is_so in (("means", means), ("places", places)) if is_so]
        found[campaign.campaign_id] = " and ".join(kinds) or "nothing"
    return found


def made(plan: Plan, work: Path) -> Path:
    """Return a world's directory; it is made where it is not there as a whole."""
    world = work / plan.name
    if not (world / "world.json").exists():
        shutil.rmtree(world, ignore_errors=True)
        write(plan.spec(), world)
    return world


def taken(world: Path, store: Path, privacy: str) -> None:
    """Take a world into a store, unless it was taken whole by the code that there is now."""
    mark = store.with_name(f"{store.name}.taken")
    code = code_digest(_OF_INGEST)
    if store.exists() and mark.exists() and mark.read_text(encoding="utf-8") == code:
        return
    shutil.rmtree(store, ignore_errors=True)
    ingest_log(LogWanted((str(world / "requests"),), world / "accounts.parquet"), store, privacy)
    mark.write_text(code, encoding="utf-8")


def forgotten(world: Path, store: Path) -> None:
    """Delete a world and its store."""
    for folder in (world, store):
        shutil.rmtree(folder, ignore_errors=True)
    store.with_name(f"{store.name}.taken").unlink(missing_ok=True)


@functools.cache
def code_digest(parts: tuple[str, ...] = ("",)) -> str:
    """Return a digest over the sources of potstill, or of parts of them, as this run met them."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        path = _SOURCES / part
        for source in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            found.update(str(source.relative_to(_SOURCES)).encode())
            found.update(source.read_bytes())
    return found.hexdigest()
