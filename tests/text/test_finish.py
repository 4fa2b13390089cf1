"""How an answer ended: every server's words, and the words of none."""

from __future__ import annotations

import pytest

from potstill.text.finish import _WORDS, Ending, ending_of, finish_of

# Server, its word, what it means there.
STATED = [
    ("openai", "stop", Ending.WHOLE),
    ("openai", "length", Ending.CUT),
    ("openai", "tool_calls", Ending.CALLS),
    ("openai", "function_call", Ending.CALLS),
    ("openai", "content_filter", Ending.REFUSED),
    ("responses", "completed", Ending.WHOLE),
    ("responses", "incomplete", Ending.CUT),
    ("responses", {"reason": "max_output_tokens"}, Ending.CUT),
    ("responses", {"reason": "content_filter"}, Ending.REFUSED),
    ("responses", "failed", Ending.FAILED),
    ("responses", "cancelled", Ending.FAILED),
    ("responses", "in_progress", Ending.FAILED),
    ("vllm", "abort", Ending.FAILED),
    ("vllm", "error", Ending.FAILED),
    ("vllm", "repetition", Ending.CUT),
    ("sglang", {"type": "stop", "matched": 2}, Ending.WHOLE),
    ("sglang", {"type": "length", "length": 16}, Ending.CUT),
    ("sglang", {"type": "abort", "message": "gone"}, Ending.FAILED),
    ("tgi", "eos_token", Ending.WHOLE),
    ("tgi", "stop_sequence", Ending.WHOLE),
    ("llama.cpp", "eos", Ending.WHOLE),
    ("llama.cpp", "word", Ending.WHOLE),
    ("llama.cpp", "limit", Ending.CUT),
    ("llama.cpp", "none", Ending.UNKNOWN),
    ("anthropic", "end_turn", Ending.WHOLE),
    ("anthropic", "max_tokens", Ending.CUT),
    ("anthropic", "tool_use", Ending.CALLS),
    ("anthropic", "refusal", Ending.REFUSED),
    ("anthropic", "pause_turn", Ending.CUT),
    ("anthropic", "model_context_window_exceeded", Ending.CUT),
    ("gemini", "STOP", Ending.WHOLE),
    ("gemini", "FinishReason.MAX_TOKENS", Ending.CUT),
    ("gemini", "SAFETY", Ending.REFUSED),
    ("gemini", "RECITATION", Ending.REFUSED),
    ("gemini", "MALFORMED_FUNCTION_CALL", Ending.FAILED),
    ("gemini", "FINISH_REASON_UNSPECIFIED", Ending.UNKNOWN),
    ("gemini", "OTHER", Ending.UNKNOWN),
    ("ollama", "load", Ending.FAILED),
    ("lm studio", "eosFound", Ending.WHOLE),
    ("lm studio", "maxPredictedTokensReached", Ending.CUT),
    ("cohere", "COMPLETE", Ending.WHOLE),
    ("cohere", "ERROR_TOXIC", Ending.REFUSED),
    ("mistral", "model_length", Ending.CUT),
    ("deepseek", "insufficient_system_resource", Ending.FAILED),
    ("bedrock", "guardrail_intervened", Ending.REFUSED),
    ("a client library", "tool-calls", Ending.CALLS),
    ("a client library", "endTurn", Ending.WHOLE),
]


@pytest.mark.parametrize(("server", "stated", "meant"), STATED)
def test_what_a_server_states_is_read(server: str, stated: object, meant: Ending) -> None:
    assert ending_of(stated) is meant


@pytest.mark.parametrize("nothing", [None, "", {}, {"type": None}])
def test_no_word_is_not_stated(nothing: object) -> None:
    assert ending_of(nothing) is Ending.UNSTATED


@pytest.mark.parametrize(
    "odd", ["stopped?", "unstop", "nonstop", " ", "\x1b[31mstop", 1, True, ["stop"], {"type": {}}]
)
def test_no_word_of_the_table_is_not_known(odd: object) -> None:
    assert ending_of(odd) in (Ending.UNKNOWN, Ending.UNSTATED)
    assert finish_of(ending_of(odd)) is None


def test_only_what_is_known_to_be_whole_is_trained_as_whole() -> None:
    whole = {ending for ending in Ending if finish_of(ending) == "stop"}
    assert whole == {Ending.WHOLE, Ending.CALLS}
    assert [ending for ending in Ending if finish_of(ending) == "length"] == [Ending.CUT]


def test_no_word_stands_twice() -> None:
    words = [word.replace("_", "") for words in _WORDS.values() for word in words]
    assert len(words) == len(set(words))
