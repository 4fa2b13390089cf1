"""What a response says as an answer of a task: a label, a JSON object, or short text.

Everything here is pure: text in, answer out. Model-written text is only ever read.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from potstill.errors import PotstillError
from potstill.recipe import TaskConfig
from potstill.recipe.json_schema import mismatch_of, schema_problem
from potstill.recipe.tasks import plain_label

# A label in the spelling of the recipe, a JSON object, or normalised text.
Answer = str | dict[str, Any]
Kind = Literal["label", "json", "text"]

_LONGEST_LABEL = 60  # characters of a gold label that an error quotes
_QUOTES = "\"'`“”‘’«»"


@dataclass(frozen=True)
class AnswerForm:
    """What counts as an answer; `schema` is None where any JSON object will do."""

    kind: Kind
    labels: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = field(default=None, hash=False)

    @classmethod
    def of(cls, task: TaskConfig) -> AnswerForm:
        """Return the form that a recipe asks for. Raises PotstillError for a broken schema."""
        return cls(kind=task.kind, labels=task.labels, schema=_schema_of(task))

    def read(self, text: str) -> Answer | None:
        """Return the answer in a response; None where there is none, or more than one.

        A label is the whole text once case, spacing and outer punctuation are put aside, else
        the only label that occurs in it as words of its own. JSON is the first complete object.
        Text is never None unless it is blank.
        """
        if self.kind == "label":
            return self._label(text)
        if self.kind == "json":
            return first_object(text)
        return plain_text(text) or None

    def fits_schema(self, answer: Answer | None) -> bool:
        """Return whether an answer was found and is one that the form allows."""
        if answer is None:
            return False
        return self.kind != "json" or self._mismatch is None or self._mismatch(answer) is None

    def gold(self, value: Any, place: str) -> Answer:
        """Return the right answer that a cell holds.

        `place` names the row in errors. Raises PotstillError where the cell is blank, holds no
        allowed label, or no JSON object that fits the schema.
        """
        if value is None or (isinstance(value, str) and not value.strip()):
            raise PotstillError(f"{place}, has no gold answer; fill the cell, or remove the row")
        if self.kind == "label":
            return self._gold_label(str(value), place)
        if self.kind == "json":
            return self._gold_object(value, place)
        return plain_text(str(value)) or str(value).strip()

    @cached_property
    def _by_plain(self) -> dict[str, str]:
        return {plain_label(label): label for label in self.labels}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        # Longest first, so that "not urgent" is not read as "urgent".
        names = sorted(self._by_plain, key=len, reverse=True)
        return re.compile(rf"(?<!\w)(?:{'|'.join(re.escape(n) for n in names)})(?!\w)")

    @cached_property
    def _mismatch(self) -> Callable[[Any], str | None] | None:
        return None if self.schema is None else mismatch_of(self.schema)

    def _label(self, text: str) -> str | None:
        whole = self._by_plain.get(plain_label(text))
        if whole is not None:
            return whole
        words = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
        found = set(self._pattern.findall(words))
        return self._by_plain[found.pop()] if len(found) == 1 else None

    def _gold_label(self, text: str, place: str) -> str:
        label = self._by_plain.get(plain_label(text))
        if label is None:
            raise PotstillError(
                f"{place}, has the gold label {text.strip()[:_LONGEST_LABEL]}, which task.labels "
                f"does not allow ({', '.join(self.labels)}); add it there, or correct the row"
            )
        return label

    def _gold_object(self, value: Any, place: str) -> dict[str, Any]:
        answer = first_object(value) if isinstance(value, str) else value
        if not isinstance(answer, dict):
            raise PotstillError(f"{place}, has a gold answer that is no JSON object; correct it")
        if not self.fits_schema(answer):
            raise PotstillError(
                f"{place}, has a gold answer that does not fit task.json_schema; correct either"
            )
        return answer


def plain_text(text: str) -> str:
    """Return text without case, extra white space, outer quotes and a final full stop."""
    words = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return words.strip(_QUOTES).removesuffix(".").strip(_QUOTES + " ")


def first_object(text: str) -> dict[str, Any] | None:
    """Return the first complete JSON object in a text, or None.

    An object that is cut off hides what is inside it: a truncated answer has none. NaN and
    infinities are no JSON.
    """
    decoder = json.JSONDecoder(parse_constant=_no_json)
    start = text.find("{")
    while start >= 0:
        try:
            value, _ = decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            # What was read up to here belongs to the broken object.
            start = text.find("{", max(start + 1, error.pos))
        except (ValueError, RecursionError):
            return None
        else:
            return value if isinstance(value, dict) else None
    return None


def _no_json(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _schema_of(task: TaskConfig) -> Mapping[str, Any] | None:
    if not isinstance(task.json_schema, str):
        return task.json_schema
    path = Path(task.json_schema).expanduser()
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PotstillError(
            f"the schema {task.json_schema} does not exist; check task.json_schema"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise PotstillError(
            f"the schema {path.name} cannot be read ({type(error).__name__}); check the file"
        ) from None
    except (ValueError, RecursionError):
        raise PotstillError(
            f"the schema {path.name} is not valid JSON; save it as one JSON object"
        ) from None
    problem = schema_problem(schema)
    if problem is not None:
        raise PotstillError(f"the schema {path.name} is no JSON schema: {problem}")
    assert isinstance(schema, dict)
    return schema
