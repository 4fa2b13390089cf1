"""Campaigns: the grid they are drawn over, and the mechanisms, some of which are held out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from potstill.simulator.covers import drawn_look
from potstill.simulator.spec import (
    AWKWARD,
    INTENTS,
    LANGUAGES,
    CampaignSpec,
    Look,
    Relation,
    WorldSpec,
)

ACCOUNTS = (1, 20, 273, 5_000)
RATES = (6.0, 26.0, 860.0)
HEADLINE = 26.0
MIXES = (0.0, 0.25, 0.5, 0.75, 0.95)
SHARING = (0.0, 0.25, 0.5, 1.0)
# Of all requests: what campaigns come to; the most that the first may, and each other.
CAMPAIGN_SHARE, LARGEST_SHARE, OTHERS_SHARE = 0.12, 0.05, 0.02
MOST_CAMPAIGNS = 40

Rng = np.random.Generator
Made = tuple[Look, Relation]


def _pick(rng: Rng, *values: float) -> float:
    return float(rng.choice(values))


def _links(rng: Rng, *, least: float = 0.0) -> dict[str, float]:
    """Draw which share of accounts shares what; at least one link at `least` or above."""
    names = ("payment", "device", "subnet", "domain")
    links = {name: _pick(rng, *SHARING) if rng.random() < 0.5 else 0.0 for name in names}
    if least and max(links.values()) < least:
        links[str(rng.choice(names))] = max(least, _pick(rng, *SHARING))
    return links | {"cluster": int(rng.choice((3, 8, 30)))}


def _joined(**values: object) -> Relation:
    return Relation(**values)  # type: ignore[arg-type]


def sharded(rng: Rng, look: Look) -> Made:
    """One or few templates, the work dealt out, some links."""
    templates = int(rng.integers(1, 5))
    return look, _joined(templates=templates, items="sharded", signup=True, **_links(rng))


def many_templates(rng: Rng, look: Look) -> Made:
    """Many templates in several languages."""
    look = dataclasses.replace(look, languages=LANGUAGES[: int(rng.integers(2, 6))])
    templates = int(rng.choice((8, 16, 64)))
    links = _links(rng, least=0.25)
    return look, _joined(templates=templates, items="sharded", by_row=True, **links)


def paraphrased(rng: Rng, look: Look) -> Made:
    """Templates whose phrases are mostly worded anew."""
    look = dataclasses.replace(look, paraphrase=_pick(rng, 0.5, 0.7, 0.9))
    return look, _joined(
        templates=int(rng.integers(1, 9)), items="sharded", **_links(rng, least=0.25)
    )


def scheduled(rng: Rng, look: Look) -> Made:
    """All accounts act at the same moments, with more or less jitter."""
    jitter, ticks = _pick(rng, 5, 60, 600), int(rng.choice((12, 24, 48)))
    templates = int(rng.integers(1, 9))
    return look, _joined(
        templates=templates, items="sharded", ticks=ticks, jitter_s=jitter, **_links(rng)
    )


def failover(rng: Rng, look: Look) -> Made:
    """A pool: what one account is refused, the next one asks."""
    look = dataclasses.replace(look, fails=max(look.fails, _pick(rng, 0.02, 0.05)))
    links = _links(rng)
    return look, _joined(templates=int(rng.integers(1, 9)), items="sharded", handoff=True, **links)


def relay(rng: Rng, look: Look) -> Made:
    """Requests leave through a proxy's addresses, mixed with those of its other customers."""
    look = dataclasses.replace(look, mix=max(look.mix, _pick(rng, 0.25, 0.5)))
    addresses = int(rng.choice((4, 16, 64)))
    return look, _joined(templates=int(rng.integers(1, 9)), items="sharded", relay=addresses)


def untemplated(rng: Rng, look: Look) -> Made:
    """No template: every request is worded anew; links and moments remain."""
    look = dataclasses.replace(
        look, paraphrase=1.0, intent=str(rng.choice(("reasoning", "rubric")))
    )
    ticks = int(rng.choice((0, 24)))
    links = _links(rng, least=0.5)
    return look, _joined(templates=64, items="sharded", ticks=ticks, jitter_s=60.0, **links)


def unlinked(rng: Rng, look: Look) -> Made:
    """No infrastructure link at all: content and time remain."""
    ticks = int(rng.choice((12, 24)))
    templates, jitter = int(rng.integers(1, 5)), _pick(rng, 5, 60)
    return look, Relation(templates=templates, items="sharded", ticks=ticks, jitter_s=jitter)


def turns(rng: Rng, look: Look) -> Made:
    """Accounts take turns, so that the sum is even and none works long."""
    return look, _joined(
        templates=int(rng.integers(1, 9)), items="sharded", turns=True, **_links(rng)
    )


def tongues(rng: Rng, look: Look) -> Made:
    """One template in every language: only the language tells requests apart."""
    look = dataclasses.replace(look, languages=LANGUAGES, paraphrase=0.0)
    links = _links(rng, least=0.25)
    return look, _joined(templates=1, items="sharded", by_row=True, **links)


def generations(rng: Rng, look: Look) -> Made:
    """Accounts are used up and replaced by fresh ones."""
    look = dataclasses.replace(look, fresh=max(look.fresh, 0.6))
    sets, templates = int(rng.choice((2, 3, 6))), int(rng.integers(1, 9))
    return look, _joined(
        templates=templates, items="sharded", generations=sets, signup=True, **_links(rng)
    )


