"""The licence of a model, read from the model's own files and from nowhere else."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from blake3 import blake3
from license_expression import LicenseSymbol, Licensing

from potstill.terms.facts import STRICTNESS, Licence, TermsFacts, packaged_facts

_MOST_BYTES = 1_000_000  # of a file that is read for its licence
_LONGEST_EXPRESSION = 500
_EXPRESSIONS = Licensing()
_SHOWN = 80  # characters of a statement
_LICENCE_FILE = re.compile(r"(licen[cs]e|copying)([-._].*)?", re.IGNORECASE)
# Permissive licences are known by the digest of their whole text, from its first words to its
# last: with anything changed or added they are not that licence any more.
_WHOLE_TEXTS = (
    (
        "apache-2.0",
        "apache license version 2.0, january 2004",
        "end of terms and conditions",
        "9a78965f0e3f5f175ffe5d39644c48a9",
    ),
    (
        "mit",
        "permission is hereby granted, free of charge",
        "dealings in the software.",
        "2a5a4050f4ed88e2e41f0d6fe80ba01f",
    ),
)
# What may stand before a licence's text (names of holders) and after it (Apache's appendix).
_MOST_AROUND = 1_300
_APPENDIX = re.compile(
    "you may not use this file except in compliance with the license|"
    "without warranties or conditions of any kind"
)
_RESTRICTIVE = re.compile(
    r"\b(additional|condition\w*|prohibit\w*|restrict\w*|outputs?|train\w*|commons|clause|"
    r"non commercial|noncommercial|notwithstanding|may not|must not|shall not)\b"
)


@dataclass(frozen=True)
class Evidence:
    """One statement of a licence: as it was written, where, and the id it is known under.

    `licence` is None where the statement is not one that the facts know.
    """

    stated: str
    where: str
    licence: str | None


def licence_of(model: Path, facts: TermsFacts | None = None) -> tuple[Evidence, ...]:
    """Return every statement about its licence in a model directory or a GGUF file.

    Read are the front matter of README.md, licence files, the `license` key of config.json and
    potstill-source.json (what a converted GGUF said of itself), and the metadata of GGUF files.
    Empty where nothing is stated.
    """
    facts = facts or packaged_facts()
    if model.is_file():
        return tuple(_stated(_gguf_names(model), model.name, facts))
    found = _stated(_front_matter(model / "README.md"), "README.md", facts)
    for file in sorted(model.iterdir()):
        if file.is_file() and _LICENCE_FILE.fullmatch(file.name):
            found.append(_recognised(file, facts))
    for name in ("config.json", "potstill-source.json"):
        value = _json(model / name).get("license")
        found += _stated([value], name, facts)
    return tuple(found)


def read_statement(name: str, where: str, facts: TermsFacts) -> list[Evidence]:
    """Return what the name of a licence states, or an SPDX expression such as `MIT AND Apache-2.0`.

    Of an expression each licence that applies is a statement of its own: all that AND joins; of
    those between which OR gives the choice, whichever is the least strict. One with a licence or
    an exception that the facts do not know is not known either, as a whole.
    """
    known = facts.find(name)
    found = (known,) if known else _of_expression(name, facts)
    stated = name.strip()[:_SHOWN]
    return [Evidence(stated, where, one.id) for one in found] or [Evidence(stated, where, None)]


def _of_expression(text: str, facts: TermsFacts) -> tuple[Licence, ...]:
    """Return the licences that apply by an SPDX expression; none where that cannot be told."""
    if len(text) > _LONGEST_EXPRESSION:
        return ()
    try:
        return _applying(_EXPRESSIONS.parse(text), facts)
    except Exception:  # Whatever it is that a parser raises on what was never meant for it.
        return ()


def _applying(expression: Any, facts: TermsFacts) -> tuple[Licence, ...]:
    """Return the licences of a parsed expression; raises KeyError for what is not known."""
    if isinstance(expression, _EXPRESSIONS.AND | _EXPRESSIONS.OR):
        parts = [_applying(part, facts) for part in expression.args]
        if isinstance(expression, _EXPRESSIONS.OR):
            return min(parts, key=lambda licences: max(map(_strictness, licences)))
        return tuple(dict.fromkeys(licence for part in parts for licence in part))
    # A licence WITH an exception is another kind of symbol, and another licence.
    known = facts.find(expression.key) if type(expression) is LicenseSymbol else None
    if known is None:
        raise KeyError(str(expression))
    return (known,)


def _strictness(licence: Licence) -> int:
    """Return how strict a licence is; what is out of date is for the gate, which knows the day."""
    return STRICTNESS.index(licence.outcome(date.min))


def _stated(names: list[Any], where: str, facts: TermsFacts) -> list[Evidence]:
    named = [name for name in names if isinstance(name, str) and name.strip()]
    return [one for name in named for one in read_statement(name, where, facts)]


def _front_matter(readme: Path) -> list[Any]:
    """Return the licence names in a model card's YAML head."""
    head = re.match(r"\ufeff?---[ \t]*\r?\n(.*?)\r?\n---", _text(readme), re.DOTALL)
    if head is None:
        return []
    try:
        card = yaml.safe_load(head[1])
    except (yaml.YAMLError, ValueError, RecursionError):
        # Some cards are not quite YAML; the one line that matters usually is.
        card = dict(re.findall(r"(?m)^(license(?:_name)?):[ \t]*(\S.*?)[ \t]*\r?$", head[1]))
    if not isinstance(card, dict):
        return []
    names = card.get("license")
    names = names if isinstance(names, list) else [names]
    other = card.get("license_name")
    return [other if other and _see_name(name) else name for name in names]


def _see_name(name: Any) -> bool:
    """Tell whether a card's licence is the hub's word for "see license_name"."""
    return isinstance(name, str) and name.strip().lower() == "other"


def _recognised(file: Path, facts: TermsFacts) -> Evidence:
    """Return which licence a licence file holds, by its title or its whole text."""
    text = _plain(_text(file))
    for licence in facts.licences:
        if any(title in text[:2_000] for title in licence.titles):
            return Evidence(licence.id, file.name, licence.id)
    for name, first, last, digest in _WHOLE_TEXTS:
        start, end = text.find(first), text.find(last) + len(last)
        body, around = text[start:end], f"{text[:start]} {text[end:]}"
        if (
            blake3(body.encode()).hexdigest(length=16) == digest
            and len(around) <= _MOST_AROUND
            and not _RESTRICTIVE.search(_APPENDIX.sub("", around))
        ):
            return Evidence(name, file.name, name)
    return Evidence("a text that potstill does not know", file.name, None)


def _plain(text: str) -> str:
    """Return text in lower case, without layout, with straight quotes."""
    for curly, straight in (("“", '"'), ("”", '"'), ("’", "'")):
        text = text.replace(curly, straight)
    return re.sub(r"[\s#*=>-]+", " ", text.lower()).strip()


def _gguf_names(path: Path) -> list[Any]:
    from gguf import GGUFReader

    fields = GGUFReader(str(path)).fields
    found = [fields[key].contents() for key in ("general.license",) if key in fields]
    return [name for item in found for name in (item if isinstance(item, list) else [item])]


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(path) or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", errors="replace")
    except (FileNotFoundError, IsADirectoryError):
        return ""
