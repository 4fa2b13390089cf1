"""The token ids that configs and generation configs hold, and what trimming does to them.

A field is known by its name: most by an ending (`eos_token_id`, `image_token_index`), the others by
a table. A kept id is renumbered. Of a removed one the entry goes that needs it: nothing may come to
name another token. What went is counted by field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

NewIds = Mapping[int, int]
# From an old id to the new one, None where the token went.
Renumber = Callable[[int], int | None]

# One id, or a list of ids: every name that ends so.
_ONE = re.compile(r"(^|_)tok(en)?_(id|ids|index|indices|idx)$")
# The same under other names, in configs of transformers 5.24.
_ONE_MORE = {
    "begin_suppress_tokens",
    "im_end_id",
    "im_newline_id",
    "im_start_id",
    "image_end_id",
    "image_patch_id",
    "image_start_id",
    "newline_id",
    "slice_end_id",
    "slice_start_id",
    "suppress_tokens",
}
# Ids of a codec's own vocabulary, not of the text's.
_OTHER_VOCABULARY = re.compile(r"(^|_)(codec|codebook)(_|$)")
# What forbids tokens or makes them less likely: a word that cannot be said any more needs none.
_FORBIDDING = ("suppress_tokens", "begin_suppress_tokens", "bad_words_ids")


@dataclass
class _Dropped:
    """How many entries went."""

    count: int = 0


def renumbered(fields: Mapping[str, Any], new_ids: NewIds) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the fields that hold token ids, renumbered, and how many entries went, by field.

    Other fields are left out, and so are those without a value. A field whose last entry went is
    None.
    """
    changed: dict[str, Any] = {}
    gone: dict[str, int] = {}
    for name, value in fields.items():
        shape = _shape(name)
        if shape is None or value is None:
            continue
        dropped = _Dropped()
        changed[name] = shape(value, new_ids.get, dropped)
        if dropped.count:
            gone[name] = dropped.count
            if isinstance(changed[name], (list, tuple, dict)) and not changed[name]:
                changed[name] = None
    return changed, gone


def single_ids(fields: Mapping[str, Any]) -> set[int]:
    """Return the ids that a student must still have: ends, starts, padding, forced, images.

    Those that only forbid are not among them (`forbidden_ids`).
    """
    return {
        i
        for name, value in fields.items()
        if name not in _FORBIDDING and name != "sequence_bias" and _shape(name) is not None
        for i in _ids_in(name, value)
    }


def forbidden_ids(fields: Mapping[str, Any]) -> list[int]:
    """Return the ids in what forbids or favours words, in order."""
    names = (*_FORBIDDING, "sequence_bias")
    found = [i for name in names for i in _ids_in(name, fields.get(name))]
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class NamedIds:
    """The ids that a network's configs name: what must stay, and what had better stay."""

    must: frozenset[int] = field(default_factory=frozenset)
    forbidden: tuple[int, ...] = ()


def named_ids(network: Any) -> NamedIds:
    """Return the ids that the network's configs and generation config name."""
    width = network.get_output_embeddings().weight.shape[0]
    must: set[int] = set()
    forbidden: list[int] = []
    for _, config in configs_of(network):
        must |= single_ids(vars(config))
        forbidden += forbidden_ids(vars(config))
    return NamedIds(
        frozenset(i for i in must if i < width),
        tuple(i for i in dict.fromkeys(forbidden) if i < width),
    )


def configs_of(network: Any) -> Iterator[tuple[str, Any]]:
    """Yield the configs that hold ids of the text's vocabulary, each with its name."""
    yield "config", network.config
    text = network.config.get_text_config()
    if text is not network.config:
        yield "text_config", text
    if getattr(network, "generation_config", None) is not None:
        yield "generation_config", network.generation_config


def dropped_ids(network: Any, new_ids: NewIds) -> dict[str, int]:
    """Return how many entries of each field trimming to `new_ids` drops, none of them 0."""
    return {
        f"{where}.{name}": count
        for where, config in configs_of(network)
        for name, count in renumbered(vars(config), new_ids)[1].items()
    }


