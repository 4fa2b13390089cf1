"""What is true of a simulated world: who belongs to which campaign, and who asked how much."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from potstill.watch.schema import party_of

INNOCENT = ""


@dataclass(frozen=True)
class Known:
    """A campaign as it was made. `requests` are its own: the unrelated part is left out."""

    campaign_id: str
    mechanism: str
    cover: str
    accounts: int
    rate: float
    mix: float
    days: int
    families: tuple[str, ...]
    templates: int
    languages: int
    paraphrase: float
    requests: int


@dataclass(frozen=True)
class Truth:
    """Each account's kind, party and campaign ("" for none), and its requests."""

    kind: Mapping[str, str]
    party: Mapping[str, str]
    campaign: Mapping[str, str]
    asked: Mapping[str, int]
    """All requests of an account."""
    related: Mapping[str, int]
    """Those of them that are its campaign's."""
    by_day: Mapping[str, tuple[int, ...]]
    """A campaign's requests on each day of the world."""
    benign_kinds: Mapping[str, int]
    """Requests of accounts in no campaign, by the kind of the request."""
    campaigns: tuple[Known, ...]

    @property
    def benign(self) -> int:
        """Requests of accounts that are in no campaign."""
        return sum(self.benign_kinds.values())

    def members(self, campaign: str) -> frozenset[str]:
        """Return the accounts of a campaign."""
        return frozenset(a for a, name in self.campaign.items() if name == campaign)


def truth_of(world: Path) -> Truth:
    """Return what is true of a world."""
    accounts = pq.read_table(world / "truth" / "accounts.parquet").to_pylist()
    campaign = {one["account_id"]: one["campaign_id"] or INNOCENT for one in accounts}
    asked: Counter[str] = Counter()
    related: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    days = sorted((world / "truth" / "requests").glob("*.parquet"))
    by_day: dict[str, list[int]] = defaultdict(lambda: [0] * len(days))
    for day, path in enumerate(days):
        for account, kind, name, count in _counted(path):
            asked[account] += count
            if name is not None:
                related[account] += count
                by_day[name][day] += count
            if campaign[account] == INNOCENT:
                kinds[kind] += count
    known = pq.read_table(world / "accounts.parquet", columns=["account_id", "tenant"]).to_pylist()
    return Truth(
        party={
            one["account_id"]: party_of(one["account_id"], one["tenant"] or None) for one in known
        },
        kind={one["account_id"]: one["kind"] for one in accounts},
        campaign=campaign,
        asked=asked,
        related=related,
        by_day={name: tuple(each) for name, each in by_day.items()},
        benign_kinds=dict(kinds),
        campaigns=_campaigns(world),
    )


def _counted(path: Path) -> list[tuple[str, str, str | None, int]]:
    columns = ["account_id", "kind", "campaign_id"]
    table = pq.read_table(path, columns=columns, read_dictionary=columns)
    plain = table.cast(pa.schema([(name, pa.string()) for name in columns]))
    found = plain.group_by(columns).aggregate([([], "count_all")])
    return list(zip(*(found[name].to_pylist() for name in [*columns, "count_all"]), strict=True))


def _campaigns(world: Path) -> tuple[Known, ...]:
    found = []
    for row in pq.read_table(world / "truth" / "campaigns.parquet").to_pylist():
        made = json.loads(row["campaign"])
        found.append(
            Known(
                campaign_id=row["campaign_id"],
                mechanism=row["mechanism"],
                cover=row["cover"],
                accounts=row["accounts"],
                rate=row["rate"],
                mix=row["mix"],
                days=row["days"],
                families=tuple(row["families"]),
                templates=made["relation"]["templates"],
                languages=len(made["look"]["languages"]),
                paraphrase=made["look"]["paraphrase"],
                requests=row["requests"],
            )
        )
    return tuple(found)
