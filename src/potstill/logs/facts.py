"""What a log says of a call beside its text: models, tokens, times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from potstill.logs.call import CallFacts
from potstill.logs.values import as_dict, name, number, stamp, usage_of


def completion_facts(request: Mapping[str, Any], response: Mapping[str, Any]) -> CallFacts:
    """Return what a request's and a response's body say of the call.

    Usage is of all choices together, so it is left out where there are several.
    """
    returned = name(response.get("model"))
    created = response.get("created")
    return CallFacts(
        model=name(request.get("model")) or returned,
        returned_model=returned,
        system_fingerprint=name(response.get("system_fingerprint")),
        usage={} if has_several(response) else usage_of(as_dict(response.get("usage"))),
        created_at=stamp(response.get("created_at") if created is None else created),
    )


def has_several(response: Mapping[str, Any]) -> bool:
    """Tell whether a response holds more than one answer."""
    choices = response.get("choices")
    return isinstance(choices, list) and len(choices) > 1


def stated_facts(row: Mapping[str, Any]) -> CallFacts:
    """Return what columns beside a text say of it."""
    latency = number(row.get("latency_s"))
    return CallFacts(
        model=name(row.get("model")),
        created_at=stamp(row.get("created_at")),
        latency_s=float(latency) if latency is not None and latency >= 0 else None,
    )
