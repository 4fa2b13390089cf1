"""Which training prompts equal or nearly equal a held-out one, under a recipe's template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from potstill.exchanges.overlap import METHOD, OverlapReport, overlap, prompt_text
from potstill.logs.template import without_template
from potstill.text.turns import Message


def shared_prompts(
    train: Sequence[Sequence[Message]],
    held_out: Sequence[Sequence[Message]],
    template: str | None,
) -> OverlapReport:
    """Return which training prompts equal or nearly equal a held-out one.

    The words of the recipe's `template` are in all of them, and so are left out.
    """
    bare = without_template(template)
    train_texts, held_out_texts = (
        [bare(prompt_text(messages)) for messages in some] for some in (train, held_out)
    )
    found = overlap(train_texts, held_out_texts)
    method = METHOD if template is None else f"{METHOD}, the words of the recipe's template too"
    return replace(found, method=method)
