"""JSON schemas in recipes: checked when they are given, and never reaching outside themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_DEPTH = "depth"
_NESTED = "it is nested too deeply"


def schema_problem(schema: Any) -> str | None:
    """Return what keeps a value from being used as a JSON schema, in words; None if nothing.

    References may only point into the schema itself, or to the published meta-schemas: nothing
    is fetched.
    """
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    if not isinstance(schema, dict):
        return "it must be an object, for example {type: object, properties: {city: {...}}}"
    try:
        validator_for(schema).check_schema(schema)
        problem = _unresolved(schema)
    except SchemaError as error:
        where = ".".join(str(part) for part in error.absolute_path) or "its top level"
        return f"{where} breaks the rule `{error.validator}` of JSON schemas; correct it there"
    except RecursionError:
        return _NESTED
    if problem is not None:
        return problem
    mismatch = mismatch_of(schema)
    trials: tuple[Any, ...] = (None, 0, "", [], {})
    if any(mismatch(trial) == _DEPTH for trial in trials):
        return "it refers to itself without end"
    return None


def mismatch_of(schema: Mapping[str, Any]) -> Callable[[Any], str | None]:
    """Return what holds a JSON value against a sound schema.

    It returns the keyword of the schema that a value does not fit (`required`, `type`), `depth`
    for a value that is nested too deeply to be judged, or None.
    """
    from jsonschema.validators import validator_for
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

    # A registry that fetches nothing; jsonschema's default one would ask the network.
    validator = validator_for(schema)(schema, registry=REGISTRY)

    def mismatch(value: Any) -> str | None:
        try:
            error = next(validator.iter_errors(value), None)
        except RecursionError:
            return _DEPTH
        return None if error is None else str(error.validator)

    return mismatch


def _unresolved(schema: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the first reference that does not resolve, or None."""
    from jsonschema_specifications import REGISTRY
    from referencing import Resource
    from referencing.jsonschema import DRAFT202012

    resource = Resource.from_contents(schema, default_specification=DRAFT202012)
    registry = REGISTRY.with_resource("", resource)
    return _followed(resource, registry.resolver_with_root(resource))


def _followed(resource: Any, resolver: Any) -> str | None:
    """Resolve every reference in a schema and its subschemas."""
    from referencing.exceptions import Unresolvable

    if isinstance(resource.contents, Mapping):
        for keyword in ("$ref", "$dynamicRef"):
            target = resource.contents.get(keyword)
            if not isinstance(target, str):
                continue
            try:
                resolver.lookup(target)
            except (Unresolvable, ValueError):
                if target.startswith("#"):
                    return (
                        f"the reference {target[:60]} leads nowhere; define it, or correct its name"
                    )
                return (
                    f"the reference {target[:60]} leads out of it; write that part out under "
                    "$defs and refer to #/$defs/NAME"
                )
    found = (_followed(inner, resolver.in_subresource(inner)) for inner in resource.subresources())
    return next((problem for problem in found if problem is not None), None)
