"""What sections of a recipe have in common."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict


class Section(BaseModel):
    """Base of every section: immutable, and unknown keys are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


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
