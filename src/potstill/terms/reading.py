"""Files that state terms, read so that nothing in them is overlooked in silence.

What stands twice, is in a form that nobody expects or cannot be read is returned as `UNREADABLE`,
which no licence explains.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from potstill.canonical import keys_once
from potstill.terms.texts import text_of

UNREADABLE = "a value that potstill cannot read"
CARD = "README.md"
# As huggingface_hub finds it, which allows blank lines before it.
_HEAD = re.compile(r"\ufeff?\s*---[ \t]*\n(.*?)\n---", re.DOTALL)
_LINES = re.compile(r"(?mi)^(licen[cs]e(?:_name)?|base_model)[ \t]*:[ \t]*(.*?)[ \t]*$")
_NO_NAME = re.compile(r"[\[{|>&*!]|$")


class _OnceLoader(yaml.SafeLoader):
    """Reads YAML in which no key stands twice, of which PyYAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) != len(keys):
            raise yaml.constructor.ConstructorError(problem="a key stands twice")
        return super().construct_mapping(node, deep)


def yaml_once(text: str) -> Any:
    """Return the value of YAML. Raises ValueError where it is none, or a key stands twice."""
    try:
        return yaml.load(text, _OnceLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError("no YAML") from error


def card_heads(model: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the YAML head of a directory's card, in whatever case it is named."""
    for path in sorted(model.iterdir()):
        if path.name.lower() == CARD.lower():
            yield path.name, _head(text_of(path))


def values_of(stated: Mapping[Any, Any], key: str) -> list[str]:
    """Return the texts under a key, in whatever spelling: `UNREADABLE` for what is no text."""
    found: list[str] = []
    for name, value in stated.items():
        if str(name).strip().lower().replace("licence", "license") == key:
            found += texts_of(value)
    return found


def texts_of(value: Any) -> list[str]:
    """Return a text, or the texts of a list, without empty ones; `UNREADABLE` for all else."""
    values = value if isinstance(value, list) else [value]
    texts = [one if isinstance(one, str) else UNREADABLE for one in values if one is not None]
    return [text for text in texts if text.strip()]


def json_object(path: Path) -> dict[str, Any] | None:
    """Return a file's JSON object, empty where there is no file; None where it is none."""
    text = text_of(path)
    if not text and not path.is_file():
        return {}
    try:
        value = json.loads(text, object_pairs_hook=keys_once)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _head(text: str) -> dict[str, Any]:
    if "\0" in text:
        return {"license": UNREADABLE}
    head = _HEAD.match(text.replace("\r\n", "\n").replace("\r", "\n"))
    if head is None:
        return {}
    try:
        card = yaml_once(head[1])
    except ValueError:
        return _lines_of(head[1])
    return card if isinstance(card, dict) else {}


def _lines_of(head: str) -> dict[str, Any]:
    """Return what stands in a card that is not quite YAML: the lines that matter usually are."""
    found: dict[str, Any] = {}
    for name, value in _LINES.findall(head):
        text = UNREADABLE if _NO_NAME.match(value) else value.strip("\"'")
        found.setdefault(name.lower().replace("licence", "license"), []).append(text)
    return found
