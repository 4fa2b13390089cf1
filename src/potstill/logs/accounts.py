"""Who made a call, as far as its log says.

Nothing that collects answers asks for it: what a student learns from never says who asked. Only
what stands in a field of that meaning is taken, as it stands; who somebody might be is not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from potstill.canonical import digest_of_bytes, labelled
from potstill.logs.call import Values
from potstill.logs.values import as_dict, stamp
from potstill.text.forms import is_text

_LONGEST = 200  # characters of a name that is kept
# Services' keys begin so; a log may hold one that should not be in it.
_SECRET = ("sk-", "sk_")
_KEYS = ("key_id", "api_key_id", "api_key_hash")
_ORGANISATIONS = ("organization_id", "organisation_id", "org_id", "organization", "organisation")
_TEAMS = ("team_id", "workspace_id", "project_id")
_ADDRESSES = ("ip", "ip_address", "client_ip", "remote_addr", "requester_ip_address")
_TIMES = ("created_at", "created", "timestamp", "time", "startTime")


@dataclass(frozen=True, slots=True)
class Account:
    """Who called; None for what the log does not say.

    `key` names the key (never the key itself), `user` whose key it is, `end_user` for whom that
    user asked, as it states itself. `address` is an IP address, `at` ISO 8601 in UTC.
    """

    key: str | None = None
    user: str | None = None
    end_user: str | None = None
    team: str | None = None
    organisation: str | None = None
    address: str | None = None
    at: str | None = None


def no_account(row: Values) -> Account:
    """Return that a form says nothing of who called."""
    return Account()


def of_row(row: Values) -> Account:
    """Return what columns of a gateway's own log say, where they have one of the usual names.

    A raw key that stands in such a column is named by its digest. A column `user` may hold what a
    user said, and is left alone.
    """
    return Account(
        key=_key(_first(row, _KEYS)),
        user=_text(row.get("user_id")),
        end_user=_first(row, ("end_user", "end_user_id", "safety_identifier")),
        team=_first(row, _TEAMS),
        organisation=_first(row, _ORGANISATIONS),
        address=_first(row, _ADDRESSES),
        at=next(filter(None, (stamp(row.get(name)) for name in _TIMES)), None),
    )


def of_chat(row: Values) -> Account:
    """Return what a row says of itself, and for whom its request says that it is."""
    request, response = as_dict(row.get("request")), as_dict(row.get("response"))
    request = as_dict(request.get("body") or request)
    response = as_dict(response.get("body") or response)
    alone = not request  # then `user` is the request's own, and OpenAI's older `end_user`
    found = of_row(row)
    user = found.user if alone else found.user or _text(row.get("user"))
    body = row if alone else request
    at = found.at or stamp(response.get("created_at") or response.get("created"))
    return replace(found, user=user, end_user=found.end_user or _asked_for(body), at=at)


def of_batch(row: Values) -> Account:
    """Return for whom a line of a batch's input asks, and when a line of its output was answered.

    A batch's files do not say who sent it.
    """
    body = as_dict(row["body"] if "body" in row else row.get("params"))
    result, response = as_dict(row.get("result")), as_dict(row.get("response"))
    answered = as_dict(result.get("message") if result else response.get("body"))
    return Account(
        end_user=_asked_for(body),
        at=stamp(answered.get("created_at") or answered.get("created")),
    )


def of_litellm(row: Values) -> Account:
    """Return who called by a row of LiteLLM's spend logs, or of its standard logging payload.

    Its `api_key` is the hash of one.
    """
    beside = as_dict(row.get("metadata"))
    return Account(
        key=_key(_text(row.get("api_key")) or _text(beside.get("user_api_key_hash"))),
        user=_text(row.get("user")) or _text(beside.get("user_api_key_user_id")),
        end_user=_text(row.get("end_user")) or _text(beside.get("user_api_key_end_user_id")),
        team=_text(row.get("team_id")) or _text(beside.get("user_api_key_team_id")),
        organisation=_text(row.get("organization_id")) or _text(beside.get("user_api_key_org_id")),
        address=_text(row.get("requester_ip_address")) or _text(beside.get("requester_ip_address")),
        at=stamp(row.get("startTime")),
    )


def _asked_for(body: Mapping[str, Any]) -> str | None:
    """Return for whom a request's body says that it asks: OpenAI's fields, and Anthropic's."""
    stated = _first(body, ("safety_identifier", "user"))
    return stated or _text(as_dict(body.get("metadata")).get("user_id"))


def _first(values: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next(filter(None, (_text(values.get(name)) for name in names)), None)


def _text(value: Any) -> str | None:
    """Return a name as text; numbers are names, too, truth values and anything longer none."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not is_text(value):
        return None
    return value.strip() if 0 < len(value.strip()) <= _LONGEST else None


def _key(name: str | None) -> str | None:
    if name is None or not name.startswith(_SECRET):
        return name
    return labelled(digest_of_bytes(name.encode()))
