"""What a recipe states reaches those who know no recipe, whole and under its own names."""

from __future__ import annotations

from dataclasses import fields

from potstill.endpoint.settings import ServerSettings
from potstill.recipe import EndpointConfig, StudentConfig, TermsConfig
from potstill.work.stated import permission, server_settings


def test_every_field_of_the_recipe_reaches_the_client() -> None:
    stated = {
        "url": "http://127.0.0.1:8000/v1",
        "provider": "vllm",
        "revision": "r1",
        "key_env": "THE_KEY",
        "max_in_flight": 7,
        "timeout_s": 11.0,
        "tries": 3,
        "price_in": 1.0,
        "price_out": 2.0,
        "budget": 5.0,
        "budget_tokens": 900,
        "top_logprobs": 4,
        "scores_text": True,
        "extra": {"min_p": 0.1},
    }
    # How many requests are permitted is for plans alone.
    assert stated.keys() == EndpointConfig.model_fields.keys() - {"requests_per_minute"}
    made = server_settings(EndpointConfig(**stated))
    assert {name: getattr(made, name) for name in stated} == stated
    assert {field.name for field in fields(ServerSettings)} == {*stated, "names"}
    assert made.identity("org/m") == "vllm/org/m@r1"
    assert (made.prices.prompt, made.prices.response) == (1.0, 2.0)


def test_settings_are_called_what_a_recipe_calls_them() -> None:
    names = server_settings(EndpointConfig(url="http://127.0.0.1:1/v1", provider="p")).names
    assert names.model == "teacher.model"
    for field in fields(names):
        if field.name != "model":
            assert field.name in EndpointConfig.model_fields
            assert getattr(names, field.name) == f"teacher.endpoint.{field.name}"
    assert permission(TermsConfig(), StudentConfig()).setting == "teacher.terms.authorisation"
    letter = TermsConfig(authorisation="letter.txt")
    of_calls = permission(letter, StudentConfig(), "collect.calls")
    assert of_calls.authorisation == "letter.txt"
    assert of_calls.setting == "collect.calls.terms.authorisation"
