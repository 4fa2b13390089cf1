"""The licence of a model, read from the model's own files and from nowhere else.

Read are the front matter of README.md, licence files and policies of use, config.json, what a
converted GGUF said of itself (potstill-source.json), what potstill wrote beside a student
(student-terms.json), the metadata of GGUF files, and the weights themselves where potstill knows
them. Never a directory's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from potstill.models.gguf_head import read_head
from potstill.models.last_norm import last_norm_digest
from potstill.terms.facts import TermsFacts, packaged_facts
from potstill.terms.inherited import evidence_of_student, kept_names, last_part
from potstill.terms.reading import card_heads, json_object, texts_of, values_of
from potstill.terms.statements import About, Evidence, found, read_statement
from potstill.terms.texts import licence_files, policy_files, recognised, unreadable_licences

__all__ = ["Evidence", "licence_of", "read_statement"]

SOURCE_FILE = "potstill-source.json"
_GGUF_BASE = re.compile(r"general\.base_model\.\d+")
# How a card's tags name what a model comes from.
_TAGS = ("base_model:", "distilled-from:")


def licence_of(model: Path, facts: TermsFacts | None = None) -> tuple[Evidence, ...]:
    """Return every statement about its licence in a model directory or a GGUF file.

    What a model was made from counts too. Empty where nothing is stated. Raises PotstillError for
    a GGUF file that is damaged.
    """
    facts = facts or packaged_facts()
    if model.is_file():
        fields = read_head(model).fields
        stated = _named(_gguf_licences(fields), model.name, facts)
        bases = _bases(_gguf_bases(fields), model.name, facts)
        return (*stated, *_known_weights(model, facts), *bases)
    evidence, cards = [], dict(card_heads(model))
    objects = {name: json_object(model / name) for name in ("config.json", SOURCE_FILE)}
    for name in [name for name, value in objects.items() if value is None]:
        evidence.append(found("terms that cannot be read", name, None))
    config, source = (objects[name] or {} for name in ("config.json", SOURCE_FILE))
    for name, card in cards.items():
        evidence += _named(_card_licences(card), name, facts)
    for name in unreadable_licences(model):
        evidence.append(found("a licence that cannot be read", name, None))
    evidence += [recognised(file, facts) for file in licence_files(model)]
    evidence += [found("a policy of use", f.name, None, "policy") for f in policy_files(model)]
    evidence += _named(values_of(config, "license"), "config.json", facts)
    evidence += _named([_chosen(source)], SOURCE_FILE, facts)
    evidence += evidence_of_student(model, facts)
    evidence += _known_weights(model, facts)
    known = kept_names(model)
    named = {name: _card_bases(card) for name, card in cards.items()}
    named[SOURCE_FILE] = texts_of(source.get("base_models"))
    for where, names in named.items():
        evidence += _bases([name for name in names if last_part(name) not in known], where, facts)
    return (*evidence, *_told_by_path(config, facts))


def _named(names: Iterable[Any], where: str, facts: TermsFacts) -> list[Evidence]:
    return [one for name in texts_of(list(names)) for one in read_statement(name, where, facts)]


def _known_weights(model: Path, facts: TermsFacts) -> list[Evidence]:
    """Return what the weights are, where the facts know them."""
    digest = last_norm_digest(model) if facts.weights else None
    return [
        found(f"weights of {known.model}", "the weights", known.entry)
        for known in facts.weights
        if known.digest == digest
    ]


def _bases(names: Iterable[str], where: str, facts: TermsFacts) -> list[Evidence]:
    """Return what a model's bases are under, by their names; one that tells nothing is unknown."""
    evidence = []
    for name in dict.fromkeys(names):
        told: tuple[str | None, ...] = facts.told_by(name) or (None,)
        evidence += [found(_made_from(name), where, entry, "base") for entry in told]
    return evidence


def _made_from(name: str) -> str:
    return f"made from {name[:60]}"


def _told_by_path(config: Mapping[str, Any], facts: TermsFacts) -> list[Evidence]:
    """Return what the name tells under which a config was last loaded, where it tells anything.

    Mostly it is a path on somebody's machine.
    """
    about: About = "base"
    return [
        found(_made_from(name), "config.json", entry, about)
        for name in texts_of(config.get("_name_or_path"))
        for entry in facts.told_by(name)
    ]


def _card_licences(card: Mapping[str, Any]) -> list[Any]:
    names, own = values_of(card, "license"), values_of(card, "license_name")
    if not any(name.strip().lower() == "other" for name in names):
        # One that stands beside a licence of the hub is stated as well.
        return [*names, *own]
    return [one for name in names for one in (own if own and _is_other(name) else [name])]


def _chosen(source: Mapping[str, Any]) -> Any:
    return _other(source.get("license"), source)


def _other(name: Any, stated: Mapping[str, Any]) -> Any:
    """Return the name of a licence, where it is the hub's word for "see license_name" that one."""
    return (stated.get("license_name") or name) if _is_other(name) else name


def _is_other(name: Any) -> bool:
    return isinstance(name, str) and name.strip().lower() == "other"


def _card_bases(card: Mapping[str, Any]) -> list[str]:
    """Return what a card says that its model was made from."""
    tags = [tag for tag in texts_of(card.get("tags")) if tag.startswith(_TAGS)]
    # `base_model:finetune:owner/name` says how, too.
    return [*values_of(card, "base_model"), *(tag.rpartition(":")[2] for tag in tags)]


def _gguf_licences(fields: Mapping[str, Any]) -> list[Any]:
    stated = fields.get("general.license")
    names = stated if isinstance(stated, list) else [stated]
    other = {"license_name": fields.get("general.license.name")}
    return [_other(name, other) for name in names]


def _gguf_bases(fields: Mapping[str, Any]) -> list[str]:
    """Return what a GGUF file says that its model was made from."""
    names = []
    numbered = [found[0] for field in fields if (found := _GGUF_BASE.match(field))]
    for prefix in dict.fromkeys(numbered):
        name = fields.get(f"{prefix}.repo_url") or fields.get(f"{prefix}.name")
        names += texts_of(name)
    return names
