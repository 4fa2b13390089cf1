"""`potstill demo watch`: a made-up week of a service, from its logs to cases, held to the truth.

Every step is the one that a command does. Who belongs to which campaign is written apart from the
logs, and read when all is found.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from potstill.durable import remove_leftovers_of, replaced_directory
from potstill.errors import PotstillError
from potstill.extras import extra_package
from potstill.progress import Progress, Silent
from potstill.runs.watch_truth import (
    CampaignOutcome,
    HiddenCampaign,
    NamedGroup,
    false_groups,
    outcomes,
)
from potstill.text.counts import many

# Campaigns large enough to be found, of accounts that ask as much as those of reported ones do:
# accounts, requests an account and day, share of unrelated requests.
CELLS = tuple((accounts, rate, mix) for accounts, rate in ((20, 26.0), (273, 6.0))
              for mix in (0.0, 0.25, 0.5))  # fmt: skip
# One that no threshold was chosen on.
SEED = 28
FULL, QUICK = 200_000, 40_000  # requests
WORLD, STORE = "world", "store"


@dataclass(frozen=True)
class WatchDemo:
    """What the demo found, held to the truth: hidden campaigns, false cases, and where it lies."""

    root: Path
    campaigns: tuple[CampaignOutcome, ...]
    false: tuple[NamedGroup, ...]
    innocent: int
    page: Path

    @property
    def store(self) -> Path:
        """The store that the logs were taken into."""
        return self.root / STORE


def demo_watch(
    root: Path,
    *,
    quick: bool = False,
    tell: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
) -> WatchDemo:
    """Make a week of traffic, take it in, find campaigns, write cases; return what they are.

    All lies in `root`; the traffic of an earlier demo there is used again. Raises PotstillError
    where it holds a demo of another size, or something else.
    """
    progress = progress or Silent()
    for module in ("ibis", "duckdb", "networkx"):
        extra_package(module, "the watch", "watch")
    _made(root, QUICK if quick else FULL, tell, progress)
    _taken(root, tell, progress)
    named = _cases(root, tell)
    hidden, innocent = hidden_campaigns(root / WORLD)
    return WatchDemo(
        root=root,
        campaigns=outcomes(hidden, named),
        false=false_groups(hidden, named),
        innocent=innocent,
        page=root / STORE / "cases" / "cases.html",
    )


def _made(root: Path, requests: int, tell: Callable[[str], None], progress: Progress) -> None:
    from potstill.simulator.grid import drawn_spec
    from potstill.simulator.spec import VERSION, from_json
    from potstill.simulator.writing import write_world

    spec, place = drawn_spec(SEED, requests, cells=CELLS), root / WORLD
    tell(
        f"1. A made-up service has a week of {requests:,} requests. Among its customers hide "
        f"{many(len(spec.campaigns), 'campaign')}, and {len(spec.kinds)} kinds of innocents look "
        "like one: test suites, classes, hackathons, one company's many keys."
    )
    if place.exists():
        try:
            same = from_json(place / "world.json") == spec
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            same = False
        if not same:
            raise PotstillError(
                f"{root} holds something else than a demo of this size and version; give another "
                "directory with --out"
            )
    else:
        remove_leftovers_of(place)
        with (
            progress.step("make traffic", total=requests, unit="requests") as step,
            replaced_directory(place) as building,
        ):
            write_world(spec, building, f"simulator {VERSION}", step.advance)
    tell(f"   {place}: its logs, and its table of accounts; the truth lies apart, in truth/.")


def _taken(root: Path, tell: Callable[[str], None], progress: Progress) -> None:
    from potstill.runs.watching import LogWanted, ingest_log

    tell("2. The logs are taken into a store, as `potstill watch ingest` does it.")
    world = root / WORLD
    wanted = LogWanted((str(world / "requests"),), world / "accounts.parquet")
    found = ingest_log(wanted, root / STORE, "full", progress=progress)
    for one in found.failed:
        raise PotstillError(f"{one.name}: {one.problem}")
    tell(f"   {root / STORE} ({found.privacy}) holds {sum(found.days.values()):,} requests.")


def _cases(root: Path, tell: Callable[[str], None]) -> list[NamedGroup]:
    """Write cases, and return the accounts of each."""
    from potstill.runs.watch_cases import CASE_FILE, CasesWanted, write_cases
    from potstill.watch.case.models import Case

    tell(
        "3. Campaigns are looked for: groups that templates, cards, devices or networks join, each "
        "tested by what did not join it. No threshold on one account could see them."
    )
    wanted = CasesWanted(root / STORE, with_text=True)
    found = write_cases(wanted)
    tell(
        f"   {found.groups_tested} groups of {found.parties:,} parties tested, "
        f"{many(len(found.cases), 'case')} written."
    )
    cases = [
        Case.model_validate_json((wanted.place / one.case_id / CASE_FILE).read_bytes())
        for one in found.cases
    ]
    return [
        NamedGroup(
            one.case_id,
            frozenset(member.account for member in one.inference.members),
            one.inference.families,
        )
        for one in cases
    ]


def hidden_campaigns(world: Path) -> tuple[list[HiddenCampaign], int]:
    """Return the campaigns of a simulated world, and how many requests are no campaign's account's.

    The files of `truth/` are read, which no search is given.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from potstill.simulator.grid import HELD_OUT, OPEN

    works = {name: _first_line(made.__doc__) for name, made in {**OPEN, **HELD_OUT}.items()}
    asked = pq.read_table(world / "truth" / "requests", columns=["account_id"])
    counts = Counter(
        {row["values"]: row["counts"] for row in pc.value_counts(asked["account_id"]).to_pylist()}
    )
    accounts = pq.read_table(world / "truth" / "accounts.parquet").to_pylist()
    members: dict[str, dict[str, int]] = defaultdict(dict)
    for one in accounts:
        if one["campaign_id"] is not None:
            members[one["campaign_id"]][one["account_id"]] = counts[one["account_id"]]
    table = pq.read_table(world / "truth" / "campaigns.parquet").to_pylist()
    hidden = [
        HiddenCampaign(
            one["campaign_id"],
            works[one["mechanism"]],
            members[one["campaign_id"]],
            tuple(one["families"]),
        )
        for one in table
    ]
    guilty = sum(sum(one.accounts.values()) for one in hidden)
    return hidden, asked.num_rows - guilty


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0].rstrip(".")
