"""Fields that change what a server draws are known by name, wherever they stand."""

from __future__ import annotations

from typing import Any

import pytest

from potstill.errors import PotstillError
from potstill.recipe.drawing import OF_ANSWERS, what_changes_draws
from potstill.recipe.io import parse_recipe

# A value that changes something, for every kind of field.
CHANGING: dict[str, Any] = {
    "temperature": 0.7,
    "top_p": 0.95,
    "top_k": 20,
    "min_p": 0.05,
    "top_a": 0.1,
    "typical_p": 0.9,
    "tfs_z": 0.9,
    "top_n_sigma": 1.0,
    "epsilon_cutoff": 1e-4,
    "mirostat": 2,
    "mirostat_tau": 5.0,
    "dynatemp_range": 0.5,
    "dynatemp_exponent": 1.5,
    "dry_multiplier": 0.8,
    "dry_sequence_breakers": ["\n"],
    "xtc_probability": 0.5,
    "xtc_threshold": 0.1,
    "smoothing_factor": 0.2,
    "adaptive_target": 0.5,
    "samplers": ["top_k"],
    "sampler_order": [6, 0],
    "frequency_penalty": 0.1,
    "presence_penalty": -0.1,
    "repetition_penalty": 1.1,
    "repeat_penalty": 1.1,
    "no_repeat_ngram_size": 3,
    "logit_bias": {"5": -100},
    "bad_words": ["no"],
    "allowed_token_ids": [1, 2],
    "banned_strings": ["no"],
    "custom_logit_processor": "x",
    "vllm_xargs": {"a": 1},
    "ignore_eos": True,
    "min_tokens": 5,
    "use_beam_search": True,
    "do_sample": False,
    "watermark": True,
    "grammar": 'root ::= "a"',
    "json_schema": {"type": "object"},
    "guided_json": {"type": "object"},
    "guided_regex": "a+",
    "guided_choice": ["a", "b"],
    "structured_outputs": {"choice": ["a"]},
    "regex": "a+",
    "ebnf": 'root ::= "a"',
    "structural_tag": "{}",
    "format": "json",
    "response_format": {"type": "json_object"},
    "tool_choice": "required",
    "tools": [{"type": "function"}],
    "thinking_token_budget": 100,
    "seed": 7,
    "best_of": 3,
    "num_beams": 4,
    "stop": ["\n"],
    "stop_token_ids": [5],
    "stop_regex": "a",
    "max_tokens": 7,
    "max_completion_tokens": 7,
    "n_predict": 7,
    "truncate_prompt_tokens": 100,
    "models": ["another/model"],
    "continue_final_message": True,
    "add_generation_prompt": False,
    "logprobs": False,
    "top_logprobs": 3,
    "post_sampling_probs": True,
    "options": {"temperature": 0.5},
    "sampling_params": {"a": {}, "seed": 1},
    "extra_body": {"options": {"num_predict": 7}},
}
HARMLESS: list[dict[str, Any]] = [
    {},
    {"chat_template_kwargs": {"enable_thinking": False}, "cache_prompt": True, "priority": 3},
    {"return_tokens_as_token_ids": True, "user": "u", "metadata": {"seed": 1}, "store": False},
    {"temperature": 1, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "logprobs": True},
    {"top_k": None, "min_p": None, "seed": None, "stop": None},
    {"max_tokens": None, "max_completion_tokens": 64},
    {"max_tokens": 64},
    {"stop": [], "logit_bias": {}, "response_format": {"type": "text"}, "tool_choice": "auto"},
    {"options": {"temperature": 1.0, "num_ctx": 4096}},
    {"repeat_penalty": 1.0, "mirostat": 0, "do_sample": True, "ignore_eos": False},
]


@pytest.mark.parametrize("name", CHANGING)
def test_what_changes_a_draw_is_named(name: str) -> None:
    found = what_changes_draws({"user": "u", name: CHANGING[name]}, 64, given=False)
    assert found is not None and found.partition(".")[0] == name


@pytest.mark.parametrize("extra", HARMLESS)
def test_what_changes_nothing_passes(extra: dict[str, Any]) -> None:
    assert what_changes_draws(extra, 64, given=False) is None


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        ({"temperature": None}, "temperature"),  # the server's own default would stand
        ({"top_p": None}, "top_p"),
        ({"logprobs": None}, "logprobs"),
        ({"max_tokens": None}, "max_tokens"),
        ({"temperature": True}, "temperature"),
        ({"mirostat": False}, "mirostat"),
        ({"options": {"mirostat": 1}}, "options.mirostat"),
        ({"max_tokens": None, "max_completion_tokens": 65}, "max_completion_tokens"),
    ],
)
def test_nothing_and_truth_are_values_too(extra: dict[str, Any], name: str) -> None:
    assert what_changes_draws(extra, 64, given=False) == name


@pytest.mark.parametrize("name", CHANGING)
def test_where_given_text_is_read_what_is_not_sent_is_passed_over(name: str) -> None:
    found = what_changes_draws({name: CHANGING[name]}, 64, given=True)
    assert (found is None) == (name in OF_ANSWERS)


RECIPE = """name: mine
teacher:
  model: m
  endpoint:
    url: http://127.0.0.1:8000/v1
    provider: local
    top_logprobs: 8
    extra: {EXTRA}
collect:
  targets: top-k
student:
  model: s
"""


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        ("{guided_json: {type: object}}", "guided_json"),
        ("{stop: ['###']}", "stop"),
        ("{options: {seed: 3}}", "options.seed"),
        ("{dry_multiplier: 0.8}", "dry_multiplier"),
    ],
)
def test_a_recipe_is_refused_before_anything_is_asked(extra: str, name: str) -> None:
    with pytest.raises(PotstillError) as caught:
        parse_recipe(RECIPE.replace("EXTRA", extra[1:-1]), "r.yaml")
    assert f"{name} in teacher.endpoint.extra and collect.targets top-k" in str(caught.value)
    text = ["collect.targets=none", "teacher.endpoint.top_logprobs=0", "train.cross_entropy=1"]
    assert parse_recipe(RECIPE.replace("EXTRA", extra[1:-1]), "r.yaml", text)
