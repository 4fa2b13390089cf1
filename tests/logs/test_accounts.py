"""Who called: what each form says of it, and that nobody who collects is told."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from potstill.logs import Account, form_named, known_forms, read_calls
from potstill.logs.call import Ask, CallFacts, LoggedAnswer, LoggedCall, Record
from potstill.recipe import CallsConfig

MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."}]
REQUEST = {"model": "m", "messages": MESSAGES[:1]}
RESPONSE = {
    "model": "m",
    "created": 1_700_000_000,
    "choices": [{"message": MESSAGES[1], "finish_reason": "stop"}],
}
AT = "2023-11-14T22:13:20.000+00:00"
HASH = "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b"


@pytest.mark.parametrize(
    ("form", "row", "account"),
    [
        (
            "litellm",
            {
                **{"request_id": "a", "api_key": HASH, "user": "u-1", "end_user": "c-7"},
                **{"team_id": "t", "organization_id": "o", "startTime": "2023-11-14T22:13:20Z"},
                **{"requester_ip_address": "192.0.2.1", "messages": MESSAGES},
            },
            Account(HASH, "u-1", "c-7", "t", "o", "192.0.2.1", AT),
        ),
        (
            "litellm",
            {
                **{"id": "a", "startTime": 1_700_000_000.0, "end_user": "", "messages": MESSAGES},
                "metadata": {
                    **{"user_api_key_hash": HASH, "user_api_key_user_id": "u-1"},
                    **{"user_api_key_team_id": "t", "user_api_key_org_id": "o"},
                    **{"user_api_key_end_user_id": "c-7", "requester_ip_address": "192.0.2.1"},
                },
            },
            Account(HASH, "u-1", "c-7", "t", "o", "192.0.2.1", AT),
        ),
        (
            "batch",
            {"custom_id": "a", "body": {**REQUEST, "safety_identifier": "c-7"}},
            Account(end_user="c-7"),
        ),
        (
            "batch",
            {"custom_id": "a", "params": {**REQUEST, "metadata": {"user_id": "c-7"}}},
            Account(end_user="c-7"),
        ),
        ("batch", {"custom_id": "a", "response": {"body": RESPONSE}}, Account(at=AT)),
        (
            "chat",
            {
                **{"request": {**REQUEST, "user": "c-7"}, "response": RESPONSE, "user": 12},
                **{"key_id": "k", "ip": "2001:db8::1", "org_id": "o", "project_id": "t"},
            },
            Account("k", "12", "c-7", "t", "o", "2001:db8::1", AT),
        ),
        (
            "chat",
            {"request": {**REQUEST, "metadata": {"user_id": "c-7"}}, "response": RESPONSE},
            Account(end_user="c-7", at=AT),
        ),
        ("chat", {**REQUEST, **RESPONSE, "user": "c-7"}, Account(end_user="c-7", at=AT)),
        (
            "table",
            {"prompt": "Hi", "response": "Yes.", "user_id": "u-1", "created_at": 1_700_000_000},
            Account(user="u-1", at=AT),
        ),
        ("sharegpt", {"conversations": [], "client_ip": "192.0.2.1"}, Account(address="192.0.2.1")),
    ],
)
def test_each_form_says_what_it_holds(form: str, row: dict[str, Any], account: Account) -> None:
    assert form_named(form).account(row) == account


@pytest.mark.parametrize("form", known_forms())
@pytest.mark.parametrize("odd", [None, "", " ", True, {"a": 1}, ["x"], "a\0b", "\ud800", "x" * 999])
def test_what_is_no_name_is_none_and_no_row_raises(form: str, odd: Any) -> None:
    names = [
        *("key_id", "api_key", "user", "user_id", "end_user", "team_id", "organization_id", "ip"),
        *("requester_ip_address", "startTime", "created_at", "metadata", "body", "request"),
        *("response", "result", "params"),
    ]
    assert form_named(form).account(dict.fromkeys(names, odd)) == Account()


def test_a_raw_key_is_named_by_its_digest_alone() -> None:
    found = form_named("litellm").account({"api_key": "sk-very-secret"})
    assert found.key is not None and found.key.startswith("blake3:")
    assert "secret" not in repr(found)
    assert found == form_named("chat").account({"key_id": "sk-very-secret"})


def test_what_a_user_said_is_no_user() -> None:
    row = {"user": "My secret plan", "assistant": "Fine."}
    assert form_named("table").account(row) == Account()


def test_accounts_come_with_the_places_of_their_rows(write) -> None:
    path = write("log.jsonl", {"prompt": "a", "user_id": "u"}, "garbage", {"prompt": "b"})
    found = list(form_named("table").accounts([path]))
    assert found == [(Account(user="u"), "log.jsonl, line 1"), (Account(), "log.jsonl, line 3")]


def test_what_is_collected_holds_no_account(write) -> None:
    held = {
        field.name
        for kind in (Ask, LoggedAnswer, CallFacts, Record, LoggedCall)
        for field in dataclasses.fields(kind)
    }
    assert not held & {field.name for field in dataclasses.fields(Account)}
    row = {"request": {**REQUEST, "user": "c-7"}, "response": RESPONSE, "key_id": "k-9"}
    log = read_calls(CallsConfig(path=write("log.jsonl", row)))
    assert len(log.calls) == 1
    assert "c-7" not in repr(log) and "k-9" not in repr(log)
