"""What a server calls things: cut and cleaned before it is kept or shown, and never a key.

A terminal obeys control characters, and servers' lists and errors may quote keys of their own or
of others.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

_LONGEST_LABEL = 200  # characters of a model name or fingerprint that are kept
# Control and format characters (Cc, Cf: also those that turn writing round), halves of surrogate
# pairs, private and unassigned ones, and what breaks lines.
_UNSHOWN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
HIDDEN = "(a name that looks like a key)"
# So long a part of the key in a word is no chance.
_PART = 8
# The ways in which services begin keys, and then a run of letters and digits that no name has.
_KEY = re.compile(
    r"(?:^|[^A-Za-z0-9])(?:sk|pk|rk|gsk|hf|xai|key|api|nvapi|pplx|r8|ghp|gho|glpat|fw|csk|tgp|dop|"
    r"sess|bearer|token)[-_ ](?:[A-Za-z0-9]+[-_])*(?=[A-Za-z0-9]*[0-9])(?=[A-Za-z0-9]*[A-Za-z])"
    r"[A-Za-z0-9]{16,}"
    r"|AIza[A-Za-z0-9_-]{30,}|AKIA[A-Z0-9]{16}|eyJ[A-Za-z0-9_-]{10,}\.eyJ",
    re.IGNORECASE,
)


def label_of(value: Any) -> str | None:
    """Return a name that the server gives, cut and cleaned, None where it gives none."""
    if not isinstance(value, str):
        return None
    clean = "".join(c for c in value if unicodedata.category(c) not in _UNSHOWN).strip()
    return clean[:_LONGEST_LABEL] or None


def tells_a_key(text: str, key: str | None) -> bool:
    """Tell whether a text holds the key or a part of it, or looks like anybody's."""
    if key and len(key) < _PART and key in text:
        return True
    parts = {key[i : i + _PART] for i in range(len(key) - _PART + 1)} if key else set()
    return any(part in text for part in parts) or _KEY.search(text) is not None


def shown(label: str, key: str | None = None) -> str:
    """Return a label as it may be kept and printed: one that tells a key is not."""
    return HIDDEN if tells_a_key(label, key) else label


def shown_label(value: Any) -> str | None:
    """Return a name that the server gives as it may be kept and printed, None where it has none."""
    label = label_of(value)
    return None if label is None else shown(label)
