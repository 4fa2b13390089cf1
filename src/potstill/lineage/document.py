"""The manifest as a document: what it says, and reading it without anything heavy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError

from potstill.canonical import digest_of_bytes, labelled, parsed_once
from potstill.durable import no_file
from potstill.errors import PotstillError
from potstill.lineage.files import FileEntry

MANIFEST_FILE = "manifest.json"
SIGNATURE_FILE = "manifest.json.sig"
# The folder of a run that is copied out of it, with a manifest of its own.
STUDENT = "student"
Schema = Literal["potstill/manifest/2", "potstill/manifest/1"]
SCHEMA: Schema = "potstill/manifest/2"
_FAMILY = "potstill/manifest/"
# In 1 nothing was said of data, figures and ancestors, and no student had a manifest of its own.
_READ = get_args(Schema)
_Part = TypeVar("_Part", bound=BaseModel)
Digest = Annotated[str, StringConstraints(pattern=r"^blake3:[0-9a-f]{32,64}$")]


class FactPart(BaseModel):
    """A part of a manifest: immutable; what a later version adds to it is left out."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class ModelFacts(FactPart):
    """A model in a lineage.

    `identity` is the digest of weights, config and tokenizer; `manifest` that of the manifest which
    lay beside its weights, whose copy is among the student's `ancestors`. `training_flops` are the
    floating-point operations of its own training, where somebody states them.
    """

    model: str | None = None
    identity: str | None = None
    tokenizer: str | None = None
    manifest: Digest | None = None
    training_flops: float | None = None


class SplitFacts(FactPart):
    """One split of the answers: how many, and digests of their prompts' and their own ids."""

    rows: int
    prompts: Digest
    exchanges: Digest


class DataFacts(FactPart):
    """What was asked and answered, by digests alone: of all prompts, and of each split."""

    prompts: Digest
    exchanges: Digest
    splits: dict[str, SplitFacts] = Field(default_factory=dict)


class SignerFacts(FactPart):
    """Who signs: the public key (PEM), or an identity with whoever vouches for it (Sigstore)."""

    public_key: str | None = None
    identity: str | None = None
    issuer: str | None = None


class LineageFacts(FactPart):
    """Where a run or a student came from; every part may be unknown."""

    signer: SignerFacts | None = None
    teacher: ModelFacts | None = None
    base: ModelFacts | None = None
    student: ModelFacts | None = None
    terms: dict[str, JsonValue] | None = None
    reader: dict[str, JsonValue] | None = None
    base_terms: dict[str, JsonValue] | None = None
    seeds: dict[str, int] | None = None
    data: DataFacts | None = None
    watermark: dict[str, JsonValue] | None = None
    training_order: dict[str, JsonValue] | None = None
    trust_remote_code: bool | None = None
    figures: dict[str, JsonValue] | None = None
    overlap: dict[str, JsonValue] | None = None
    cost: dict[str, JsonValue] | None = None
    operations: dict[str, JsonValue] | None = None


class Manifest(LineageFacts):
    """A manifest. `files` holds every file but the manifest, its signature and later additions."""

    schema_name: Schema = Field(SCHEMA, alias="schema")
    kind: Literal["run", "student", "addition"] = "run"
    created_at: str = ""
    run: str = ""
    recipe: str = ""
    # Of an addition: the digest of what it is added to.
    added_to: Digest | None = None
    packages: dict[str, str] = Field(default_factory=dict)
    hardware: dict[str, JsonValue] = Field(default_factory=dict)
    files: dict[str, FileEntry]

    def as_bytes(self) -> bytes:
        """Return the file's content; what is unknown is left out."""
        values = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return f"{json.dumps(values, indent=2, ensure_ascii=False)}\n".encode()


def read_manifest(path: Path) -> Manifest:
    """Return the manifest in a file.

    Raises PotstillError where there is none, where it cannot be read, and where a later version of
    potstill wrote it.
    """
    return manifest_in(path.name, bytes_of(path))


def bytes_of(path: Path) -> bytes:
    """Return the bytes of a manifest. Raises PotstillError where there is no plain file."""
    if path.is_symlink():
        raise PotstillError(f"{path.name} is a link; put the file itself there")
    if no_file(path) is not None:
        raise PotstillError(
            f"{path.name} is missing: the run has not finished, or it was removed; finish it, or "
            "get the whole directory from whoever made it"
        )
    if not path.is_file():
        raise PotstillError(f"{path.name} is no plain file; put the file itself there")
    return path.read_bytes()


def manifest_in(name: str, content: bytes) -> Manifest:
    """Return the manifest in the bytes of the file `name`. Raises as `read_manifest` does."""
    try:
        values: Any = parsed_once(content.decode("utf-8"))
        schema = values["schema"]
    except (ValueError, KeyError, TypeError):
        raise _unreadable(name) from None
    if schema not in _READ:
        raise PotstillError(
            f"{name} has schema {str(schema)[:80]}, this version of potstill knows {SCHEMA}; "
            + (
                "verify with the version that wrote it"
                if str(schema).startswith(_FAMILY)
                else "it is no manifest of potstill"
            )
        )
    try:
        return Manifest.model_validate(values)
    except ValidationError:
        raise _unreadable(name) from None


def manifest_digest(content: bytes) -> str:
    """Return the digest by which another manifest names this one."""
    return labelled(digest_of_bytes(content, 32))


def stated_part(kind: type[_Part], values: object, name: str) -> _Part:
    """Return a part of a manifest as what it is. Raises PotstillError for something else."""
    try:
        return kind.model_validate(values)
    except ValidationError:
        raise PotstillError(
            f"{MANIFEST_FILE} holds {name} that this version of potstill does not read; get the "
            "directory as it was from whoever made it"
        ) from None


def _unreadable(name: str) -> PotstillError:
    return PotstillError(f"{name} cannot be read; get the directory as it was from whoever made it")
