"""Does one column, or one request's words, tell a campaign from what it was matched to?

    python benchmarks/traffic/match.py                # every cover; results/traffic_matching.json
    python benchmarks/traffic/match.py --covers hackathon --worlds 1

For every awkward kind worlds are made whose campaigns have that kind as their cover. Classifiers
learn in some worlds, on one column or on the words of one text of one request, which requests are
a campaign's and which its matched groups'; other worlds give the AUC. The same against all
traffic, where it may be large.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "traffic"

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from potstill.simulator import columns, rows, world
from potstill.simulator.grid import HELD_OUT, OPEN, drawn_campaign, drawn_spec
from potstill.simulator.spec import AWKWARD, VERSION, WorldSpec
from traffic.freeze import digest

RESULTS = Path(__file__).resolve().parents[1] / "results" / "traffic_matching.json"
MOST = 0.6
NUMBERS = ("prompt_tokens", "completion_tokens", "latency_s", "temperature", "max_tokens")
NAMED = ("model", "product", "status", "stream", "tools", "user_agent")
TEXTS = ("system", "prompt", "messages", "response")
ACCOUNT_NAMED = ("plan", "asn", "country", "timezone")
ACCOUNT_KEYS = ("payment", "email_domain", "device", "subnet", "tenant")
# A word, or a character of a script without spaces.
WORDS = r"[^\W\d_㐀-鿿]+|\d+|[㐀-鿿]"
Learner = Callable[[pa.Table, NDArray[np.bool_], pa.Table], NDArray[np.float64]]


@dataclasses.dataclass(frozen=True)
class Sample:
    """Requests and accounts of some worlds, and which are a campaign's."""

    requests: pa.Table
    guilty_N: NDArray[np.bool_]
    accounts: pa.Table
    guilty_A: NDArray[np.bool_]


def probe(cover: str, seed: int, campaigns: int) -> WorldSpec:
    """Return a world of many small campaigns under one cover, of every mechanism."""
    spec = WorldSpec(seed=seed, requests=0, awkward_share=0.0, kinds=())
    rng = np.random.default_rng([VERSION, seed, 8, AWKWARD.index(cover)])
    every = [*OPEN, *HELD_OUT]
    drawn = []
    for number in range(campaigns):
        mechanism = every[number % len(every)]
        cell = (20, 26.0, float(rng.choice((0.0, 0.25, 0.5))))
        campaign = drawn_campaign(
            rng, f"campaign-{number:03d}", mechanism, cell, cover, spec.days, spec.launch_day
        )
        days = min(2, campaign.look.days)
        first = campaign.look.first_day + int(rng.integers(0, campaign.look.days - days + 1))
        look = dataclasses.replace(campaign.look, days=days, first_day=first)
        drawn.append(dataclasses.replace(campaign, look=look))
    volume = sum(c.accounts * c.look.rate * c.look.days for c in drawn)
    return dataclasses.replace(spec, requests=int(2.3 * volume) + 5_000, campaigns=tuple(drawn))


