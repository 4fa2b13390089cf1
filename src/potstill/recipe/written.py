"""Text in YAML or JSON as values with their places, so that nothing is made of what looks like it.

YAML 1.1, which most libraries read, takes `yes` for true, `010` for 8, `1:30` for 90 and a key
`on` for true; YAML 1.2 and whoever writes them mostly do not. Here keys are text as it is
written, numbers are decimal, only `true` and `false` are truth values, and what the two versions
read differently is kept as written (`Unsure`), for its field to decide.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from potstill.errors import PotstillError

Path = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_UNSURE = "unsure"
_NULL = ("", "~", "null", "Null", "NULL")
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(
    r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)\.[0-9]*|(0|[1-9][0-9]*)(?=[eE]))([eE][-+]?[0-9]+)?"
)
_NOT_FINITE = {
    f"{sign}.{name}": float(f"{sign}{name}")
    for sign in ("", "+", "-")
    for name in ("inf", "Inf", "INF")
} | {f".{name}": float("nan") for name in ("nan", "NaN", "NAN")}
# What YAML 1.2 alone takes for a number.
_OCTAL = re.compile(r"0o[0-7]+")
# Ends of lines to YAML, which are written as escapes or come back as blanks.
_LINE_ENDS = frozenset("\x85\u2028\u2029\ufeff")
# Python reads no longer number from text.
_MOST_DIGITS = 4000
_ELEVEN = yaml.SafeLoader("")
_STRING = json.JSONDecoder()
_JSON_TOKEN = re.compile(r'[\s,:]*(["\[\]{}]|[^\s,:"\[\]{}]+)')


class Unsure(str):
    """A word or a number as it is written, which one version of YAML reads as something else."""

    __slots__ = ()

    @property
    def truth(self) -> bool | None:
        """What YAML 1.1 reads the word as; None for what is no truth value there."""
        return yaml.SafeLoader.bool_values.get(self.lower())

    @property
    def number(self) -> float | None:
        """What YAML 1.2, JSON and people read `1e-4` as; None for what is no decimal number."""
        return float(self) if _DECIMAL.fullmatch(self) else None


@dataclass(frozen=True)
class Written:
    """A value, and the line of every key and item in it."""

    value: Any
    lines: dict[Path, int] = field(default_factory=dict)


class _Loader(yaml.SafeLoader):
    """A composer whose plain scalars are resolved as the module's docstring says."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is not yaml.ScalarNode or not implicit[0]:
            return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        return _TAG + _kind_of(value)


class _Dumper(yaml.SafeDumper):
    """A dumper that puts text in quotes which any version of YAML reads as something else."""


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = None if _kind_of(text) == "str" else "'"
    if _LINE_ENDS.intersection(text):
        style = '"'
    return dumper.represent_scalar(f"{_TAG}str", text, style=style)


_Dumper.add_representer(str, _quoted)


def read_written(text: str, source: str) -> Written:
    """Return what YAML or JSON text holds; None as the value where it is empty.

    Text that begins with `{` and is JSON is read as JSON, and so is a source that ends in
    `.json`. Raises PotstillError that names the source, the line and what is wrong.
    """
    text = text.removeprefix("\ufeff")
    try:
        root = _json_root(text, source) or _yaml_root(text, source)
        if root is None:
            return Written(None)
        builder = _Builder(source)
        return Written(builder.value(root, ()), builder.lines)
    except RecursionError:
        raise PotstillError(f"{source} is nested too deeply; write it flatter") from None


def dump_written(values: Mapping[str, Any], **form: Any) -> str:
    """Return values as YAML that every version of it reads alike; `form` as PyYAML's dump takes."""
    return str(yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, **form))


def _kind_of(value: str) -> str:
    """Return which kind of value a plain scalar is."""
    if value in _NULL:
        return "null"
    if value in _TRUE or value in _FALSE:
        return "bool"
    if len(value) > _MOST_DIGITS:
        return "str"
    if _WHOLE.fullmatch(value):
        return "int"
    if value in _NOT_FINITE:
        return "float"
    if value == "<<":
        return "merge"
    elder = _ELEVEN.resolve(yaml.ScalarNode, value, (True, False))  # type: ignore[no-untyped-call]
    if _DECIMAL.fullmatch(value):
        return "float" if elder == f"{_TAG}float" else _UNSURE
    # `=` is text to everyone; the elder version had plans for it.
    sure = elder in (f"{_TAG}str", f"{_TAG}value") and not _OCTAL.fullmatch(value)
    return "str" if sure else _UNSURE


def _yaml_root(text: str, source: str) -> yaml.Node | None:
    try:
        root: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = error.problem or error.context or "cannot be parsed"
        raise PotstillError(
            f"{source}{where}: not valid YAML ({problem}); check indentation, colons and quotes"
        ) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise PotstillError(
            f"{source}, line {line}: the character U+{int(error.character):04X} cannot stand "
            'in YAML; remove it, or write it as an escape in "quotes"'
        ) from None
    except (yaml.YAMLError, ValueError, OverflowError):
        # An escape beyond Unicode, for one: the library says nothing of where.
        raise PotstillError(
            f"{source} is not valid YAML; check its escapes and characters"
        ) from None
    return root


