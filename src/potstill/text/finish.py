"""How an answer ended, in the words of every server and log that is read: one table.

The words are those of the OpenAI and Anthropic interfaces (chat, messages, responses), vLLM,
SGLang, text-generation-inference, llama.cpp, Ollama, LM Studio, Gemini, Bedrock, Cohere, Mistral,
DeepSeek and GLM.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

Finish = Literal["stop", "length"]


class Ending(StrEnum):
    """What became of an answer; each is also the word for it in counts."""

    WHOLE = "whole"  # the model ended it, or a stop sequence that was asked for did
    CALLS = "calls of tools"  # whole, if the calls are there: to be checked by who reads them
    CUT = "cut off"  # at a length, a context's end, or a pause
    REFUSED = "refused or withheld"  # by the model's provider or a filter
    FAILED = "failed"  # an error, a cancellation, a server that went away
    UNSTATED = "not stated"  # no word at all
    UNKNOWN = "not known"  # a word that this table does not have


_WORDS: dict[Ending, tuple[str, ...]] = {
    Ending.WHOLE: (
        *("stop", "eos", "eos_token", "stop_sequence", "end_turn", "word", "completed", "complete"),
        *("finish", "finished", "endoftext", "eos_found", "stop_string_found"),
    ),
    Ending.CALLS: ("tool_calls", "tool_call", "function_call", "tool_use"),
    Ending.CUT: (
        *("length", "max_tokens", "max_output_tokens", "max_completion_tokens", "max_new_tokens"),
        *("max_output", "limit", "model_length", "context_length", "model_context_window_exceeded"),
        *("context_length_reached", "max_predicted_tokens_reached", "error_limit", "incomplete"),
        *("truncated", "pause_turn", "compaction", "time_limit", "timeout"),
        *("repetition", "too_many_tool_calls"),
    ),
    Ending.REFUSED: (
        *("content_filter", "content_filtered", "guardrail_intervened", "refusal", "refused"),
        *("safety", "recitation", "blocklist", "prohibited_content", "spii", "language"),
        *("image_safety", "image_prohibited_content", "image_recitation", "model_armor"),
        *("sensitive", "error_toxic", "blocked"),
    ),
    Ending.FAILED: (
        *("error", "abort", "aborted", "failed", "cancelled", "canceled", "user_cancel"),
        *("user_stopped", "model_unloaded", "load", "unload", "network_error", "in_progress"),
        *("queued", "insufficient_system_resource", "malformed_function_call"),
        *("malformed_model_output", "malformed_tool_use", "malformed_response"),
        *("unexpected_tool_call", "missing_thought_signature", "no_image", "image_other"),
    ),
}
_BETWEEN = re.compile(r"[_\-\s]+")
# An enumeration's own name before its value: `FinishReason.STOP`, `FINISH_REASON_STOP`.
_PREFIX = re.compile(r"^(?:finishreason|stopreason)\.?(?=.)")


def ending_of(stated: object) -> Ending:
    """Return how an answer ended, from what a server or a log states of it.

    Letter case and what joins words do not count: `endTurn` is `end_turn`. An object's `type` or
    `reason` is its word. Of the Responses API give `incomplete_details` where there are any, else
    `status`.
    """
    if isinstance(stated, Mapping):
        found: Any = stated.get("type") or stated.get("reason")
        return Ending.UNKNOWN if isinstance(found, Mapping) else ending_of(found)
    if stated is None or stated == "":
        return Ending.UNSTATED
    if not isinstance(stated, str):
        return Ending.UNKNOWN
    return _BY_WORD.get(_PREFIX.sub("", _joined(stated)), Ending.UNKNOWN)


def finish_of(ending: Ending) -> Finish | None:
    """Return what a stored exchange says of its end, None where it may not be trained on.

    Only what is known to be whole is `stop`, so that its end is learnt.
    """
    if ending in (Ending.WHOLE, Ending.CALLS):
        return "stop"
    return "length" if ending is Ending.CUT else None


def _joined(word: str) -> str:
    return _BETWEEN.sub("", word.strip().lower())


_BY_WORD = {_joined(word): ending for ending, words in _WORDS.items() for word in words}
