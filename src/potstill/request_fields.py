"""Fields of a request that change what a server draws, from what, or what it tells of that.

The names are those of OpenAI, vLLM, SGLang, llama.cpp, text-generation-inference, Ollama,
TabbyAPI, KoboldCpp, Aphrodite, LMDeploy and OpenRouter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# What means nothing, or something else, where a server reads given text: it is not sent then.
OF_ANSWERS = (
    *("logprobs", "top_logprobs", "return_tokens_as_token_ids", "stop", "stop_token_ids"),
    *("max_completion_tokens", "max_tokens", "min_tokens", "ignore_eos", "best_of"),
    *("response_format", "structured_outputs", "grammar", "json_schema", "tool_choice", "tools"),
    *("reasoning_effort", "thinking_token_budget", "seed"),
)

_OFF: tuple[object, ...] = (False,)
_ZERO: tuple[object, ...] = (0,)
_ONE: tuple[object, ...] = (1,)
_NEVER: tuple[object, ...] = ()
_EMPTY: tuple[object, ...] = ({}, [], "")
# Each with the values at which it changes nothing.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    # Temperature and truncation.
    **dict.fromkeys(("temperature", "top_p", "typical_p", "typical", "tfs", "tfs_z"), _ONE),
    **dict.fromkeys(("min_p", "top_a", "epsilon_cutoff", "eta_cutoff", "skew"), _ZERO),
    **dict.fromkeys(("mirostat", "mirostat_mode", "nsigma", "min_keep"), _ZERO),
    **dict.fromkeys(("xtc_probability", "dry_multiplier", "dynatemp_range"), _ZERO),
    **dict.fromkeys(("smoothing_factor", "top_logprobs_num"), _ZERO),
    **dict.fromkeys(("dynamic_temperature", "temperature_last", "temp_last", "watermark"), _OFF),
    "top_k": (-1, 0),
    "top_n_sigma": (-1, 0),
    "adaptive_target": (-1,),
    "do_sample": (True,),
    **dict.fromkeys(("samplers", "sampler_order", "sampler_priority", "sampler_seq"), _NEVER),
    # Penalties, biases and bans.
    **dict.fromkeys(("frequency_penalty", "presence_penalty", "no_repeat_ngram_size"), _ZERO),
    **dict.fromkeys(("penalty_alpha", "repeat_last_n", "penalty_range", "n_indent"), _ZERO),
    **dict.fromkeys(("repetition_penalty", "repeat_penalty", "rep_pen", "length_penalty"), _ONE),
    **dict.fromkeys(("encoder_repetition_penalty", "guidance_scale", "cfg_scale"), _ONE),
    **dict.fromkeys(("negative_prompt", "logit_bias", "logit_bias_exp", "bad_words"), _EMPTY),
    **dict.fromkeys(("bad_words_ids", "banned_tokens", "banned_strings", "token_ban"), _EMPTY),
    **dict.fromkeys(("custom_token_bans", "suppress_tokens", "allowed_token_ids"), _EMPTY),
    **dict.fromkeys(("logits_processors", "custom_logit_processor", "custom_params"), _EMPTY),
    **dict.fromkeys(("vllm_xargs", "lora", "lora_path", "control_vectors"), _EMPTY),
    **dict.fromkeys(("ignore_eos", "ban_eos_token", "use_beam_search"), _OFF),
    **dict.fromkeys(("min_tokens", "min_new_tokens", "min_length", "t_max_predict_ms"), _ZERO),
    # Grammars.
    **dict.fromkeys(("grammar", "grammar_string", "json_schema", "regex", "regex_pattern"), _EMPTY),
    **dict.fromkeys(("ebnf", "structural_tag", "structured_outputs", "format"), _EMPTY),
    **dict.fromkeys(("tools", "functions", "prediction"), _EMPTY),
    **dict.fromkeys(("tool_choice", "function_call"), ("auto", "none")),
    "grammar_lazy": _OFF,
    "response_format": ({"type": "text"},),
    **dict.fromkeys(("thinking_token_budget", "thinking_budget_tokens"), (-1,)),
    **dict.fromkeys(("thinking_budget", "reasoning_budget"), (-1,)),
    # Which draws, how many, and where they end.
    **dict.fromkeys(("seed", "sampling_seed", "rng_seed", "random_seed", "sampler_seed"), _NEVER),
    **dict.fromkeys(("n", "best_of", "num_return_sequences", "num_beams", "beam_width"), _ONE),
    **dict.fromkeys(("stop", "stop_sequences", "stop_sequence", "stop_words"), _EMPTY),
    **dict.fromkeys(("stop_token_ids", "stop_regex", "stop_strings", "stopping_strings"), _EMPTY),
    **dict.fromkeys(("include_stop_str_in_output", "no_stop_trim"), _OFF),
    # What is read, and by which model.
    **dict.fromkeys(("truncate_prompt_tokens", "truncate", "models", "route"), _EMPTY),
    **dict.fromkeys(("fallbacks", "transforms"), _EMPTY),
    **dict.fromkeys(("continue_final_message", "echo"), _OFF),
    "add_generation_prompt": (True,),
    "truncation": ("disabled",),
    # What is told of it.
    "logprobs": (True,),
    "top_logprobs": _NEVER,
    "n_probs": _NEVER,
    "post_sampling_probs": _OFF,
}
_FAMILIES = (
    *("adaptive_", "dry_", "dynatemp", "guided_", "mirostat", "smoothing_", "temp_", "xtc_"),
    *("penalty_", "ban_", "banned_"),
)
# Neutral where they say what collect.max_tokens says.
_LENGTHS = (
    *("max_tokens", "max_completion_tokens", "max_new_tokens", "max_output_tokens", "max_length"),
    *("n_predict", "num_predict"),
)
# Taken out of a request, a server's own default stands in their place.
_NEEDED = ("temperature", "top_p", "logprobs", "top_logprobs")
_HOLDERS = ("options", "extra_body", "sampling_params", "parameters", "generation_config", "nvext")


def what_changes_draws(extra: Mapping[str, Any], max_tokens: int, *, given: bool) -> str | None:
    """Return the first field of `extra` that changes what is drawn, or what is told of it.

    `max_tokens` is the longest response by the recipe. With `given` text alone is read: what is
    not sent then is passed over.
    """
    length_stated = any(extra.get(name) is not None for name in _LENGTHS)
    for name, value in _fields(extra):
        if given and name in OF_ANSWERS:
            continue
        if name in _LENGTHS:
            harmless = value == max_tokens or (value is None and length_stated)
        elif value is None:
            harmless = name not in _NEEDED
        else:
            harmless = _is_neutral(name.rpartition(".")[2], value, max_tokens)
        if not harmless:
            return name
    return None


def _fields(extra: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield names and values, those inside a mapping of settings as `options.seed`."""
    for name, value in extra.items():
        if name in _HOLDERS and isinstance(value, Mapping):
            for inner, one in _fields(value):
                yield f"{name}.{inner}", one
        else:
            yield name, value


def _is_neutral(name: str, value: Any, max_tokens: int) -> bool:
    if name in _LENGTHS:
        return bool(value == max_tokens)
    if name in _NEUTRAL:
        return any(_same(value, harmless) for harmless in _NEUTRAL[name])
    return not name.startswith(_FAMILIES)


def _same(value: object, harmless: object) -> bool:
    """Tell whether two JSON values are equal; true is not 1."""
    return value == harmless and isinstance(value, bool) == isinstance(harmless, bool)
