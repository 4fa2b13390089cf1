"""What sections of a recipe have in common."""

from __future__ import annotations

import json
from typing import Annotated, Any, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo, field_validator


class Section(BaseModel):
    """Base of every section: immutable, and unknown keys are an error.

    A number is a number and a truth value a truth value: nothing is made of what looks like one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _list_for_a_tuple(cls, value: Any, info: ValidationInfo) -> Any:
        # YAML and JSON have lists alone.
        if not isinstance(value, list) or info.field_name is None:
            return value
        annotation = cls.model_fields[info.field_name].annotation
        forms = (annotation, *get_args(annotation))
        return tuple(value) if any(get_origin(form) is tuple for form in forms) else value


def _named_values(values: dict[str, Any]) -> dict[str, Any]:
    wrong = [name for name in values if not name.isidentifier()]
    if wrong:
        raise ValueError(
            "template_arguments must have names that a template can read: letters, digits and "
            "underscores, not beginning with a digit; rename them"
        )
    try:
        json.dumps(values, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ValueError(
            "template_arguments must hold JSON values: text, finite numbers, true, false, null, "
            "lists and mappings; put dates in quotes"
        ) from None
    return values


TemplateArguments = Annotated[dict[str, Any], AfterValidator(_named_values)]
"""What a chat template is given beside the messages."""


def section_of(annotation: Any) -> type[Section] | None:
    """Return the section class that a field holds, or None for a plain value."""
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, Section):
            return part
    return None
