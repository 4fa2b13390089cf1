"""Where two sets of nested values differ, key by key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Difference:
    """A key, written with dots, and its values as JSON; `not set` where one side lacks it."""

    key: str
    there: str
    here: str


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[Difference]:
    """Return where values differ, in the order of their keys; null and a missing key are equal."""
    one, other = _flat(there), _flat(here)
    differing = [key for key in sorted({*one, *other}) if one.get(key) != other.get(key)]
    return [Difference(key, _shown(one, key), _shown(other, key)) for key in differing]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values under dotted keys; a mapping that holds nothing is a value."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found.update(_flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found


def _shown(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key], ensure_ascii=False) if key in values else "not set"
