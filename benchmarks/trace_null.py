"""Are the p-values of a trace what they say? Null trials of marks and twins.

    python benchmarks/trace_null.py [--quick] [--nano]

Writes benchmarks/results/trace_null.json. Reading mode: 2,000 trials a scheme, each with a fresh
key, text that a table of next-token chances marks anew under it, and clean readers of it: the
unmarked teacher, another table, one that copies what it has read. Text mode and twins: 20,000
trials a row, where no model runs. Beside them two wrong ways: scoring windows that were seen, and
dropping prompts where a twin equals the served answer. `--nano` adds 2,000 trials with a network
(nano models of tests/nano). Seeds were fixed before the first run.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from bigram import VOCABULARY, Bigram, Copying, marked_texts
from common import write_results
from scipy.stats import kstest

from potstill.stats.exact import clopper_pearson, holm
from potstill.stats.ranks import RankSumLaw
from potstill.trace.marks import planned_mark, scores_of
from potstill.trace.marks_in_choices import (
    MarkedText,
    MarksInChoicesPlanned,
    choices_item,
    marks_in_choices_finding,
    planned_readings,
)
from potstill.trace.marks_in_text import (
    AnswerItem,
    MarksInTextPlanned,
    marks_in_text_finding,
)
from potstill.trace.twins import ServedExchange, TwinsItem, TwinsPlanned, ranked_prompts
from potstill.watermark.coins import coin_of
from potstill.watermark.keys import EpochKey
from potstill.watermark.schemes import GreenList, Gumbel

SEED = 20_261_201
LEVELS = (0.05, 0.01, 0.001)
CONFIDENCE = 0.999
KEY = EpochKey("trace-null", bytes(range(32)))
SCHEMES: tuple[GreenList | Gumbel, ...] = (GreenList(KEY, 2, 0.25, 4.0), Gumbel(KEY, 2))
TEXTS, LENGTH, POSITIONS = 8, 24, 150


@dataclass
class Row:
    """One test under one null: p-values of its trials."""

    test: str
    scheme: str
    who: str
    conservative: bool = False
    p: list[float] = field(default_factory=list)

    def facts(self, adjusted_ks: float | None, confidence: float) -> dict[str, Any]:
        """Return the row as it stands in the results."""
        count = len(self.p)
        levels = []
        for level in LEVELS if count >= 20_000 else LEVELS[:2]:
            hits = int((np.array(self.p) <= level).sum())
            low, high = clopper_pearson(hits, count, confidence)
            inside = low <= level and (self.conservative or level <= high)
            rate = {"level": level, "share": hits / count, "lower": low, "upper": high}
            levels.append(rate | {"inside": inside})
        return {
            "test": self.test,
            "scheme": self.scheme,
            "who": self.who,
            "conservative": self.conservative,
            "trials": count,
            "adjusted_ks_p": adjusted_ks,
            "levels": levels,
        }


def randomised(scheme: GreenList | Gumbel, total: float, n: int, coin: float) -> float:
    return float(scheme.law.randomised_p(total, n, coin))


def reading_rows(scheme: GreenList | Gumbel, trials: int) -> list[Row]:
    """Return clean readers of text that is marked anew under each trial's key.

    Beside them what comes of the copying one where every distinct pair is scored, seen or not.
    """
    teacher, other = Bigram.drawn(1), Bigram.drawn(2)
    rows = {
        who: Row("watermark-reading", scheme.name, who)
        for who in ("unmarked teacher", "another model", "copies what it read")
    }
    looked = Row("watermark-reading, sequential", scheme.name, "unmarked teacher", True)
    naive = Row("wrong: windows seen before are scored", scheme.name, "copies what it read")
    for trial in range(trials):
        rng = np.random.default_rng([SEED, 1, trial])
        keyed = scheme.decoy(trial)
        texts = marked_texts(teacher, keyed, TEXTS, LENGTH, rng)
        copying = Copying(other)
        for who, row in rows.items():
            chosen = []
            for text in texts:
                stream, begin = [*text.prompt_ids, *text.ids], len(text.prompt_ids)
                if who == "copies what it read":
                    chosen.append(copying.read(stream, begin))
                else:
                    model = teacher if who == "unmarked teacher" else other
                    chosen.append([model.choices(stream, t) for t in range(begin, len(stream))])
            p, sequential_p = read(keyed, texts, chosen, POSITIONS, trial)
            row.p.append(p)
            if who == "unmarked teacher":
                looked.p.append(sequential_p)
        naive.p.append(seen_scored(keyed, texts, chosen, trial))
    return [*rows.values(), looked, naive]


def read(
    scheme: GreenList | Gumbel,
    texts: Sequence[MarkedText],
    chosen: Sequence[Sequence[int]],
    positions: int,
    trial: int,
    vocabulary: int = VOCABULARY,
) -> tuple[float, float]:
    """Return the randomised p and the sequential p of a reader's choices, one for each token.

    A tenth of the texts fails, so that coins are among the scores.
    """
    mark = planned_mark(scheme, tokenizer="none", vocabulary=vocabulary)
    facts: dict[str, Any] = {
        "configuration": "null",
        "mark": mark,
        "readings": planned_readings(texts, mark, positions),
        "n": positions,
    }
    planned = MarksInChoicesPlanned(**facts)
    items = []
    pairs = zip(texts, planned.readings, chosen, strict=False)
    for index, (text, reading, choice) in enumerate(pairs):
        item = choices_item(scheme, index, text, reading, [choice[t] for t in reading.positions])
        if (index + trial) % 10 == 0:
            item = item.model_copy(update={"outcome": "error", "choices": (), "scores": ()})
        items.append(item)
    found = marks_in_choices_finding(planned, items, str(trial))
    looked = MarksInChoicesPlanned(**facts, sequential=True)
    coin = coin_of("randomised", scheme.key_id, str(trial))
    p = randomised(scheme, found.statistic, found.n, coin)
    return p, marks_in_choices_finding(looked, items, str(trial)).p


def seen_scored(
    scheme: GreenList | Gumbel,
    texts: Sequence[MarkedText],
    chosen: Sequence[Sequence[int]],
    trial: int,
) -> float:
    """Return p where each distinct pair of window and choice counts once, seen or not."""
    k, pairs = scheme.window, set()
    for text, choice in zip(texts, chosen, strict=True):
        pairs |= {(*text.ids[t - k : t], choice[t]) for t in range(k, len(text.ids))}
    ordered = sorted(pairs)
    scores = scores_of(scheme, [pair[:-1] for pair in ordered], [pair[-1] for pair in ordered])
    coin = coin_of("naive", scheme.key_id, str(trial))
    return randomised(scheme, sum(scores), len(scores), coin)


def text_rows(scheme: GreenList | Gumbel, trials: int) -> list[Row]:
    """Return fresh keys over a clean model's answers, which repeat themselves."""
    rng = np.random.default_rng([SEED, 2])
    answers = Bigram.drawn(3).write(scheme, [[1, 2]] * 10, 20, rng)
    rows, plans = [], []
    for least, sequential in ((1, False), (2, False), (1, True)):
        name = "watermark-text, sequential" if sequential else "watermark-text"
        rows.append(Row(name, scheme.name, f"pairs of {least} answers at least", sequential))
        plans.append(
            MarksInTextPlanned(
                configuration="null",
                mark=planned_mark(scheme, tokenizer="none", vocabulary=VOCABULARY),
                collected=len(answers),
                least_answers=least,
                sequential=sequential,
            )
        )
    pairs = [tuple(ids[t - scheme.window : t + 1]) for ids in answers for t in range(2, len(ids))]
    ends = np.cumsum([len(ids) - scheme.window for ids in answers])[:-1]
    for trial in range(trials):
        keyed = scheme.decoy(10**6 + trial)
        scores_N = scores_of(keyed, [pair[:-1] for pair in pairs], [pair[-1] for pair in pairs])
        items = [
            AnswerItem(index=i, outcome="answered", ids=tuple(ids), scores=tuple(scores))
            for i, (ids, scores) in enumerate(
                zip(answers, np.split(np.array(scores_N), ends), strict=True)
            )
        ]
        for row, planned in zip(rows, plans, strict=True):
            found = marks_in_text_finding(planned, items, "null")
            coin = coin_of("text", row.who, str(trial))
            exact = randomised(keyed, found.statistic, found.n, coin)
            row.p.append(found.p if planned.sequential else exact)
    return rows


