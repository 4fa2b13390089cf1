"""A student as a CycloneDX machine-learning bill of materials, from what its manifest says.

Written as JSON: the format's library knows model cards when it validates and loses them when it
writes. What it does not look at, references to nothing and names that two things have, is checked
here.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from potstill.errors import PotstillError
from potstill.lineage.document import LineageFacts, ModelFacts, SplitFacts
from potstill.lineage.files import FileEntry
from potstill.lineage.operations import operation_sentences
from potstill.lineage.told import told_costs, told_decisions, told_digests, told_figures, told_terms

VERSIONS = ("1.6", "1.7")
# Random once, so that equal lineages have equal serial numbers.
_NAMESPACE = uuid.UUID("6d1f5a0e-8a0c-4c9a-9a53-0f3f1c8b7e21")
Json = dict[str, Any]


def bom_file(version: str) -> str:
    """Return the name of the file of a version of the format."""
    return f"bom-{version}.cdx.json"


def bom_of(
    name: str,
    facts: LineageFacts,
    files: Mapping[str, FileEntry],
    *,
    version: str,
    created_at: str,
    potstill: str,
) -> Json:
    """Return the bill of materials of the student of the run `name`.

    `files` are those that its weights, config and tokenizer lie in. Raises PotstillError where a
    reference in it would be to nothing.
    """
    data = _data(facts)
    bom: Json = {
        "$schema": f"http://cyclonedx.org/schema/bom-{version}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": version,
        "serialNumber": f"urn:uuid:{_serial(facts, name)}",
        "version": 1,
        "metadata": {
            "timestamp": created_at,
            "tools": {
                "components": [{"type": "application", "name": "potstill", "version": potstill}]
            },
            "component": _student(name, facts, [one["bom-ref"] for one in data]),
        },
        "components": [*data, *_files(files)],
        "dependencies": [
            {"ref": "student", "dependsOn": [one["bom-ref"] for one in data]},
        ],
    }
    require_references(bom)
    return bom


def as_bytes(bom: Json) -> bytes:
    """Return the file's content."""
    return f"{json.dumps(bom, indent=2, ensure_ascii=False)}\n".encode()


def require_references(bom: Json) -> None:
    """Raise PotstillError where a bill refers to what is not in it, or two things have one name."""
    names = list(_values(bom, ("bom-ref",)))
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise PotstillError(
            f"two things in the bill of materials are called {twice}; name one anew"
        )
    lost = next((r for r in _values(bom, ("ref", "dependsOn")) if r not in names), None)
    if lost is not None:
        raise PotstillError(
            f"the bill of materials refers to {lost}, which is not in it; put that in, or leave "
            "the reference out"
        )


def _values(tree: Any, keys: tuple[str, ...]) -> Iterator[str]:
    if isinstance(tree, list):
        for one in tree:
            yield from _values(one, keys)
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key in keys:
                yield from [value] if isinstance(value, str) else value
            else:
                yield from _values(value, keys)


def _student(name: str, facts: LineageFacts, data: list[str]) -> Json:
    kept = (one for _, terms in told_decisions(facts) for one in terms.conditions)
    conditions = list(dict.fromkeys(kept))
    return {
        "type": "machine-learning-model",
        "bom-ref": "student",
        "name": name,
        "pedigree": _pedigree(facts),
        "modelCard": {
            "modelParameters": {
                "approach": {"type": "supervised"},
                "task": "text-generation",
                "datasets": [{"ref": ref} for ref in data],
            },
            "quantitativeAnalysis": {"performanceMetrics": list(_metrics(facts))},
            "considerations": {
                "technicalLimitations": list(operation_sentences(facts)),
                "ethicalConsiderations": [
                    {"name": "obligation", "mitigationStrategy": one} for one in conditions
                ],
            },
        },
        "properties": list(_properties(facts)),
    }


def _pedigree(facts: LineageFacts) -> Json:
    """Return teacher and base as ancestors, each with a note on what it was to the student."""
    same = facts.base is not None and facts.base == facts.teacher
    notes = []
    ancestors = []
    roles: tuple[tuple[str, ModelFacts | None, str], ...] = (
        ("teacher", facts.teacher, "distilled from: the student learnt this model's answers"),
        ("base", facts.base, "the student's weights began as this model's"),
    )
    for role, model, note in roles:
        if model is None or (role == "base" and same):
            continue
        told = f"{note}; {roles[1][2]}, cut" if same else note
        named = model.model or f"{role}, not named"
        ancestors.append(_ancestor(role, named, model, told, facts))
        notes.append(f"{named}: {told}.")
    return {"ancestors": ancestors, "notes": " ".join(notes) or "No model was asked."}


def _ancestor(role: str, named: str, model: ModelFacts, note: str, facts: LineageFacts) -> Json:
    found: Json = {
        "type": "machine-learning-model",
        "bom-ref": role,
        "name": named,
        "description": note,
        "properties": [
            _property(f"{role}:{key}", value)
            for key, value in model.model_dump(exclude_none=True).items()
        ],
    }
    terms = told_terms(facts.terms)
    if role == "teacher" and terms is not None and terms.licences:
        found["licenses"] = [{"license": {"name": one}} for one in terms.licences]
    return found


def _metrics(facts: LineageFacts) -> Iterator[Json]:
    for one in told_figures(facts):
        found: Json = {"type": one.key, "value": repr(one.estimate.value), "slice": "held-out"}
        if one.estimate.ci95 is not None:
            low, high = map(repr, one.estimate.ci95)
            found["confidenceInterval"] = {"lowerBound": low, "upperBound": high}
        yield found


def _properties(facts: LineageFacts) -> Iterator[Json]:
    for what, terms in told_decisions(facts):
        role = "terms" if what == "answers" else what
        yield _property(f"{role}:outcome", terms.outcome)
        yield _property(f"{role}:reason", terms.reason)
        if terms.authorisation is not None:
            yield _property(f"{role}:authorisation", terms.authorisation)
    yield from (_property(f"cost:{one.key}", one.value) for one in told_costs(facts))
    yield from (_property(f"digest:{what}", digest) for what, digest in told_digests(facts))


def _data(facts: LineageFacts) -> list[Json]:
    splits: Mapping[str, SplitFacts] = {} if facts.data is None else facts.data.splits
    return [
        {
            "type": "data",
            "bom-ref": f"data-{name}",
            "name": f"{name} exchanges",
            "data": [
                {
                    "type": "dataset",
                    "name": f"{name}: {split.rows} answers",
                    "contents": {
                        "properties": [
                            _property("rows", str(split.rows)),
                            _property("prompts", split.prompts),
                            _property("exchanges", split.exchanges),
                        ]
                    },
                }
            ],
        }
        for name, split in splits.items()
    ]


def _files(files: Mapping[str, FileEntry]) -> Iterator[Json]:
    for name, entry in sorted(files.items()):
        yield {
            "type": "file",
            "bom-ref": f"file-{name}",
            "name": name,
            "hashes": [{"alg": "BLAKE3", "content": entry.blake3}],
            "properties": [_property("bytes", str(entry.bytes))],
        }


def _property(name: str, value: Any) -> Json:
    return {"name": f"potstill:{name}", "value": str(value)}


def _serial(facts: LineageFacts, name: str) -> uuid.UUID:
    student = None if facts.student is None else facts.student.identity
    return uuid.uuid5(_NAMESPACE, f"{name}\n{student}")