def _json_root(text: str, source: str) -> yaml.Node | None:
    """Return JSON text as nodes; None where it is none and may be YAML."""
    if not (source.endswith(".json") or text.lstrip()[:1] == "{"):
        return None
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        # YAML has braces too.
        if not source.endswith(".json"):
            return None
        raise PotstillError(
            f"{source}, line {error.lineno}, column {error.colno}: not valid JSON "
            f"({error.msg[:1].lower()}{error.msg[1:]}); correct it there"
        ) from None
    except ValueError:  # a number of more digits than Python reads
        raise PotstillError(
            f"{source} holds a number of more than {_MOST_DIGITS} digits; shorten it"
        ) from None
    return _JsonNodes(text).node()


class _JsonNodes:
    """Valid JSON as YAML's nodes, which know their lines; one pass over the text."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._counted, self._line = text, 0, 0, 0

    def node(self) -> yaml.Node:
        token = self._token()
        mark = self._mark()
        if token == '"':
            content, self._at = _STRING.raw_decode(self._text, self._at - 1)
            return yaml.ScalarNode(f"{_TAG}str", content, mark, mark, style='"')
        if token == "[":
            return yaml.SequenceNode(f"{_TAG}seq", list(self._until("]")), mark, mark)
        if token == "{":
            inner = list(self._until("}"))
            pairs = list(zip(inner[::2], inner[1::2], strict=True))
            return yaml.MappingNode(f"{_TAG}map", pairs, mark, mark)
        value = {"Infinity": ".inf", "-Infinity": "-.inf", "NaN": ".nan"}.get(token, token)
        kind = "float" if _DECIMAL.fullmatch(value) else _kind_of(value)
        return yaml.ScalarNode(_TAG + kind, value, mark, mark)

    def _until(self, end: str) -> Iterator[yaml.Node]:
        while True:
            before = self._at
            if self._token() == end:
                return
            self._at = before
            yield self.node()

    def _token(self) -> str:
        match = _JSON_TOKEN.match(self._text, self._at)
        assert match is not None  # json.loads has read it
        self._at = match.end()
        return match[1]

    def _mark(self) -> yaml.Mark:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return yaml.Mark("", self._at, self._line, 0, None, 0)


class _Builder:
    """Values of nodes, with the line of every key and item."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._open: set[int] = set()
        self._made: dict[int, Any] = {}
        self.lines: dict[Path, int] = {}

    def value(self, node: yaml.Node, path: Path) -> Any:
        if id(node) in self._open:
            raise self._error(node, path, "holds itself; write it out")
        # What many aliases name is made once: a few lines could stand for a billion values.
        if id(node) not in self._made:
            self._open.add(id(node))
            self._made[id(node)] = self._new(node, path)
            self._open.remove(id(node))
        return self._made[id(node)]

    def _new(self, node: yaml.Node, path: Path) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            for index, item in enumerate(node.value):
                self.lines[(*path, index)] = item.start_mark.line + 1
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            text = self._whole(node, path)
            if kind in (_UNSURE, "merge"):
                return Unsure(text)
            # A tag may be written out, on a value that is of another kind.
            if kind in ("str", _kind_of(text)) or (kind == "float" and _DECIMAL.fullmatch(text)):
                return _scalar(kind, text)
        tag = node.tag if len(node.tag) < 60 else "that is there"
        raise self._error(node, path, f"has the tag {tag}, which recipes do not know; remove it")

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        own: dict[str, Any] = {}
        seen: dict[str, int] = {}
        merged: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(key, path, "has a key that is a list or a mapping; write text")
            name, line = self._whole(key, path), key.start_mark.line + 1
            if name in seen:
                raise PotstillError(
                    f"{self._source}, line {line}: {dotted((*path, name))} is given twice "
                    f"(first on line {seen[name]}); remove one"
                )
            seen[name] = line
            if key.tag == f"{_TAG}merge":
                merged = self._merged(value, path)
                continue
            self.lines[(*path, name)] = line
            own[name] = self.value(value, (*path, name))
        return {**merged, **own}

    def _merged(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for part in reversed(parts):
            value = self.value(part, path)
            if not isinstance(value, dict):
                raise self._error(part, path, "merges (<<) what is no mapping; write it out")
            found.update(value)
        return found

    def _whole(self, node: yaml.ScalarNode, path: Path) -> str:
        """Return a scalar's text, with pairs of surrogates (JSON's escapes) as one character."""
        text = str(node.value)
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            complaint = "has half of a character (a lone surrogate \\uD8.. or \\uDC..); remove it"
            raise self._error(node, path, complaint) from None

    def _error(self, node: yaml.Node, path: Path, complaint: str) -> PotstillError:
        where = f"{self._source}, line {node.start_mark.line + 1}"
        return PotstillError(f"{where}: {dotted(path) or 'the recipe'} {complaint}")


def _scalar(kind: str, text: str) -> Any:
    if kind == "null":
        return None
    if kind == "bool":
        return text in _TRUE
    if kind == "int":
        return int(text)
    if kind == "float":
        return _NOT_FINITE[text] if text in _NOT_FINITE else float(text)
    return text


def dotted(path: Path) -> str:
    """Return a path as a recipe names it: `a.b[0].c`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
