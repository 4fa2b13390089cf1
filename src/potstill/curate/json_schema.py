"""JSON schemas that are checked when they are given, and that never reach outside themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jsonschema
import referencing
from jsonschema.exceptions import SchemaError
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from potstill.errors import PotstillError

Mismatch = str
_DEPTH = "depth"


def compiled(schema: dict[str, Any]) -> Callable[[Any], Mismatch | None]:
    """Return what holds a JSON value against a schema.

    It returns the keyword of the schema that a value does not fit (`required`, `type`), or None.
    Raises PotstillError where the schema is malformed, or refers to anything outside itself.
    """
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        place = "/".join(map(str, error.absolute_path)) or "its top"
        raise PotstillError(
            f"the JSON schema is malformed at {place} (against the keyword {error.validator}); "
            "correct curate.verify.json_schema"
        ) from None
    except RecursionError:
        raise _nested() from None
    _refuse_outside_references(schema)
    # An empty registry fetches nothing; jsonschema's default one would ask the network.
    validator = kind(schema, registry=REGISTRY)

    def mismatch(value: Any) -> Mismatch | None:
        try:
            error = next(validator.iter_errors(value), None)
        except RecursionError:
            return _DEPTH
        return None if error is None else str(error.validator)

    trials: tuple[Any, ...] = (None, 0, "", [], {})
    if any(mismatch(trial) == _DEPTH for trial in trials):
        raise PotstillError(
            "the JSON schema refers to itself without end; correct curate.verify.json_schema"
        )
    return mismatch


def _refuse_outside_references(schema: Mapping[str, Any]) -> None:
    resource = referencing.Resource.from_contents(schema, default_specification=DRAFT202012)
    registry: referencing.Registry[Any] = REGISTRY.with_resource("", resource)
    try:
        _follow(resource, registry.resolver_with_root(resource), [])
    except RecursionError:
        raise _nested() from None


def _follow(resource: Any, resolver: Any, place: list[str]) -> None:
    """Resolve every reference in a schema and its subschemas."""
    contents = resource.contents
    if isinstance(contents, Mapping):
        for keyword in ("$ref", "$dynamicRef"):
            target = contents.get(keyword)
            if not isinstance(target, str):
                continue
            try:
                resolver.lookup(target)
            except (Unresolvable, ValueError):
                raise PotstillError(
                    f"the JSON schema refers to {target}, which is not inside it; write it out "
                    "under $defs and refer to #/$defs/NAME"
                ) from None
    for inner in resource.subresources():
        _follow(inner, resolver.in_subresource(inner), place)


def _nested() -> PotstillError:
    return PotstillError(
        "the JSON schema is nested too deeply to be read; make curate.verify.json_schema flatter"
    )