def sampled(spec: WorldSpec, most: int, *, matched: bool = True) -> Sample:
    """Return at most `most` requests of each side; the innocent one is the matched, or all."""
    made = world.built(spec)
    rng = np.random.default_rng([VERSION, spec.seed, 9])
    guilty_G = np.array([p.group.campaign is not None for p in made.parts] + [False])
    judged_G = np.array([bool(p.group.campaign or p.group.matched) for p in made.parts] + [False])
    tables, flags = [], []
    for day in range(spec.days):
        whole = world.day_of(made, day)
        group = made.everybody.group[whole.account]
        guilty = guilty_G[group] & whole.related
        innocent = (judged_G[group] & whole.related if matched else ~guilty_G[group]) & ~guilty
        sides = [rng.permutation(np.flatnonzero(side)) for side in (guilty, innocent)]
        picked = np.concatenate([side[: most // spec.days] for side in sides])
        if len(picked):
            table, _ = columns.request_tables(made, rows.taken(whole, picked), day, 0)
            tables.append(table)
            flags.append(guilty[picked])
    accounts, truth = columns.account_tables(made)
    group_A = truth["group"].to_numpy()
    kept_A = judged_G[group_A] if matched else np.ones(len(group_A), dtype=np.bool_)
    return Sample(
        requests=pa.concat_tables(tables),
        guilty_N=np.concatenate(flags),
        accounts=accounts.filter(pa.array(kept_A)),
        guilty_A=guilty_G[group_A][kept_A],
    )


def together(samples: list[Sample]) -> Sample:
    """Return several worlds' samples as one."""
    return Sample(
        requests=pa.concat_tables([s.requests for s in samples]),
        guilty_N=np.concatenate([s.guilty_N for s in samples]),
        accounts=pa.concat_tables([s.accounts for s in samples]),
        guilty_A=np.concatenate([s.guilty_A for s in samples]),
    )


def _boosted(name: str, features: Callable[[pa.Table], np.ndarray]) -> Learner:
    def learn(there: pa.Table, guilty: NDArray[np.bool_], here: pa.Table) -> np.ndarray:
        model = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=8, random_state=0)
        model.fit(features(there.select([name])), guilty)
        return model.predict_proba(features(here.select([name])))[:, 1]

    return learn


def _as_numbers(table: pa.Table) -> np.ndarray:
    return table[0].cast(pa.float64()).to_numpy()[:, None]


def _as_names(table: pa.Table) -> np.ndarray:
    """Return one 0 or 1 for each of 64 hashed values, and one for null."""
    text = table[0].cast(pa.string()).fill_null("\0").to_pylist()
    return HashingVectorizer(
        n_features=64, analyzer=lambda value: [value], norm=None, alternate_sign=False
    ).transform(text).toarray()  # fmt: skip


def _as_moment(table: pa.Table) -> np.ndarray:
    time = table[0]
    hour = pc.add(pc.hour(time), pc.divide(pc.cast(pc.minute(time), pa.float64()), 60))
    parts = [hour, pc.second(time), pc.day_of_week(time), pc.day(time)]
    return np.stack([part.to_numpy().astype(np.float64) for part in parts], axis=1)


def _as_age(table: pa.Table) -> np.ndarray:
    return table[0].cast(pa.int64()).cast(pa.float64()).to_numpy()[:, None]


def _words(name: str) -> Learner:
    def learn(there: pa.Table, guilty: NDArray[np.bool_], here: pa.Table) -> np.ndarray:
        bag = HashingVectorizer(n_features=2**14, token_pattern=WORDS, lowercase=True)
        seen, new = (bag.transform(t[name].fill_null("").to_pylist()) for t in (there, here))
        model = LogisticRegression(C=1.0, max_iter=200).fit(seen, guilty)
        return model.decision_function(new)

    return learn


def _length(table: pa.Table) -> np.ndarray:
    return pc.utf8_length(table[0]).cast(pa.float64()).to_numpy()[:, None]


def request_learners() -> Iterator[tuple[str, Learner]]:
    """Yield each way to judge a request by one column, or by the words of one."""
    yield "time", _boosted("time", _as_moment)
    for name in NUMBERS:
        yield name, _boosted(name, _as_numbers)
    for name in NAMED:
        yield name, _boosted(name, _as_names)
    for name in ("client", "client_subnet"):
        yield name, _boosted(name, _as_names)
    for name in TEXTS:
        yield f"{name} (length)", _boosted(name, _length)
        yield f"{name} (words)", _words(name)


def account_learners() -> Iterator[tuple[str, Learner]]:
    """Yield each way to judge an account by one column."""
    yield "created_at", _boosted("created_at", _as_age)
    for name in (*ACCOUNT_NAMED, *ACCOUNT_KEYS):
        yield name, _boosted(name, _as_names)


def aucs(there: Sample, here: Sample) -> dict[str, float]:
    """Return the AUC in some worlds of what was learnt in others, by column."""
    found = {}
    for name, learn in request_learners():
        score = learn(there.requests, there.guilty_N, here.requests)
        found[f"request {name}"] = roc_auc_score(here.guilty_N, score)
    for name, learn in account_learners():
        score = learn(there.accounts, there.guilty_A, here.accounts)
        found[f"account {name}"] = roc_auc_score(here.guilty_A, score)
    return {name: round(float(value), 4) for name, value in found.items()}


def matched_aucs(cover: str, worlds: int, campaigns: int, most: int, seed: int) -> dict[str, float]:
    """Return the AUCs within one cover: half of the worlds teach, the others test."""
    samples = [sampled(probe(cover, seed + i, campaigns), most) for i in range(2 * worlds)]
    return aucs(together(samples[:worlds]), together(samples[worlds:]))


def traffic_aucs(worlds: int, requests: int, most: int, seed: int) -> dict[str, float]:
    """Return the AUCs of campaigns against all other traffic of ordinary worlds."""
    samples = [
        sampled(drawn_spec(seed + i, requests, held_out=i % 2 == 1), most, matched=False)
        for i in range(2 * worlds)
    ]
    return aucs(together(samples[:worlds]), together(samples[worlds:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--covers", nargs="*", choices=AWKWARD, default=list(AWKWARD))
    parser.add_argument("--worlds", type=int, default=3, help="that teach; as many test")
    parser.add_argument("--campaigns", type=int, default=52, help="in each world")
    parser.add_argument("--most", type=int, default=3_000, help="requests of a side and a world")
    parser.add_argument("--seed", type=int, default=20_260_301)
    parser.add_argument("--dry", action="store_true", help="print only")
    given = parser.parse_args()
    matched = {}
    for cover in given.covers:
        matched[cover] = matched_aucs(cover, given.worlds, given.campaigns, given.most, given.seed)
        name = max(matched[cover], key=lambda n: matched[cover][n])
        print(f"{cover:20} at most {matched[cover][name]:.3f} ({name})", flush=True)
    everything = traffic_aucs(given.worlds, 200_000, given.most, given.seed)
    name = max(everything, key=lambda n: everything[n])
    print(f"{'all traffic':20} at most {everything[name]:.3f} ({name})")
    worst = max(max(found.values()) for found in matched.values())
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "simulator": {"version": VERSION, "sha256": digest()},
        "seed": given.seed,
        "worlds": [given.worlds, given.worlds],
        "campaigns_a_world": given.campaigns,
        "limit": MOST,
        "claims": {"matched_auc_max": {"value": worst, "unit": "AUC", "runs": 1}},
        "matched": matched,
        "all_traffic": everything,
    }
    if not given.dry:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
