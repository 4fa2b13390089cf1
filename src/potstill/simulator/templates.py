"""Template families: what all requests of one template have in common, beside their words.

A family is one template in every language. It has a key from which its wording follows, and the
settings that a client hard-codes: model, temperature, limits. Lengths follow ServeGen's clients.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from potstill.simulator.covers import COVERS, GRAMMARS, MODELS, TOOLS, USES, Cover
from potstill.simulator.fit import clients
from potstill.simulator.hashing import Keys
from potstill.simulator.spec import INTENTS

Rng = np.random.Generator
TEMPERATURES = (np.nan, 0.0, 0.2, 0.7, 1.0)
LIMITS = (-1, 256, 512, 1_024, 4_096)
# Log-lengths that the wish for reasoning, grades or length adds to an answer.
_LONGER = {"plain": 0.0, "reasoning": 0.7, "rubric": 0.2, "long": 1.2}


@dataclass(frozen=True)
class Families:
    """One row a family, all arrays of one length."""

    grammar: NDArray[np.int8]
    intent: NDArray[np.int8]
    wording: Keys
    system: Keys
    """Key of the system prompt's wording; 0 where there is none."""
    loose: NDArray[np.float32]
    """Chance that a phrase is worded anew in a request; 1 is free chat."""
    model: NDArray[np.int8]
    temperature: NDArray[np.float64]
    limit: NDArray[np.int32]
    """max_tokens; -1 where it is not set."""
    stream: NDArray[np.bool_]
    product: NDArray[np.int8]
    tools: NDArray[np.int8]
    """Place in TOOLS; -1 for none."""
    turns: NDArray[np.float32]
    """Chance of an earlier exchange in the messages."""
    input_mu: NDArray[np.float32]
    input_sigma: NDArray[np.float32]
    output_mu: NDArray[np.float32]
    output_sigma: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.grammar)


def joined(parts: list[Families]) -> Families:
    """Return all parts as one, in order."""
    return Families(
        **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Families)}
    )


def _weighted(rng: Rng, weights: tuple[float, ...], count: int) -> NDArray[np.int64]:
    share = np.array(weights, dtype=np.float64)
    return rng.choice(len(share), size=count, p=share / share.sum())


def families(
    rng: Rng, cover: Cover, count: int, intent: str, loose: float, public: Keys
) -> Families:
    """Draw templates of a kind; a system prompt of its own or one of the `public` ones."""
    grammar = np.full(count, GRAMMARS.index(cover.grammar), dtype=np.int8)
    return _drawn(rng, cover, grammar, np.full(count, INTENTS.index(intent)), loose, public)


def ordinary(rng: Rng, cover: Cover, count: int) -> Families:
    """Draw templates of ordinary use: much free chat, and every other grammar."""
    grammar = _weighted(rng, USES, count).astype(np.int8)
    intent = _weighted(rng, (0.7, 0.1, 0.05, 0.15), count)
    drawn = _drawn(rng, cover, grammar, intent, 0.0, np.zeros(0, dtype=np.uint64))
    drawn.loose[grammar == 0] = 1.0
    talks = (grammar == 0) & (rng.random(count) < 0.7)
    writes_code = np.isin(grammar, [GRAMMARS.index(name) for name in ("code", "agent", "ci")])
    drawn.product[:] = np.select([talks, writes_code], [1, 3], 0)
    return drawn


def _drawn(
    rng: Rng, cover: Cover, grammar: NDArray[np.int8], intent: NDArray[np.int64], loose: float,
    public: Keys,
) -> Families:  # fmt: skip
    count = len(grammar)
    languages, thinkers = clients(rng, count), clients(rng, count, "reason")
    model = _weighted(rng, cover.models, count).astype(np.int8)
    # Large models write as ServeGen's reasoning model does.
    large = model == MODELS.index("still-large")
    lengths = {
        name: np.where(large, thinkers[name], languages[name]).astype(np.float32)
        for name in ("input_mu", "input_sigma", "output_mu", "output_sigma")
    }
    lengths["output_mu"] += np.array([_LONGER[i] for i in INTENTS], dtype=np.float32)[intent]
    own = rng.integers(1, 2**63, size=count).astype(np.uint64)
    if len(public):
        # A few public prompts are used by most.
        taken = np.minimum(rng.geometric(0.35, size=count) - 1, len(public) - 1)
        own = public[taken]
    tools = np.where(
        rng.random(count) < cover.tools, rng.integers(0, len(TOOLS), size=count), -1
    ).astype(np.int8)
    if len(public):
        # Who takes a public harness takes its tools.
        tools = np.where(tools >= 0, own % np.uint64(len(TOOLS)), tools).astype(np.int8)
    return Families(
        grammar=grammar,
        intent=intent.astype(np.int8),
        wording=rng.integers(1, 2**63, size=count).astype(np.uint64),
        system=np.where(rng.random(count) < cover.system, own, np.uint64(0)),
        loose=np.full(count, loose, dtype=np.float32),
        model=model,
        temperature=np.array(TEMPERATURES)[_weighted(rng, (4, 2, 1, 3, 1), count)],
        limit=np.array(LIMITS, dtype=np.int32)[_weighted(rng, (4, 1, 2, 3, 2), count)],
        stream=rng.random(count) < 0.4,
        product=np.full(count, cover.product, dtype=np.int8),
        tools=tools,
        turns=np.where(rng.random(count) < 0.6, cover.turns, 0.0).astype(np.float32),
        **lengths,
    )


def public_systems(rng: Rng, count: int = 12) -> dict[str, Keys]:
    """Return the keys of a world's public system prompts, for the covers that use such."""
    return {
        name: rng.integers(1, 2**63, size=count).astype(np.uint64)
        for name, cover in COVERS.items()
        if name in ("coding_harness", "evaluation_suite", "hackathon")
    }
