"""Names that a field of the recipe takes, to which more are added by registering what they name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


class Names:
    """Marks a field of text, `Annotated[str, names]`, that takes one of these and nothing else.

    What a name stands for is registered where it is used (`potstill.logs.forms`,
    `potstill.curate.registry`), so that reading a recipe loads none of it.
    """

    def __init__(self, *names: str) -> None:
        self._names = dict.fromkeys(names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def add(self, name: str) -> None:
        """Let the field take another name."""
        self._names[name] = None

    def remove(self, name: str) -> None:
        """Let the field take a name no longer."""
        self._names.pop(name, None)

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._one)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"enum": list(self), "type": "string"}

    def _one(self, value: Any) -> str:
        if isinstance(value, str) and value in self._names:
            return value
        # As pydantic says it of a Literal, which is what the field is at any time.
        *most, last = map(repr, self._names)
        expected = f"{', '.join(most)} or {last}" if most else last
        raise PydanticCustomError(
            "literal_error", "Input should be {expected}", {"expected": expected}
        )
