"""Small simulated worlds that tests share."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pyarrow as pa

from potstill.simulator import columns, world
from potstill.simulator.grid import drawn_spec
from potstill.simulator.rows import Rows
from potstill.simulator.spec import CampaignSpec, Look, Relation, WorldSpec

ROOT = Path(__file__).parents[2]
REQUESTS = 12_000


@cache
def small(seed: int = 11, held_out: bool = False) -> world.World:
    return world.built(drawn_spec(seed, REQUESTS, held_out=held_out))


def tables(made: world.World) -> tuple[pa.Table, pa.Table]:
    """Return all requests of a world, and what is true of them."""
    found = []
    for day in range(made.spec.days):
        found.append(columns.request_tables(made, world.day_of(made, day), day, 0))
    return pa.concat_tables([f[0] for f in found]), pa.concat_tables([f[1] for f in found])


@cache
def small_tables() -> tuple[pa.Table, pa.Table]:
    return tables(small())


def alone(
    relation: Relation, *, accounts: int = 24, rate: float = 26.0, days: int = 2, **look: object
) -> tuple[world.World, list[Rows]]:
    """Return a world with one campaign of this relation, and its related requests day by day."""
    looks = Look("coding_harness", rate, days=days, **look)  # type: ignore[arg-type]
    campaign = CampaignSpec("campaign-000", "sharded", False, accounts, looks, relation)
    requests = int(accounts * rate * days * 2) + 2_000
    spec = WorldSpec(5, requests, days=days, awkward_share=0.0, campaigns=(campaign,), kinds=())
    made = world.built(spec)
    part = made.parts[0]
    found = []
    for day in range(days):
        whole = world.day_of(made, day)
        mine = (made.everybody.group[whole.account] == 0) & whole.related
        found.append(world.rows.taken(whole, mine.nonzero()[0]))
    assert part.group.campaign == "campaign-000"
    return made, found
