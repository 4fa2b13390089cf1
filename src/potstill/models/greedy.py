"""A model's greedy answers, as text or as ids."""

from __future__ import annotations

import json
from collections.abc import Sequence

from potstill.models.chat import reply_of
from potstill.models.generate import Request, completions
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling
from potstill.progress import Step
from potstill.text.tool_calls import with_calls


def greedy_texts(
    model: LoadedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    step: Step | None = None,
) -> list[str]:
    """Return the model's greedy answer to each prompt (ids of its own tokenizer), calls as JSON.

    `step` moves on by one for each response.
    """
    found = greedy_ids(model, prompts, max_tokens=max_tokens, step=step)
    replies = [reply_of(model, ids) for ids in found]
    return [
        with_calls(reply.text, json.loads(reply.tool_calls)) if reply.tool_calls else reply.text
        for reply in replies
    ]


def greedy_ids(
    model: LoadedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    step: Step | None = None,
) -> list[tuple[int, ...]]:
    """Return the ids of the model's greedy response to each prompt, its end included.

    `step` moves on by one for each response.
    """
    requests = [Request(str(i), tuple(ids)) for i, ids in enumerate(prompts)]
    sampling = Sampling(temperature=0.0, max_tokens=max_tokens)
    done = completions(model, requests, sampling, step=step)
    return [completion.token_ids for completion in done]
