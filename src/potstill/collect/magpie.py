"""Prompts that the teacher writes itself (Magpie, Xu et al. 2024, arXiv 2406.08464).

An aligned model that is given only the part of its chat template before a user's message goes
on with such a message.
"""

from __future__ import annotations

import re

from potstill.errors import PotstillError
from potstill.models.chat import response_text
from potstill.models.generate import Request, completions
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling
from potstill.progress import Progress
from potstill.recipe import MagpieConfig
from potstill.terms.gate import TermsDecision

# How many messages are drawn at most for each one that is wanted.
_PATIENCE = 5
_WORD = re.compile(r"[A-Za-z\u00c0-\u024f\u0370-\u1fff\u3040-\uffdc]+")


def written_prompts(
    teacher: LoadedModel,
    config: MagpieConfig,
    decision: TermsDecision,
    *,
    seed: int,
    slots: int,
    system: str | None,
    progress: Progress,
) -> list[str]:
    """Return `config.count` different user messages that the teacher wrote.

    The n-th draw depends on `seed` and n alone. Raises PotstillError where the teacher has no
    chat template, or writes too few usable messages.
    """
    decision.require(asks=True)
    start = tuple(teacher.conversation.opening_ids(system))
    sampling = Sampling(
        temperature=config.temperature,
        top_p=config.top_p,
        max_tokens=config.max_tokens,
        seed=seed,
    )
    found: dict[str, None] = {}
    drawn = 0
    with progress.step("prompts", total=config.count, unit="prompts") as step:
        while len(found) < config.count and drawn < _PATIENCE * config.count:
            size = max(slots, min(config.count - len(found), 8 * slots))
            requests = [Request(f"magpie/{seed}/{drawn + i}", start) for i in range(size)]
            drawn += size
            before = len(found)
            # In the order of drawing, whichever finished first.
            for completion in completions(teacher, requests, sampling, slots=slots):
                text = response_text(teacher, completion.token_ids).strip()
                if completion.finish_reason == "stop" and usable(text):
                    found.setdefault(text)
            step.advance(len(found) - before)
    if len(found) < config.count:
        raise PotstillError(
            f"the teacher wrote {len(found)} usable prompts in {drawn} attempts, "
            f"{config.count} were asked for; lower prompts.magpie.count"
        )
    return list(found)[: config.count]


def usable(text: str) -> bool:
    """Return whether a text reads like a message: a few words, no chat markup, no repetition."""
    words = _WORD.findall(text.lower())
    if len(words) < 3 or "<|" in text or "\ufffd" in text:
        return False
    return len(set(words)) >= 0.5 * len(words)
