"""An authorisation: a file in which a rights holder permits what a licence does not.

It has a form, which says who permits what until when:

    authorisation: 1
    who: Example Corp., legal department
    what: [example/large-model]
    until: 2027-06-30

Older files are free text: their digest is recorded, and that nothing in them could be checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from blake3 import blake3
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from potstill.durable import no_file
from potstill.errors import PotstillError
from potstill.terms.facts import normalised
from potstill.terms.reading import yaml_once
from potstill.terms.use import INTENTS, Intent, StudentKind, Use

_FORM = 1
_KEYS = ("who", "what", "until")
_EXAMPLE = (
    "write `authorisation: 1`, `who:` (the rights holder), `what:` (the models, licences or "
    "services) and `until:` (a day, 2027-06-30) into it"
)
# Of the form wherever it begins: text around it would otherwise free it from its own conditions.
_BEGINNING = re.compile(r"(?mi)^[\s\ufeff{-]*[\"']?authori[sz]ation[\"']?\s*:\s*(\S*\d|$)")
_MOST_BYTES = 1_000_000
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _day(value: Any) -> Any:
    """Return a day; one with a time or a zone, or a number of seconds, could be another."""
    if type(value) is date or (isinstance(value, str) and _DAY.fullmatch(value)):
        return value
    raise ValueError("no day")


class Permission(BaseModel):
    """What an authorisation of form 1 says; `intents` and `students` are any where left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    authorisation: Literal[1]
    who: Name
    what: Annotated[tuple[Name, ...], BeforeValidator(_listed)] = Field(min_length=1)
    until: Annotated[date, BeforeValidator(_day)]
    to: str | None = None
    intents: Annotated[tuple[Intent, ...], BeforeValidator(_listed)] = ()
    students: Annotated[tuple[StudentKind, ...], BeforeValidator(_listed)] = ()
    text: str | None = None

    def covers(self, names: Iterable[str]) -> bool:
        """Tell whether it names any of the names that something goes by."""
        named = {normalised(name) for name in self.what}
        return any(normalised(name) in named for name in names)

    def allows(self, use: Use) -> bool:
        """Tell whether it is for what a student is and may be for."""
        intents = self.intents or INTENTS
        return use.kind in (self.students or (use.kind,)) and set(use.intents) <= set(intents)


@dataclass(frozen=True)
class Authorisation:
    """An authorisation that was read: its digest, and what it says; None of free text."""

    digest: str
    permission: Permission | None

    def record(self) -> dict[str, object]:
        """Return JSON values: who permits what until when, or that nothing was checked."""
        if self.permission is None:
            return {"form": "free text, of which nothing could be checked", "digest": self.digest}
        said = self.permission.model_dump(mode="json", exclude={"text", "authorisation"})
        return {"form": f"form {_FORM}", "digest": self.digest, **said}

    def said(self) -> str:
        """Return in a sentence who permits what, and until when."""
        if self.permission is None:
            return (
                "the authorisation is free text, as older ones are: who gives it, for what and "
                "until when could not be checked"
            )
        permission = self.permission
        return (
            f"{permission.who} permits {', '.join(permission.what)} until "
            f"{permission.until.isoformat()}"
        )


def read_authorisation(path: str, setting: str) -> Authorisation:
    """Return the authorisation in a file, which `setting` names.

    Raises PotstillError where it cannot be read, says nothing, or is of another form.
    """
    file = Path(path).expanduser()
    try:
        with file.open("rb") as opened:
            content = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise PotstillError(
            f"the authorisation {path} {no_file(file) or 'cannot be read'}; check {setting}"
        ) from error
    if not content.strip():
        raise PotstillError(
            f"the authorisation {path} is empty; put the rights holder's permission into it"
        )
    digest = f"blake3:{blake3(content).hexdigest()}"
    return Authorisation(digest, _permission(_text(content, path), path))


def require_fitting(
    read: Authorisation, path: str, names: tuple[str, ...], use: Use, today: date
) -> None:
    """Raise PotstillError where an authorisation has ended, or is not for what is to be done.

    `names` are those that a teacher, its licences and its service go by.
    """
    permission = read.permission
    if permission is None:
        return
    if today > permission.until:
        raise PotstillError(
            f"the authorisation {path} ended on {permission.until.isoformat()}; ask "
            f"{permission.who} for a new one"
        )
    if not permission.covers(names):
        raise PotstillError(
            f"the authorisation {path} is for {', '.join(permission.what)}, and not for "
            f"{names[0]}; name the one that is"
        )
    if not permission.allows(use):
        intents = ", ".join(permission.intents or INTENTS)
        kinds = ", ".join(permission.students) or "any"
        raise PotstillError(
            f"the authorisation {path} is for intents {intents} and students {kinds}, and this is "
            f"{use}; state the intent that it is for, or ask {permission.who} for more"
        )


def _text(content: bytes, path: str) -> str:
    try:
        if len(content) > _MOST_BYTES or b"\0" in content:
            raise ValueError
        return content.decode("utf-8-sig")
    except ValueError:
        raise PotstillError(
            f"the authorisation {path} is no text file (UTF-8); save the permission as text"
        ) from None


def _permission(text: str, path: str) -> Permission | None:
    """Return what a text says in form 1; None where it is free text."""
    try:
        values = yaml_once(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        if _BEGINNING.search(text):
            raise _other_form(path, "cannot be read as YAML in which each key stands once")
        return None
    keys = {str(key).strip().lower().replace("z", "s"): key for key in values}
    if "authorisation" not in keys:
        if any(key in keys for key in _KEYS):
            raise _other_form(path, "does not say which form it has")
        return None
    stated = values[keys["authorisation"]]
    if stated != _FORM or isinstance(stated, bool):
        raise _other_form(path, f"is of form {str(stated)[:40]}, and potstill knows form {_FORM}")
    try:
        return Permission.model_validate({"authorisation": _FORM, **_others(values)})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][:1])
        raise _other_form(path, _fault(where, first["type"])) from None


def _others(values: dict[Any, Any]) -> dict[str, Any]:
    named = {str(key): value for key, value in values.items()}
    spelt = ("authorisation", "authorization")
    return {key: value for key, value in named.items() if key.strip().lower() not in spelt}


def _fault(where: str, kind: str) -> str:
    if kind == "missing":
        return f"does not say {where}"
    if kind == "extra_forbidden":
        return f"has a key {where[:40]}, which form {_FORM} does not"
    return f"has a value of {where} that form {_FORM} does not take"


def _other_form(path: str, fault: str) -> PotstillError:
    return PotstillError(f"the authorisation {path} {fault}; {_EXAMPLE}")
