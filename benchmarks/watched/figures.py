"""Figures over searched worlds: recall, false cases, who was swept in, and what was missed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any, get_args

from scipy.stats import chi2

from potstill.simulator.spec import AWKWARD
from watched.judging import Hit, Why, WorldRow

# Templates of a campaign, from few to many.
DIVERSITY = ((1, "1"), (4, "2 to 4"), (16, "5 to 16"), (10**9, "more"))


Links = Mapping[tuple[int, str], str]


def summed(rows: Sequence[WorldRow], links: Links | None = None) -> dict[str, Any]:
    """Return the figures of worlds; `links` says what joins the campaigns, by world and name.

    Recall is of the campaigns that are to be found (`Hit.fair`): two families or more, 20 accounts
    or more, at most half of the requests unrelated. The others stand in tables of their own.
    """
    hits = [hit for row in rows for hit in row.hits]
    cases = [case for row in rows for case in row.cases]
    fair = [hit for hit in hits if hit.fair]
    true = [case for case in cases if not case.false]
    swept = sum((Counter(case.innocents) for case in true), Counter())
    return {
        "campaigns": len(hits),
        "to be found": len(fair),
        "recall by requests": _ratio((h.share * h.requests, h.requests) for h in fair),
        "recall by campaign": _ratio((h.share, 1.0) for h in fair),
        "named": _ratio((float(h.cases > 0), 1.0) for h in fair),
        "cases a named campaign": _ratio((float(h.cases), 1.0) for h in hits if h.cases),
        "cases": len(cases),
        "innocents in true cases": sum(swept.values()),
        "innocents in true cases, by kind": dict(swept.most_common()),
        "accounts in true cases": sum(case.accounts for case in true),
        **b_cubed(rows),
        **false_figures(rows),
        **leaks([hit for row in rows if row.by_day for hit in row.hits if hit.fair]),
        "named by mechanism": _by(fair, lambda h: h.mechanism),
        "named by cell": _by(fair, lambda h: h.cell),
        "named by families": _by(fair, lambda h: " ".join(h.families)),
        **({"by what joins them": _by_links(fair, links)} if links else {}),
        "families that held": dict(
            Counter(" ".join(h.held) for h in hits if h.cases).most_common()
        ),
        "what came of them": {why: sum(h.why == why for h in fair) for why in get_args(Why)},
        "missed by design": _by(
            [h for h in hits if len(h.families) < 2], lambda h: " ".join(h.families) or "none"
        ),
        "surface": surface(hits),
        "find seconds": round(sum(row.find_s for row in rows), 1),
        "ingest seconds": round(sum(row.ingest_s for row in rows), 1),
        "peak_gb": max((row.peak_gb for row in rows), default=None),
    }


def upper_95(events: int, millions: float) -> float | None:
    """Return the upper 95% bound of a Poisson rate (Garwood 1936); None over nothing."""
    return float(chi2.ppf(0.95, 2 * events + 2) / 2 / millions) if millions else None


def false_figures(rows: Sequence[WorldRow]) -> dict[str, Any]:
    """Return false cases a million benign requests, and the same over awkward innocents alone.

    A false case is of the kind that most of its accounts are of. The worst kind is the one with
    most false cases, and where none has any, the one of which the least was seen.
    """
    false = [case for row in rows for case in row.cases if case.false]
    benign = sum(row.benign for row in rows)
    asked = sum((Counter(row.benign_kinds) for row in rows), Counter())
    by_kind = Counter(case.kind for case in false)
    awkward = {kind: asked[kind] for kind in AWKWARD if asked[kind]}
    bounds = {kind: upper_95(by_kind[kind], asked[kind] / 1e6) for kind in awkward}
    worst = max(awkward, key=lambda kind: (by_kind[kind], bounds[kind]), default=None)
    whole = sum(awkward.values())
    among = sum(by_kind[kind] for kind in awkward)
    return {
        "false cases": len(false),
        "false kinds": dict(by_kind.most_common()),
        "benign requests": benign,
        "false cases a million, upper 95%": upper_95(len(false), benign / 1e6),
        "awkward requests": whole,
        "awkward false cases": among,
        "awkward false cases a million, upper 95%": upper_95(among, whole / 1e6),
        "worst kind": worst,
        "worst kind's requests": awkward.get(worst or ""),
        "worst kind a million, upper 95%": bounds.get(worst or ""),
    }


def b_cubed(rows: Iterable[WorldRow]) -> dict[str, float | None]:
    """Return B-cubed precision and recall (Bagga and Baldwin 1998) over accounts in cases.

    An innocent is a campaign of one, itself. An account in two cases counts in each. The last
    figure is recall over all accounts of campaigns: one in no case is with itself alone.
    """
    precision, recall, whole = _Mean(), _Mean(), _Mean()
    for row in rows:
        seen: Counter[str] = Counter()
        for case in row.cases:
            for name, n in case.campaigns.items():
                precision.add(n / case.accounts, n)
                recall.add(n / row.members[name], n)
                whole.add(n / row.members[name], n)
                seen[name] += n
            alone = sum(case.innocents.values())
            precision.add(1 / case.accounts, alone)
            recall.add(1.0, alone)
        for name, members in row.members.items():
            whole.add(1 / members, max(members - seen[name], 0))
    return {
        "B-cubed precision": precision.value,
        "B-cubed recall": recall.value,
        "B-cubed recall, all campaigns' accounts": whole.value,
    }


class _Mean:
    def __init__(self) -> None:
        self._sum, self._n = 0.0, 0

    def add(self, value: float, times: int) -> None:
        self._sum, self._n = self._sum + value * times, self._n + times

    @property
    def value(self) -> float | None:
        return round(self._sum / self._n, 4) if self._n else None


def leaks(hits: Sequence[Hit]) -> dict[str, Any]:
    """Return what campaigns got before the first alert, where they were looked for day by day."""
    named = [(hit, *hit.leaked) for hit in hits if hit.leaked is not None]
    if not named:
        return {}
    return {
        "alerted": len(named),
        "requests before the first alert": sum(n for _, _, n in named),
        "share of them": _ratio((float(n), float(hit.requests)) for hit, _, n in named),
        "median share": round(median(n / max(hit.requests, 1) for hit, _, n in named), 3),
        "median day of the first alert": median(day for _, day, _ in named),
        "share leaked, unnamed ones too": _ratio(
            (float(hit.leaked[1] if hit.leaked else hit.requests), float(hit.requests))
            for hit in hits
        ),
    }


def surface(hits: Iterable[Hit]) -> list[dict[str, Any]]:
    """Return recall over accounts x rate x mix x templates x families, a row a cell.

    Campaigns that leave one family or none are in rows of their own, with `families` 0 or 1.
    """
    cells: dict[tuple[Any, ...], list[Hit]] = defaultdict(list)
    for hit in hits:
        many = min(len(hit.families), 2)
        cells[hit.accounts, hit.rate, hit.mix, diversity(hit.templates), many].append(hit)
    return [
        {
            "accounts": accounts,
            "rate": rate,
            "mix": mix,
            "templates": templates,
            "families": many,
            "campaigns": len(each),
            "named": sum(h.cases > 0 for h in each),
            "requests": sum(h.requests for h in each),
            "recall by requests": _ratio((h.share * h.requests, h.requests) for h in each),
            "recall by campaign": _ratio((h.share, 1.0) for h in each),
        }
        for (accounts, rate, mix, templates, many), each in sorted(cells.items())
    ]


def diversity(templates: int) -> str:
    """Return a campaign's number of templates as one of a few classes."""
    return next(name for most, name in DIVERSITY if templates <= most)


def _by_links(hits: Iterable[Hit], links: Links) -> dict[str, dict[str, Any]]:
    each: dict[str, list[Hit]] = defaultdict(list)
    for hit in hits:
        each[links[hit.world, hit.campaign]].append(hit)
    return {
        name: {
            "named": f"{sum(h.cases > 0 for h in mine)} of {len(mine)}",
            "recall by requests": _ratio((h.share * h.requests, h.requests) for h in mine),
            "recall by campaign": _ratio((h.share, 1.0) for h in mine),
        }
        for name, mine in sorted(each.items())
    }


def _ratio(pairs: Iterable[tuple[float, float]]) -> float | None:
    both = list(pairs)
    whole = sum(b for _, b in both)
    return round(sum(a for a, _ in both) / whole, 3) if whole else None


def _by(hits: Iterable[Hit], key: Callable[[Hit], str]) -> Mapping[str, str]:
    found: dict[str, list[bool]] = defaultdict(list)
    for hit in hits:
        found[key(hit)].append(hit.cases > 0)
    return {name: f"{sum(each)} of {len(each)}" for name, each in sorted(found.items())}
