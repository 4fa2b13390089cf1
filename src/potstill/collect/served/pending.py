"""What a served teacher has still to be asked, and what asking it would take."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from potstill.endpoint.budget import (
    Prices,
    Tokens,
    likely_prompt_tokens,
    most_prompt_tokens,
)
from potstill.endpoint.identity import endpoint_identity
from potstill.exchanges.exchange import Exchange, Prompt, exchange_id_of
from potstill.models.conversation import Conversation
from potstill.models.sampling import Sampling
from potstill.recipe import EndpointConfig
from potstill.text.tool_calls import message_text
from potstill.text.turns import Turns


@dataclass(frozen=True)
class Wanted:
    """One prompt and those of its samples that are not stored: (index, exchange id)."""

    prompt: Prompt
    samples: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class AskingEstimate:
    """What asking would take, before anything is asked.

    Prompt tokens are counted by their ids where they are known, else about one for four
    characters. Responses are counted at their longest: `money` is None without prices.
    """

    prompts: int
    responses: int
    prompt_tokens: int
    most_response_tokens: int
    money: float | None


def sampling_key(sampling: Sampling, config: EndpointConfig) -> dict[str, Any]:
    """Return the settings that enter an exchange's identity: `extra` is among them."""
    return {**sampling.key(), **({"extra": config.extra} if config.extra else {})}


def identity_of_teacher(config: EndpointConfig, model: str) -> str:
    """Return the identity that exchanges of this served model are stored under."""
    return endpoint_identity(config.provider, model, config.revision)


def wanted_of(
    config: EndpointConfig,
    model: str,
    prompts: Iterable[Prompt],
    sampling: Sampling,
    *,
    samples: int = 1,
    stored: Collection[str] = (),
) -> list[Wanted]:
    """Return the prompts that have a sample missing, in an order that only their ids decide."""
    identity, key = identity_of_teacher(config, model), sampling_key(sampling, config)
    found: dict[str, Wanted] = {}
    for prompt in prompts:
        tools = prompt.tool_list
        ids = [
            (i, exchange_id_of(identity, prompt.messages, key, i, tools=tools))
            for i in range(samples)
        ]
        missing = tuple(pair for pair in ids if pair[1] not in stored)
        if missing:
            found.setdefault(prompt.prompt_id, Wanted(prompt, missing))
    return sorted(found.values(), key=lambda wanted: wanted.prompt.prompt_id)


def seed_of(exchange_id: str) -> int:
    """Return the seed of a request, in 31 bits, from the id of the first exchange it is for.

    A request for the samples that an earlier one did not bring gets another seed.
    """
    return int.from_bytes(blake3(exchange_id.encode()).digest(length=4), "little") >> 1


def estimate(
    config: EndpointConfig,
    model: str,
    prompts: Iterable[Prompt],
    sampling: Sampling,
    *,
    samples: int = 1,
    stored: Collection[str] = (),
    conversation: Conversation | None = None,
) -> AskingEstimate:
    """Return what is left to ask and what it costs at most; nothing is asked."""
    wanted = wanted_of(config, model, prompts, sampling, samples=samples, stored=stored)
    responses = sum(len(w.samples) for w in wanted)
    tokens = Tokens(
        sum(_prompt_tokens(w.prompt, conversation) for w in wanted),
        responses * sampling.max_tokens,
    )
    return _estimate(config, len(wanted), tokens, responses)


def reading_estimate(
    config: EndpointConfig, texts: Iterable[tuple[Turns, str | int]], done: int = 0
) -> AskingEstimate:
    """Return what having a server read (what was asked, answer) takes, but for `done` of them.

    Tokens are counted at one for four characters; an answer that is not there yet is given by its
    length in tokens. Those left are taken to be the longest.
    """
    lengths = sorted(
        likely_prompt_tokens([*map(message_text, turns.messages), turns.tools or ""])
        + (answer if isinstance(answer, int) else likely_prompt_tokens([answer]))
        for turns, answer in texts
    )[done:]
    return _estimate(config, len(lengths), Tokens(sum(lengths), len(lengths)))


def _estimate(
    config: EndpointConfig, prompts: int, tokens: Tokens, responses: int | None = None
) -> AskingEstimate:
    return AskingEstimate(
        prompts=prompts,
        responses=prompts if responses is None else responses,
        prompt_tokens=tokens.prompt,
        most_response_tokens=tokens.response,
        money=Prices(config.price_in, config.price_out).of(tokens),
    )


def spent_on(rows: Iterable[Exchange]) -> Tokens:
    """Return the tokens that stored exchanges were charged with; at most, where it was not said."""
    prompt = response = 0
    for row in rows:
        most = most_prompt_tokens(row.messages, row.tool_list)
        prompt += row.usage.get("prompt_tokens", most)
        written = len(row.answer.encode()) + len((row.reasoning or "").encode()) + 1
        response += row.usage.get("completion_tokens", written)
    return Tokens(prompt, response)


def _prompt_tokens(prompt: Prompt, conversation: Conversation | None) -> int:
    if conversation is None:
        return likely_prompt_tokens([*map(message_text, prompt.messages), prompt.tools or ""])
    return len(conversation.prompt_ids(prompt.messages, prompt.tool_list))
