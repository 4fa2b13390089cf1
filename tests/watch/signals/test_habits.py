"""What parties' habits are is counted as by hand, in one pass."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

pytest.importorskip("networkx", reason="campaigns are found with the extra `watch`")

from case_worlds import SEED, START, Rows, store_of

from potstill.runs.watching import open_store, traffic_engine
from potstill.watch.signals import habits
from potstill.watch.signals.links import strata
from potstill.watch.signals.traffic import traffic_of


def world(rng: random.Random) -> tuple[Rows, Rows]:
    """Return requests of 8 accounts, of which two are one tenant, and accounts."""
    requests: Rows = []
    for number in range(600):
        at = START + timedelta(days=number % 5, seconds=rng.randrange(86_400))
        row: dict[str, Any] = {
            "request_id": str(number),
            "account_id": f"a{min(7, int(rng.expovariate(0.3)))}",
            "time": at.isoformat(),
            "product": rng.choice(("api", "app")),
            "prompt": f"tell me of {rng.choice(('cats', 'dogs'))} and {chr(97 + number % 20)}",
            "model": "new" if number % 5 > 2 and rng.random() < 0.5 else "old",
        }
        if rng.random() < 0.8:
            row["completion_tokens"] = rng.randrange(1, 60)
        if rng.random() < 0.7:
            row["max_tokens"] = rng.choice((20, 50))
        requests.append(row)
    accounts = [
        {"account_id": f"a{n}", "tenant": "one" if n > 5 else None, "timezone": "Asia/Tokyo"}
        for n in range(8)
    ]
    return requests, accounts


def party(row: dict[str, Any]) -> str:
    return "t:one" if row["account_id"] in ("a6", "a7") else f"a:{row['account_id']}"


def test_habits_are_counted_as_by_hand(tmp_path: Path) -> None:
    requests, accounts = world(random.Random(SEED))
    root = store_of(tmp_path, (requests, accounts))
    last = (START + timedelta(days=4) - datetime.fromtimestamp(0, START.tzinfo)).days
    with open_store(root, None, there=True) as store, traffic_engine("UTC") as backend:
        traffic = traffic_of(store, backend)
        seen = {row["model"]: row["first"] for row in traffic.rows(
            habits.models_seen(traffic)).to_pylist()}  # fmt: skip
        assert seen == {"old": last - 4, "new": last - 1}
        counted = habits.habits_of(traffic, ("new",), last - 2, "habits")
        idle = traffic.rows(habits.no_idle_hours(counted)).to_pylist()
        had = traffic.rows(habits.output_appetite(counted)).to_pylist()
        went = traffic.rows(habits.pivot(counted)).to_pylist()
        assert traffic.rows(habits.strata_of_habits(counted)) == traffic.rows(strata(traffic))
    hours: dict[str, Counter[int]] = defaultdict(Counter)
    for row in requests:
        hours[party(row)][datetime.fromisoformat(row["time"]).hour] += 1
    assert idle == [
        {
            "party": name,
            "n": of.total(),
            "hours": sum(100 * n >= of.total() for n in of.values()),
        }
        for name, of in sorted(hours.items())
    ]
    assert any(one["hours"] < len(hours[one["party"]]) for one in idle)  # an idle hour with some
    for name, of_had, of_went in zip(sorted(hours), had, went, strict=True):
        mine = [row for row in requests if party(row) == name]
        answered = [row for row in mine if "completion_tokens" in row]
        limited = [row for row in answered if "max_tokens" in row]
        assert of_had == {
            "party": name,
            "answered": len(answered),
            "written": sum(row["completion_tokens"] for row in answered),
            "limited": len(limited),
            "at_limit": sum(row["completion_tokens"] >= row["max_tokens"] for row in limited),
        }
        late = [row for row in mine if int(row["request_id"]) % 5 >= 2]
        moved = sum(row["model"] == "new" for row in late)
        assert of_went == {"party": name, "late": len(late), "moved": moved}


def test_prompts_are_sampled_by_their_rows(tmp_path: Path) -> None:
    requests, accounts = world(random.Random(SEED))
    root = store_of(tmp_path, (requests, accounts))
    count = Counter(map(party, requests))
    whole, part = (name for name, _ in count.most_common(2))
    shares = pa.table({"party": [whole, part], "kept": [habits.SPREAD, habits.SPREAD // 4]})
    with open_store(root, None, there=True) as store, traffic_engine("UTC") as backend:
        traffic = traffic_of(store, backend)
        kept = habits.sampled(traffic, shares, "sampled")
        grown = traffic.rows(habits.coverage_growth(kept)).to_pylist()
        shifted = traffic.rows(habits.window_shift(kept, 3)).to_pylist()
    found = Counter(row["party"] for row in grown)
    assert set(found) == {whole, part} and found[whole] == count[whole]
    assert 0.1 * count[part] < found[part] < 0.45 * count[part]
    asked = Counter(Counter(r["prompt"] for r in requests if party(r) == whole).values())
    hashes = Counter(row["prompt_hash"] for row in grown if row["party"] == whole)
    assert Counter(hashes.values()) == asked
    assert Counter(row["party"] for row in shifted) == {whole: 3, part: 3}
    assert [row["number"] for row in shifted if row["party"] == whole] == sorted(
        row["number"] for row in grown if row["party"] == whole
    )[:3]
