"""textseal's scoring of a green list, on token ids: its detector, and the batch of its training.

Both leave out a pair of window and token that was seen before in any text (its `v2`), as potstill
does; the batch can also score every pair, seen or not, which gives no p-value that holds.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

KEY = 42
# Those of `contenders` that leave out what was seen before.
DEDUPLICATED = ("detector", "batch")
Texts = Sequence[np.ndarray]


def contenders(window: int, gamma: float, delta: float) -> dict[str, Callable[[Texts], Any]]:
    """Return what scores a list of texts, by name; each call begins with nothing seen."""
    config = _part("common.watermark.core").WatermarkConfig
    arguments = {"secret_key": KEY, "ngram": window, "gamma": gamma, "delta": delta}

    def settings(method: str) -> Any:
        return config(
            watermark_type="greenlist", method="binary", scoring_method=method, **arguments
        )

    return {
        "detector": lambda texts: detector(texts, settings("v2")),
        "batch": lambda texts: batch(texts, settings("v2")),
        "batch, repeats counted": lambda texts: batch(texts, settings("none")),
    }


def detector(texts: Texts, settings: Any) -> float:
    """Return the p that `GreenlistDetector` has for texts, given to it as lists of ids."""
    found = _part("posthoc.detector").GreenlistDetector(_Ids(), settings)
    given = [text.tolist() for text in texts]
    scores = found.get_scores_by_t(given, settings.scoring_method, seen_windows=set())
    total, count = sum(map(sum, scores)), sum(map(len, scores))
    return float(found.get_pvalue(total, count, 1e-200))


def batch(texts: Texts, settings: Any) -> int:
    """Return how many pairs `score_batch` scored of texts, all in one call as one row."""
    k = settings.ngram
    tokens_N = torch.from_numpy(np.concatenate([text[k:] for text in texts]).astype(np.int64))
    windows = [np.stack([text[j : len(text) - k + j] for j in range(k)], 1) for text in texts]
    windows_NK = torch.from_numpy(np.concatenate(windows).astype(np.int64))
    scored, _ = _part("common.watermark.core").score_batch(
        windows_NK, tokens_N, settings, seen_windows=set()
    )
    return len(scored)


class _Ids:
    """A tokenizer whose texts are ids already."""

    vocab_size = 0

    def encode(self, text: list[int], **_: object) -> list[int]:
        return text


def _part(name: str) -> ModuleType:
    """Return a module of textseal."""
    _enter()
    return importlib.import_module(f"textseal.{name}")


@cache
def _enter() -> None:
    """Make packages that hold textseal's modules, and nothing else.

    Its own import what rewrites texts (sentence-transformers and more), which scoring does not
    use and which is not installed.
    """
    root = Path(str(distribution("textseal").locate_file("textseal")))
    for package, folder in (("textseal", root), ("textseal.posthoc", root / "posthoc")):
        entered = ModuleType(package)
        entered.__path__ = [str(folder)]
        sys.modules[package] = entered
