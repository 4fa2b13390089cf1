"""What a response says as an answer: a label, a JSON value, a number, or short text.

The one reader of answers: tasks score by it and curation checks by it, so that an answer is never
right for the one and wrong for the other. Reasoning is set apart first. Everything here is pure:
text in, answer out. Model-written text is only ever read. Rules and examples:
docs/methods/tasks.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from potstill.durable import no_file
from potstill.errors import PotstillError
from potstill.recipe import TaskConfig
from potstill.recipe.json_schema import mismatch_of, schema_problem
from potstill.text.forms import short_answer
from potstill.text.labels import LabelReader
from potstill.text.reasoning import split_trace
from potstill.text.values import JsonFound, first_object, json_value, last_number

# A label in the spelling of the recipe, a JSON object, or text in its plain form.
AnswerValue = str | dict[str, Any]
AnswerKind = Literal["label", "json", "text"]

_LONGEST_LABEL = 60  # characters of a gold label that an error quotes


def read_text(response: str) -> str | None:
    """Return a response's short text in its plain form, None where it is blank."""
    return short_answer(split_trace(response).answer) or None


def read_label(response: str, labels: LabelReader) -> str | None:
    """Return the label that a response gives; None where there is none, or more than one."""
    return labels.read(split_trace(response).answer)


def read_json(response: str) -> JsonFound | None:
    """Return the JSON value that a response gives, and what stands around it."""
    return json_value(split_trace(response).answer)


def read_number(response: str) -> Decimal | None:
    """Return the last number of a response."""
    return last_number(split_trace(response).answer)


@dataclass(frozen=True)
class AnswerForm:
    """What counts as an answer; `schema` is None where any JSON object will do."""

    kind: AnswerKind
    labels: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = field(default=None, hash=False)

    @classmethod
    def of(cls, task: TaskConfig) -> AnswerForm:
        """Return the form that a recipe asks for. Raises PotstillError for a broken schema."""
        return cls(kind=task.kind, labels=task.labels, schema=_schema_of(task))

    def read(self, text: str) -> AnswerValue | None:
        """Return the answer in a response; None where there is none, or more than one.

        JSON that is no object is no answer of a task.
        """
        if self.kind == "label":
            return read_label(text, self._reader)
        if self.kind == "json":
            found = read_json(text)
            return found.value if found is not None and isinstance(found.value, dict) else None
        return read_text(text)

    def fits_schema(self, answer: AnswerValue | None) -> bool:
        """Return whether an answer was found and is one that the form allows."""
        if answer is None:
            return False
        return self.kind != "json" or self._mismatch is None or self._mismatch(answer) is None

    def gold(self, value: Any, place: str) -> AnswerValue:
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
        return short_answer(str(value))

    @cached_property
    def _reader(self) -> LabelReader:
        return LabelReader(self.labels)

    @cached_property
    def _mismatch(self) -> Callable[[Any], str | None] | None:
        return None if self.schema is None else mismatch_of(self.schema)

    def _gold_label(self, text: str, place: str) -> str:
        label = self._reader.whole(text)
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
    except (OSError, UnicodeDecodeError):
        raise PotstillError(
            f"the schema {path.name} {no_file(path) or 'is not UTF-8 text'}; check the file"
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
