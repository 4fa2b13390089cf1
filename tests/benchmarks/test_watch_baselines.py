"""Baselines over account windows: what each computes, and the comparison that is made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from traffic.make import write
from watch_baselines import claims, timed_baselines
from watch_rows import a_hit, a_row
from watched import windows
from watched.baselines import BASELINES, history_of, scored, with_truth
from watched.comparing import RATES, compared, flagged, joined, scores_of
from watched.kernels import Embedding, Reference, null_quantiles
from watched.truth import truth_of
from watched.worlds import Plan

REQUESTS = 6_000


def _oracle(one_ND: np.ndarray, other_MD: np.ndarray, median: float) -> float:
    """The unbiased estimate of MMD squared, term by term in float64 (Gretton et al. 2012, 3)."""

    def k(a: np.ndarray, b: np.ndarray) -> float:
        square = float(((a.astype(np.float64) - b) ** 2).sum())
        return float(np.mean([np.exp(-square / 2 / (w * median) ** 2) for w in (0.5, 1, 2, 4)]))

    n, m = len(one_ND), len(other_MD)
    within = sum(k(one_ND[i], one_ND[j]) for i in range(n) for j in range(n) if i != j)
    across = sum(k(a, b) for a in one_ND for b in other_MD)
    own = sum(k(other_MD[i], other_MD[j]) for i in range(m) for j in range(m) if i != j)
    return within / n / (n - 1) + own / m / (m - 1) - 2 * across / n / m


def test_mmd_is_the_unbiased_estimate() -> None:
    rng = np.random.default_rng(3)
    benign = rng.normal(size=(30, 5)).astype(np.float32)
    reference = Reference.of(benign)
    asked = rng.normal(0.7, 1, size=(11, 5)).astype(np.float32)
    window = np.array([0, 1, 0, 0, 1, 0, 1, 1, 0, 0, 1])
    found = reference.scores(asked, window)
    for number in (0, 1):
        wanted = _oracle(asked[window == number], reference.vectors_MD, reference.median)
        assert found[number] == pytest.approx(wanted, abs=1e-5)


def test_mmd_sees_a_window_on_another_subject_and_passes_one_of_everybody() -> None:
    rng = np.random.default_rng(4)
    subjects = ["invoice tax amount due", "recipe flour sugar oven", "train station ticket late"]
    texts = [" ".join(rng.permutation(subjects[i % 3].split())) for i in range(600)]
    embedding = Embedding.fitted([*texts, *["proof lemma theorem algebra"] * 20])
    benign = embedding.of(texts)
    reference = Reference.of(benign)
    limit = null_quantiles(reference, benign, [32], 0.003, draws=400)[32]
    other = embedding.of(["proof lemma theorem"] * 32)
    mixed = embedding.of([texts[i] for i in rng.integers(600, size=32)])
    both = np.concatenate([other, mixed])
    far, near = reference.scores(both, np.repeat([0, 1], 32))
    assert far > limit > near


def test_a_threshold_passes_the_share_of_innocents_that_was_asked_for() -> None:
    scores = np.array([5.0, 4, 3, 2, 1, 9, 3.5])
    benign = np.array([True] * 5 + [False] * 2)
    assert flagged(scores, benign, 0.0).tolist() == [False] * 5 + [True, False]
    assert flagged(scores, benign, 0.4).tolist() == [True, True, False, False, False, True, True]
    assert flagged(scores, benign, 1.0).all()


def _table(account: list[str], campaign: list[str], mmd: list[float]) -> pa.Table:
    n = len(account)
    return pa.table(
        {
            "account_id": account, "part": ["d"] * n, "requests": [4] * n, "campaign": campaign,
            "kind": ["x"] * n, "related": [3 if one else 0 for one in campaign], "mmd": mmd,
            "volume": [4] * n, "forest": mmd, "templates": [0] * n,
        }
    )  # fmt: skip


def test_recall_and_false_positives_are_of_windows() -> None:
    table = _table(["a", "b", "c", "d"], ["c0", "c0", "", ""], [9.0, 1.0, 2.0, 0.0])
    row = a_row((a_hit(accounts=20),), (), {"c0": 2}).model_copy(
        update={"named": {"a": 9.0, "d": 4.0}}
    )
    found = compared(joined([table], [row]), [row])
    # Of cases ranked by E the innocent one is taken last.
    ours = {point["asked for"]: point for point in found["ours"]["roc"]}
    assert (ours[0.003]["rate"], ours[0.003]["recall"]["headline"]) == (0.0, 0.5)
    assert found["benign windows"] == 2
    assert found["ours"]["false positives"] == 1
    assert found["ours"]["recall"]["headline"] == 0.5
    assert found["ours"]["taken together"]["precision"] == 0.5
    assert found["ours"]["taken together"]["campaigns half of whose accounts are in"] == 1
    forest = {point["asked for"]: point for point in found["baselines"]["forest"]["roc"]}
    assert set(forest) == set(RATES)
    assert forest[0.003]["recall"]["headline"] == 0.5
    assert found["baselines"]["forest"]["area under the curve"] == 0.75
    claimed = claims(found)
    assert claimed["recall_vs_mmd"]["value"] == 0.0
    assert claimed["fpr_vs_mmd"]["value"] is None  # MMD passes none of two windows


def test_an_account_of_two_worlds_is_two() -> None:
    tables = [_table(["a"], ["c0"], [1.0]), _table(["a"], [""], [1.0])]
    rows = [
        a_row((), (), {}),
        a_row((), (), {}).model_copy(update={"world": 1, "named": {"a": 4.0}}),
    ]
    found = joined(tables, rows)
    assert found.named_N.tolist() == [-np.inf, 4.0]
    assert found.account_N.tolist() == [0, 1]
    assert found.benign_N.tolist() == [False, True]


def test_mmd_is_ranked_among_innocent_windows_of_like_size() -> None:
    table = _table(["a", "b", "c", "d", "e"], ["", "", "", "c0", ""], [1.0, 2.0, 3.0, 2.5, 0.1])
    table = table.set_column(2, "requests", pa.array([4, 4, 4, 4, 50]))
    found = scores_of(joined([table], [a_row((), (), {})]), "mmd")
    assert found.tolist() == pytest.approx([-1, -2 / 3, -1 / 3, -1 / 3, -1])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worlds") / "world"
    write(Plan(5, REQUESTS).spec(), folder)
    return folder


def test_windows_of_a_world_are_scored_by_each_baseline(world: Path) -> None:
    truth = truth_of(world)
    for length, table in scored(world, history_of(world)).items():
        told = with_truth(world, length, table)
        for name in BASELINES:
            assert np.isfinite(np.asarray(told[name], np.float64)).all()
        assert told["volume"].equals(told["requests"])
        for one in told.slice(0, 200).to_pylist():
            assert one["campaign"] == truth.campaign[one["account_id"]]
    by_account = {one["account_id"]: one for one in told.to_pylist()}
    for account, asked in truth.asked.items():
        assert (account in by_account) == (asked >= windows.LEAST)
        if asked >= windows.LEAST:
            assert by_account[account]["requests"] == asked
            assert by_account[account]["related"] == truth.related.get(account, 0)


def test_templates_count_the_accounts_that_share_one(world: Path) -> None:
    spread = windows.template_spread(windows.connected(), world, "week")
    table = pa.concat_tables(
        pq.read_table(path, columns=["account_id", "prompt"])
        for path in sorted((world / "requests").glob("*.parquet"))
    ).to_pylist()
    used: dict[str, dict[str, int]] = {}
    for row in table:
        of = used.setdefault(row["account_id"], {})
        start = (row["prompt"] or "\0")[: windows.PREFIX]
        of[start] = of.get(start, 0) + 1
    owners: dict[str, int] = {}
    for of in used.values():
        for start, n in of.items():
            if n >= 2:
                owners[start] = owners.get(start, 0) + 1
    most = 0.1 * len(used)
    wanted = [
        max((owners[s] for s, n in used[a].items() if n >= 2 and owners[s] <= most), default=0)
        for a in sorted(used)
        if sum(used[a].values()) >= windows.LEAST
    ]
    assert spread.tolist() == wanted


def test_each_baseline_is_timed(world: Path) -> None:
    rows = timed_baselines(world)
    assert [row["baseline"] for row in rows] == list(BASELINES)
    assert all(row["requests"] == REQUESTS for row in rows)