def twins_rows(trials: int, prompts: int = 12) -> list[Row]:
    """Return sets of exchangeable answers, the served one drawn like its twins.

    Answers are few and some are likelier, so that equal texts, ties and sets of equal texts are
    common; a text's score depends on the text, and is higher for likely ones. A tenth fails.
    """
    rows = []
    for twins in (1, 4, 9):
        right = Row("twins", "", f"{twins} twins")
        low = Row("wrong: prompts with a twin equal to the served one are dropped", "", f"{twins}")
        high = Row("wrong: the same, and small ranks accuse", "", f"{twins} twins")
        rng = np.random.default_rng([SEED, 3, twins])
        chance_A = np.array([0.4, 0.2, 0.1, 0.1, 0.08, 0.06, 0.04, 0.02])
        for trial in range(trials):
            drawn = rng.choice(len(chance_A), size=(prompts, twins + 1), p=chance_A)
            right.p.append(twins_p(drawn, trial, dropped=False)[0])
            p, reversed_p = twins_p(drawn, trial, dropped=True)
            low.p.append(p)
            high.p.append(reversed_p)
        rows += [right, low, high]
    return rows


def twins_p(drawn: np.ndarray, trial: int, *, dropped: bool) -> tuple[float, float]:
    """Return the randomised p of served answers (the first of each row), and of small ranks."""
    kept = [row for row in drawn.tolist() if not (dropped and row[0] in row[1:])]
    exchanges = tuple(
        ServedExchange(prompt=str(i), served=str(row[0]), twins=len(row) - 1)
        for i, row in enumerate(kept)
    )
    if not exchanges:
        return coin_of("none", str(trial)), coin_of("none", str(trial))
    planned = TwinsPlanned(
        configuration="null", exchanges=exchanges, snapshot="none", temperature=1.0
    )
    items = [
        TwinsItem(index=i, outcome="error")
        if not dropped and (i + trial) % 10 == 0
        else TwinsItem(
            index=i,
            outcome="answered",
            texts=tuple(map(str, row)),
            suspect_logp=tuple(-float(text // 2) for text in row),
        )
        for i, row in enumerate(kept)
    ]
    ranked = ranked_prompts(planned, items, str(trial))
    law, coin = law_of(tuple(one.twins for one in ranked)), coin_of("twins", str(trial))
    total = sum(one.rank for one in ranked)
    small = float(law.randomised_p(law.most - total, coin))
    return float(law.randomised_p(total, coin)), small


@lru_cache
def law_of(others: tuple[int, ...]) -> RankSumLaw:
    return RankSumLaw(others)


def nano_rows(trials: int) -> list[Row]:
    """Return a network as teacher and as reader of what it marked; see `nano_null.py`."""
    from nano_null import nano_p_values

    rows = []
    for scheme in SCHEMES:
        row = Row("watermark-reading", scheme.name, "unmarked teacher, a network")
        row.p = nano_p_values(scheme, trials, SEED, read)
        rows.append(row)
    return rows


def results_of(rows: Sequence[Row]) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Return claims and rows: KS after Holm, and every level against its interval."""
    sound = [row for row in rows if not row.test.startswith("wrong")]
    tested = [row for row in sound if not row.conservative]
    adjusted = holm([float(kstest(row.p, "uniform").pvalue) for row in tested])
    by_row = dict(zip(map(id, tested), adjusted, strict=True))
    confidence = 1 - (1 - CONFIDENCE) / (len(sound) * len(LEVELS))
    facts = [row.facts(by_row.get(id(row)), confidence) for row in rows]
    wrong = {
        "seen_windows_fpr_at_0.01": share(rows, "wrong: windows seen"),
        "twins_dropped_reversed_fpr_at_0.01": share(rows, "wrong: the same"),
    }
    inside = all(
        level["inside"]
        for row in facts
        if not row["test"].startswith("wrong")
        for level in row["levels"]
    )
    values = {"ks_p_min": min(adjusted), "levels_inside": inside, **wrong}
    trials = min(len(row.p) for row in sound)
    return {name: {"value": v, "unit": "", "runs": trials} for name, v in values.items()}, facts


def share(rows: Sequence[Row], test: str) -> float:
    """Return the largest share of p-values of 0.01 and below, over rows of a test."""
    found = [float(np.mean(np.array(row.p) <= 0.01)) for row in rows if row.test.startswith(test)]
    return max(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a twentieth of the trials, no file")
    parser.add_argument("--nano", action="store_true", help="also with a network")
    asked = parser.parse_args()
    with_model, without = (100, 1_000) if asked.quick else (2_000, 20_000)
    rows = [row for scheme in SCHEMES for row in reading_rows(scheme, with_model)]
    rows += [row for scheme in SCHEMES for row in text_rows(scheme, without)]
    rows += twins_rows(without)
    if asked.nano:
        rows += nano_rows(with_model)
    claims, facts = results_of(rows)
    for row in facts:
        rates = [f"{rate['share']:.4f}" for rate in row["levels"]]
        print(row["test"], row["scheme"], row["who"], row["adjusted_ks_p"], *rates)
    for name, claim in claims.items():
        print(f"{name}: {claim['value']:.4g}")
    if not asked.quick:
        about = {"seed": SEED, "entropy": Bigram.drawn(1).entropy}
        write_results("trace_null", claims, [about, *facts], torch.float64)


if __name__ == "__main__":
    main()
