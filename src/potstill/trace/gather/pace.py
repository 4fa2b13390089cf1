"""How fast a model reads and writes here: what a plan's minutes are computed from."""

from __future__ import annotations

import time
from collections.abc import Sequence

from potstill.models.generate import Request
from potstill.models.likelihood import likelihood_of
from potstill.models.sampling import Sampling
from potstill.trace.gather.local import LocalModel, answered
from potstill.trace.power import Pace

# Long enough that starting up does not count for much.
_WRITTEN = 32


def measured_pace(local: LocalModel, prompts: Sequence[Sequence[int]]) -> Pace:
    """Return tokens a second that a model reads and writes, measured on a wave of prompts.

    One wave is answered and then read; prompts that are too few for one make it slower than it
    would be. Raises ValueError where there is no prompt.
    """
    if not prompts:
        raise ValueError("a pace is measured on one prompt at least")
    asked = [tuple(ids) for ids in prompts[: local.slots]]
    requests = [Request(f"pace {i}", ids) for i, ids in enumerate(asked)]
    begun = time.perf_counter()
    done = answered(local, requests, Sampling(max_tokens=_WRITTEN))
    between = time.perf_counter()
    texts = [(ids, one.token_ids) for ids, one in zip(asked, done, strict=True)]
    likelihood_of(local.model, texts)
    ended = time.perf_counter()
    written = sum(len(answer) for _, answer in texts)
    read = sum(len(prompt) + len(answer) for prompt, answer in texts)
    return Pace(read=read / (ended - between), written=written / (between - begun))
