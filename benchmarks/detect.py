"""How fast marks are looked for, beside textseal, and what marking adds to decoding.

Token ids lie in memory, of SmolLM2's vocabulary: ids in, p-value out, for each window and scheme,
over texts that never repeat themselves and texts that do. textseal scores the same ids. Decoding is
SmolLM2's, at temperature 1 without truncation, marked and unmarked runs in turns over the same
prompts and lengths; Gumbel's cost follows how many tokens survive. Writes
benchmarks/results/detect.json.

    python benchmarks/detect.py [--quick]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

import numpy as np
import torch
from blake3 import blake3
from common import write_results
from mark_cost import Row, cost_rows
from peers import marks_textseal

from potstill.models.precision import resolve_device, resolve_dtype
from potstill.recipe.watermark import DELTA, GAMMA, WatermarkConfig
from potstill.watermark.detect import detect
from potstill.watermark.keys import EpochKey
from potstill.watermark.null_texts import EvenText, NullText, ZipfText
from potstill.watermark.schemes import GreenList, Gumbel, Scheme

SEED = 20_261_201
VOCABULARY = 49_152
WINDOWS = (1, 2, 3, 4)
TOKENS_A_TEXT = 500
TEXTS, PEER_TEXTS, RUNS = 20_000, 400, 5
QUICK_TEXTS, QUICK_PEER_TEXTS = 400, 10
PEER_WINDOWS = (1, 4)
# A contender that takes longer than this is measured once.
LONG = 5.0
KEY = EpochKey("benchmark", blake3(b"a fixed key of benchmarks/detect.py").digest(length=32))
WINDOW = int(WatermarkConfig.model_fields["window"].default)
Texts = list[np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="small; writes nothing")
    quick = parser.parse_args().quick
    begun = {"part": "machine", "load_average_before": list(os.getloadavg())}
    rows = detection_rows(QUICK_TEXTS if quick else TEXTS)
    rows += peer_rows(QUICK_PEER_TEXTS if quick else PEER_TEXTS)
    for precision in ("fp32", "bf16"):
        green, gumbel = GreenList(KEY, WINDOW, GAMMA, DELTA), Gumbel(KEY, WINDOW)
        rows += cost_rows(precision, green, gumbel, quick=quick)
    claims = claims_of(rows)
    for name, claim in claims.items():
        print(f"{name}: {claim['value']:.4g} {claim['unit']}")
    if not quick:
        dtype = resolve_dtype("auto", resolve_device("cpu"))
        print(write_results("detect", claims, [begun, *rows], dtype, peers=True))


def texts_of(kind: NullText) -> Texts:
    """Return texts of a kind, an array of ids each."""
    drawn = kind.draw(np.random.default_rng(SEED))
    return np.split(drawn.ids_T, drawn.starts_S[1:-1])


def detection_rows(count: int) -> list[Row]:
    """Return how fast each scheme and window is looked for in `count` texts of each kind."""
    rows: list[Row] = []
    kinds = (
        ZipfText(VOCABULARY, count, TOKENS_A_TEXT),
        EvenText(VOCABULARY, count, TOKENS_A_TEXT),
    )
    for kind in kinds:
        texts = texts_of(kind)
        for window in WINDOWS:
            for scheme in (GreenList(KEY, window, GAMMA, DELTA), Gumbel(KEY, window)):
                rows.append({"part": "detection", "text": kind.name} | timed_row(scheme, texts))
                print(rows[-1], flush=True)
    return rows


def timed_row(scheme: Scheme, texts: Texts) -> Row:
    """Return how fast potstill looks for a scheme in texts."""
    found = detect(scheme, texts)
    seconds = [seconds_of(lambda: detect(scheme, texts)) for _ in range(RUNS)]
    return {
        "scheme": scheme.name,
        "parameters": scheme.parameters(),
        "tokens": found.tokens,
        "scored": found.scored,
        "p": found.p,
        "tokens_per_s": found.tokens / median(seconds),
        "seconds": seconds,
    }


def peer_rows(count: int) -> list[Row]:
    """Return how fast textseal scores a green list in `count` texts, beside potstill."""
    texts = texts_of(ZipfText(VOCABULARY, count, TOKENS_A_TEXT))
    rows: list[Row] = []
    for window in PEER_WINDOWS:
        ours = timed_row(GreenList(KEY, window, GAMMA, DELTA), texts)
        rows.append({"part": "peer", "contender": "potstill"} | ours)
        for name, score in marks_textseal.contenders(window, GAMMA, DELTA).items():
            # The detector asks torch for each token alone: a tenth of the texts shows its rate.
            given = texts[: count // 10] if name == "detector" else texts
            seconds = _repeated(lambda score=score, given=given: score(given))
            tokens = sum(map(len, given))
            facts = {"contender": f"textseal {name}", "parameters": ours["parameters"]}
            rate = {"tokens": tokens, "tokens_per_s": tokens / median(seconds)}
            rows.append({"part": "peer"} | facts | rate | {"seconds": seconds})
    for row in rows:
        print(row, flush=True)
    return rows


def _repeated(call: Callable[[], Any]) -> list[float]:
    seconds = [seconds_of(call)]
    if seconds[0] < LONG:
        seconds = [seconds_of(call) for _ in range(RUNS)]
    return seconds


def seconds_of(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def claims_of(rows: Sequence[Row]) -> dict[str, Row]:
    """Return the figures that the README and the methods page read: each the worst of its rows."""
    speed = [row for row in rows if row["part"] == "detection"]
    decoding = [row for row in rows if row["part"] == "decoding"]
    most = max(row["surviving"] for row in decoding if row["scheme"] == "gumbel")

    def slowest(scheme: str) -> float:
        return min(row["tokens_per_s"] for row in speed if row["scheme"] == scheme)

    def cost(streams: int, scheme: str = "green") -> float | None:
        found = (row for row in decoding if row["scheme"] == scheme and row["streams"] == streams)
        costs = [row["cost"] for row in found if row.get("surviving", most) == most]
        return max(costs, default=None)

    named = {
        "tokens_per_s": (slowest("green"), "tokens/s"),
        "tokens_per_s_gumbel": (slowest("gumbel"), "tokens/s"),
        "vs_textseal": (vs_textseal(rows), "ratio"),
        "decode_cost_1_stream": (cost(1), "share"),
        "decode_cost_8_streams": (cost(8), "share"),
        "decode_cost_64_streams": (cost(64), "share"),
        "decode_cost_8_streams_gumbel": (cost(8, "gumbel"), "share"),
    }
    return {
        name: {"value": value, "unit": unit, "runs": RUNS}
        for name, (value, unit) in named.items()
        if value is not None
    }


def vs_textseal(rows: Iterable[Row]) -> float:
    """Return by how much potstill is faster, where that is least.

    Compared is the fastest of textseal's ways that, like potstill, scores a repeated pair once.
    """
    found = [row for row in rows if row["part"] == "peer"]
    ratios = []
    for window in PEER_WINDOWS:
        rate = {
            row["contender"]: row["tokens_per_s"]
            for row in found
            if row["parameters"]["window"] == window
        }
        theirs = max(rate[f"textseal {name}"] for name in marks_textseal.DEDUPLICATED)
        ratios.append(rate["potstill"] / theirs)
    return min(ratios)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
