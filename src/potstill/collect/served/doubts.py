"""What a server's answer leaves in doubt: an end that the limit may have made, a prompt cut short.

Pure functions. Neither changes what is stored: both are counted and said.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from potstill.endpoint.wire import Answer, Choice
from potstill.models.sampling import Sampling
from potstill.recipe import EndpointConfig


def longest_response(sampling: Sampling, config: EndpointConfig) -> int | None:
    """Return how many tokens a response may have, by the request; None where it does not say."""
    limits = {"max_tokens": sampling.max_tokens} | config.extra
    known = [limits.get(name) for name in ("max_tokens", "max_completion_tokens")]
    return min((one for one in known if isinstance(one, int)), default=None)


def ends_at_limit(
    answer: Answer, choice: Choice, limit: int | None, eos_ids: Collection[int] = ()
) -> bool:
    """Tell whether an answer that is called whole is as long as one may be.

    Its length is that of its log-probabilities, which also show whether it ends itself, by one of
    `eos_ids`; else the server's figure, where there is one answer alone.
    """
    if limit is None or choice.finish != "stop":
        return False
    if choice.scores:
        return len(choice.scores) >= limit and choice.scores[-1].token_id not in eos_ids
    alone = len(answer.choices) == 1 and not answer.unusable
    return alone and answer.usage.get("completion_tokens", 0) >= limit


def tokens_not_read(answer: Answer, prompt_ids: Sequence[int] | None) -> int | None:
    """Return how many tokens fewer than a prompt has the server read, by its own count.

    None where one of the two is not known. 0 where it read as many or more.
    """
    read = answer.usage.get("prompt_tokens")
    return None if prompt_ids is None or not read else max(0, len(prompt_ids) - read)
