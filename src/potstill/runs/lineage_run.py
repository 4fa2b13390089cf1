"""Where a finished run and its student came from, as their manifests say it, signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from potstill.canonical import canonical_text
from potstill.durable import write_bytes
from potstill.errors import PotstillError
from potstill.evaluate.again import figures_in
from potstill.exchanges.exchange import Exchange
from potstill.lineage import manifest
from potstill.lineage.bom import VERSIONS, as_bytes, bom_file, bom_of
from potstill.lineage.card import CARD_FILE, card_of
from potstill.lineage.chain import keep_ancestors, manifest_of_model
from potstill.lineage.data import AnsweredPrompt, data_facts
from potstill.lineage.document import (
    MANIFEST_FILE,
    LineageFacts,
    ModelFacts,
    manifest_digest,
    manifest_in,
)
from potstill.lineage.files import entry_of
from potstill.lineage.keys import SigningKey, local_key
from potstill.lineage.operations import operations_of, whole_training
from potstill.models.load import locate
from potstill.models.loaded import LoadedModel
from potstill.models.saved_form import needed_version
from potstill.models.size import model_files
from potstill.progress import Progress
from potstill.runs.parts import Parts
from potstill.work.access import RightAnswers, Weights
from potstill.work.evaluation import Evaluation
from potstill.work.items import ITEMS_FILE
from potstill.work.records import Checked, TrainingOrder, Watermark
from potstill.work.stage_records import EvaluateRecord


def lineage_facts(
    parts: Parts,
    evaluation: Evaluation,
    rows: Sequence[Exchange],
    student: LoadedModel,
    permitted: Mapping[str, Any],
) -> LineageFacts:
    """Return where a run and its student came from.

    `rows` are all stored answers, `permitted` the gate's decisions as JSON values.
    """
    recipe, made_of = parts.recipe, _made_of(parts)
    teacher, base = (facts for facts, _ in made_of)
    operations = operations_of(evaluation.cost.total.flops, teacher, base)
    return LineageFacts(
        teacher=teacher,
        base=base,
        student=ModelFacts(identity=student.identity, tokenizer=student.tokenizer_id),
        seeds={"recipe": recipe.seed},
        data=data_facts(AnsweredPrompt(r.exchange_id, r.prompt_id, r.split) for r in rows),
        watermark=_recorded(parts, Watermark),
        training_order=_recorded(parts, TrainingOrder),
        trust_remote_code=recipe.teacher.trust_remote_code,
        figures=figures_in(evaluation).model_dump(mode="json"),
        overlap=evaluation.overlap.model_dump(mode="json"),
        cost=evaluation.cost.model_dump(mode="json"),
        operations=operations.model_dump(mode="json"),
        **permitted,
    )


def write_lineage(parts: Parts, facts: LineageFacts) -> None:
    """Write what a student carries wherever it is copied, then the run's manifest, both signed."""
    run, recipe = parts.run, parts.recipe
    _write_items(parts)
    _write_cards(parts, facts)
    keep_ancestors(run.student, [path for _, path in _made_of(parts) if path is not None])
    signer = own_signer(parts.progress)
    manifest.write_student(run.student, recipe, facts, signer)
    manifest.write(run, facts, signer)


def _write_cards(parts: Parts, facts: LineageFacts) -> None:
    """Write what a student says of itself to those who read cards and bills of materials."""
    run, name = parts.run, parts.recipe.name
    card = card_of(name, facts, needed_version(run.student))
    run.write_text(f"student/{CARD_FILE}", card)
    files = {path.name: entry_of(path) for path in model_files(run.student)}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for spec in VERSIONS:
        bom = bom_of(name, facts, files, version=spec, created_at=now, potstill=version("potstill"))
        write_bytes(run.student / bom_file(spec), as_bytes(bom))


def own_signer(progress: Progress) -> SigningKey | None:
    """Return the key that this machine's runs are signed with; None where there can be none.

    What is new or wrong about it is said.
    """
    try:
        key = local_key()
    except PotstillError as error:
        progress.note(f"the manifest is not signed: {error}; potstill sign signs it later")
        return None
    if key.new:
        progress.note(
            f"a key to sign manifests with was made: {key.path}; keep a copy of it where nobody "
            f"else reads it, and give whoever verifies {key.path.name}.pub, which lies beside it"
        )
    return key


def _made_of(parts: Parts) -> tuple[tuple[ModelFacts | None, Path | None], ...]:
    """Return teacher and base, each with its directory where it carries a manifest of its own."""
    author, named = parts.access.author, parts.access.student
    weights = parts.opened.teacher if isinstance(author, Weights) else None
    teacher: ModelFacts | None = None
    if not isinstance(author, RightAnswers):
        teacher = ModelFacts(
            model=None if parts.access.reader is not None else shown_name(author.model),
            identity=parts.author_identity,
            tokenizer=None if weights is None else weights.tokenizer_id,
            training_flops=parts.recipe.cost.teacher_training_flops,
        )
    teacher_at = None if weights is None else weights.directory
    if named is None:
        return _with_manifest(teacher, teacher_at), _with_manifest(teacher, teacher_at)
    checked = parts.run.done(Checked)
    known = {} if checked is None else checked.models
    base = ModelFacts(
        model=shown_name(named.model),
        identity=known.get("student.model"),
        training_flops=parts.recipe.cost.base_training_flops,
    )
    base_at = locate(named.model, revision=named.revision)
    return _with_manifest(teacher, teacher_at), _with_manifest(base, base_at)


def _with_manifest(
    model: ModelFacts | None, directory: Path | None
) -> tuple[ModelFacts | None, Path | None]:
    found = None if model is None else manifest_of_model(directory, model.identity)
    if model is None or found is None:
        return model, None
    whole = whole_training(manifest_in(MANIFEST_FILE, found))
    more = {"training_flops": model.training_flops or whole, "manifest": manifest_digest(found)}
    return model.model_copy(update=more), directory


def shown_name(model: str) -> str:
    """Return what a model is called where others read it: of a path on this machine, its end."""
    path = Path(model).expanduser()
    return path.name if path.is_absolute() or path.exists() else model


def _recorded(parts: Parts, record: Any) -> dict[str, Any] | None:
    found = parts.run.done(record)
    return None if found is None else found.as_json()


def _write_items(parts: Parts) -> None:
    """Write what was measured of each prompt; runs of older versions kept none."""
    evaluated = parts.run.done(EvaluateRecord)
    path = parts.run.student / ITEMS_FILE
    path.unlink(missing_ok=True)
    if evaluated is not None and evaluated.items is not None:
        values = evaluated.items.model_dump(mode="json", by_alias=True, exclude_none=True)
        parts.run.write_text(f"student/{ITEMS_FILE}", f"{canonical_text(values)}\n")
