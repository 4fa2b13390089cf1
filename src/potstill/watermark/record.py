"""What a key marks with, kept beside the key's file: scheme, parameters, tokenizer.

Nothing in it is secret. Who looks for the marks later has to know all of it, and a wrong tokenizer
finds nothing without saying why.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from potstill.durable import read_object, write_bytes
from potstill.errors import PotstillError
from potstill.watermark.schemes import WIDEST_WINDOW


class MarkRecord(BaseModel):
    """What was marked with a key. Fields that are None are not known, and not checked.

    `key_id` is the digest of the file's key, `tokenizer` that of the tokenizer whose ids were
    marked, `vocabulary` how many ids it has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Aliased, since pydantic has a method of that name.
    form: Literal["potstill/watermark-record/1"] = Field(
        "potstill/watermark-record/1", alias="schema"
    )
    key_id: str | None = None
    scheme: Literal["green", "gumbel"] | None = None
    window: Annotated[int, Field(ge=1, le=WIDEST_WINDOW)] | None = None
    gamma: Annotated[float, Field(gt=0, lt=1)] | None = None
    delta: Annotated[float, Field(gt=0)] | None = None
    tokenizer: str | None = None
    vocabulary: Annotated[int, Field(ge=1)] | None = None


def record_path(key: Path) -> Path:
    """Return where the record of a key's file lies: beside it."""
    return key.parent / f"{key.name}.record.json"


def read_record(key: Path) -> MarkRecord | None:
    """Return the record beside a key's file, None where there is none.

    Raises PotstillError where it is damaged.
    """
    path = record_path(key)
    remedy = "correct it, or take it away and state what it held"
    content = read_object(path, remedy)
    if content is None:
        return None
    try:
        return MarkRecord.model_validate(content)
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise PotstillError(
            f"the record {path} of a watermark key cannot be used (its {field}); {remedy}"
        ) from None


def refuse_other_key(record: MarkRecord, key: Path, key_id: str) -> None:
    """Raise PotstillError unless a record is of the key whose digest is `key_id`: its file's."""
    if record.key_id not in (None, key_id):
        raise PotstillError(
            f"the record beside the key file {key} is of another key (its digest is "
            f"{record.key_id}, the file's is {key_id}); bring back the one of this key"
        )


def write_record(key: Path, record: MarkRecord) -> None:
    """Write the record beside a key's file."""
    content = record.model_dump(by_alias=True, exclude_none=True)
    write_bytes(record_path(key), json.dumps(content, indent=2).encode() + b"\n")