def renumber(network: Any, new_ids: NewIds) -> None:
    """Renumber the ids that the network's configs and generation config name, in place."""
    for _, config in configs_of(network):
        for name, value in renumbered(vars(config), new_ids)[0].items():
            setattr(config, name, value)


def _shape(name: str) -> Callable[[Any, Renumber, _Dropped], Any] | None:
    """Return how a field's value is renumbered; None where it holds no ids of the text."""
    if name in _SHAPES:
        return _SHAPES[name]
    if _OTHER_VOCABULARY.search(name) or name.startswith("_"):
        return None
    return _ids if name in _ONE_MORE or _ONE.search(name) else None


def _new(value: int, new: Renumber, dropped: _Dropped) -> int | None:
    """Return one id's new number, None where it went; what is no id (-1) stays."""
    if value < 0:
        return value
    made = new(value)
    dropped.count += made is None
    return made


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _ids(value: Any, new: Renumber, dropped: _Dropped) -> Any:
    """Renumber an id or a list of ids, of which each stands for itself."""
    if _is_id(value):
        return _new(value, new, dropped)
    if not isinstance(value, (list, tuple)):
        return value
    made = [_ids(entry, new, dropped) for entry in value]
    return type(value)(entry for entry in made if entry is not None)


def _sequence(value: Any, new: Renumber, dropped: _Dropped) -> list[int] | None:
    """Renumber ids that only mean something together; None where one of them went."""
    kept = [made for entry in value if (made := _new(entry, new, _Dropped())) is not None]
    whole = len(kept) == len(value)
    dropped.count += not whole
    return kept if whole else None


def _sequences(value: Any, new: Renumber, dropped: _Dropped) -> Any:
    """Renumber a list of sequences, or of lists of alternative sequences."""
    made: list[Any] = []
    for entry in value:
        if all(_is_id(i) for i in entry):
            sequence = _sequence(entry, new, dropped)
        else:
            sequence = _sequences(entry, new, dropped)
        if sequence:
            made.append(sequence)
    return made


def _pairs(value: Any, new: Renumber, dropped: _Dropped) -> Any:
    """Renumber [position, id] pairs; an id that is None stands for any."""
    made = []
    for position, token in value:
        number = None if token is None else _new(token, new, dropped)
        if token is None or number is not None:
            made.append([position, number])
    return made


def _biases(value: Any, new: Renumber, dropped: _Dropped) -> Any:
    """Renumber [ids, bias] pairs, or a dict from ids to bias."""
    pairs = value.items() if isinstance(value, Mapping) else value
    made = []
    for ids, bias in pairs:
        sequence = _sequence([ids] if _is_id(ids) else ids, new, dropped)
        if sequence is not None:
            made.append((sequence, bias))
    if isinstance(value, Mapping):
        return {tuple(ids): bias for ids, bias in made}
    return [[ids, bias] for ids, bias in made]


def _named(value: Any, new: Renumber, dropped: _Dropped) -> Any:
    """Renumber a dict from a name to an id."""
    made = {name: _new(token, new, dropped) for name, token in value.items()}
    return {name: token for name, token in made.items() if token is not None}


_SHAPES: dict[str, Callable[[Any, Renumber, _Dropped], Any]] = {
    "bad_words_ids": _sequences,
    "force_words_ids": _sequences,
    "forced_decoder_ids": _pairs,
    "sequence_bias": _biases,
    "lang_to_id": _named,
    "task_to_id": _named,
}


def _ids_in(name: str, value: Any) -> list[int]:
    """Return every id that a field's value holds."""
    seen: list[int] = []

    def note(token: int) -> int:
        seen.append(token)
        return token

    shape = _shape(name)
    if shape is not None and value is not None:
        shape(value, note, _Dropped())
    return seen