def grading(rng: Rng, look: Look) -> Made:
    """Rubrics and rewards for another model's answers, everybody the same list."""
    look = dataclasses.replace(look, intent="rubric")
    links = _links(rng, least=0.25)
    return look, _joined(templates=int(rng.integers(1, 5)), items="same", pool=2_000, **links)


def pivot(rng: Rng, look: Look) -> Made:
    """Half of the traffic moves to a new model within its first day."""
    look = dataclasses.replace(look, adoption=0.5, intent=str(rng.choice(INTENTS)))
    links = _links(rng, least=0.25)
    return look, _joined(templates=int(rng.integers(1, 9)), items="sharded", **links)


Mechanism = Callable[[Rng, Look], Made]
OPEN: dict[str, Mechanism] = {
    f.__name__: f
    for f in (sharded, many_templates, paraphrased, scheduled, failover, relay, untemplated,
              unlinked)
}  # fmt: skip
# Never looked at while a detector is made or tuned: only reported.
HELD_OUT: dict[str, Mechanism] = {
    f.__name__: f for f in (turns, tongues, generations, grading, pivot)
}


def drawn_campaign(
    rng: Rng, name: str, mechanism: str, cell: tuple[int, float, float],
    cover: str, days: int, launch_day: int,
) -> CampaignSpec:  # fmt: skip
    """Draw a campaign of a mechanism in a cell of the grid (accounts, rate, mix)."""
    held_out = mechanism in HELD_OUT
    accounts, rate, mix = cell
    look = drawn_look(cover, rng, days, launch_day)
    look = dataclasses.replace(look, rate=rate, mix=mix)
    if look.days == days:
        # In a world of more than a week the first week is quiet: a history to calibrate on.
        quiet = 7 if days > 7 else 0
        first = int(rng.integers(quiet, quiet + max(1, (days - quiet) // 3)))
        look = dataclasses.replace(look, first_day=first, days=days - first)
    look, relation = (HELD_OUT if held_out else OPEN)[mechanism](rng, look)
    return CampaignSpec(name, mechanism, held_out, accounts, look, relation)


def _volume(campaign: CampaignSpec) -> float:
    return campaign.accounts * campaign.look.rate * campaign.look.days


def _fitting(campaign: CampaignSpec, most: float) -> CampaignSpec | None:
    """Return the campaign over as many days as `most` requests allow; None if not even one."""
    daily = campaign.accounts * campaign.look.rate
    days = min(campaign.look.days, int(most // daily))
    if days < 1:
        return None
    return dataclasses.replace(campaign, look=dataclasses.replace(campaign.look, days=days))


def _interleaved(cells: list[tuple[int, float, float]]) -> list[tuple[int, float, float]]:
    """Return cells so that sizes take turns, each with two of the headline rate to one other."""
    queues: dict[tuple[int, bool], list[tuple[int, float, float]]] = {}
    for cell in cells:
        queues.setdefault((cell[0], cell[1] == HEADLINE), []).append(cell)
    order = []
    for turn in range(2 * len(cells)):
        # One account alone joins nothing: it is there, but seldom.
        for accounts in (5_000, 273, 20, 1) if turn % 4 == 0 else (273, 20):
            for headline in (True, False) if turn % 3 == 0 else (True,):
                queue = queues.get((accounts, headline), [])
                order += [queue.pop()] if queue else []
    return order + [cell for queue in queues.values() for cell in queue]


def drawn_spec(
    seed: int, requests: int, *, days: int = 7, held_out: bool = False,
    cells: tuple[tuple[int, float, float], ...] = (), mechanisms: tuple[str, ...] = (),
) -> WorldSpec:  # fmt: skip
    """Draw a world with campaigns over the grid; the headline rate of 26 a day comes first.

    `held_out` takes the mechanisms that are only reported. `cells` and `mechanisms` limit the
    draw. A cell whose requests do not fit in a world of this size is left out of it.
    """
    launch_day = 3 if days <= 7 else 7 + (days - 7) // 2
    spec = WorldSpec(seed=seed, requests=requests, days=days, launch_day=launch_day)
    rng = np.random.default_rng([spec.version, seed, 1, int(held_out)])
    every = cells or tuple((a, r, m) for a in ACCOUNTS for r in RATES for m in MIXES)
    order = _interleaved([every[i] for i in rng.permutation(len(every))])
    names = mechanisms or tuple(HELD_OUT if held_out else OPEN)
    first = int(rng.integers(len(names)))
    left, found = CAMPAIGN_SHARE * requests, list[CampaignSpec]()
    for cell in order * 3:
        name = names[(first + len(found)) % len(names)]
        cover = AWKWARD[int(rng.integers(len(AWKWARD)))]
        drawn = drawn_campaign(
            rng, f"campaign-{len(found):03d}", name, cell, cover, days, spec.launch_day
        )
        most = CAMPAIGN_SHARE if cells else OTHERS_SHARE if found else LARGEST_SHARE
        fits = _fitting(drawn, min(left, most * requests))
        if fits is not None and len(found) < MOST_CAMPAIGNS:
            found.append(fits)
            left -= _volume(fits)
    return dataclasses.replace(spec, campaigns=tuple(found))
