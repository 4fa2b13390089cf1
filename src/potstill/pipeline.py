"""The only place that knows the order of the stages.

terms gate -> collect -> shrink -> train -> evaluate -> report -> manifest. Each stage records what
it did in the run directory, so that the same call goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from potstill.collect.answers import Question, collect, plan_waves, questions
from potstill.collect.magpie import written_prompts
from potstill.collect.prompts import PromptPlan, plan_prompts, read_prompts
from potstill.collect.targets import target_specs, training_spec
from potstill.durable import replaced_directory
from potstill.errors import PotstillError
from potstill.evaluate.machine import parameter_count
from potstill.evaluate.measure import evaluate
from potstill.exchanges.exchange import Prompt
from potstill.exchanges.specs import HIDDEN_FP16
from potstill.job import Job, record, same_tokens
from potstill.models.load import load, save
from potstill.models.memory import release_freed
from potstill.models.sampling import Sampling
from potstill.progress import Progress
from potstill.recipe import Recipe, TrainConfig
from potstill.run_report import write_report
from potstill.rundir import RunDir
from potstill.shrink.choose import trims_tokens
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.shrink.shrink import shrink
from potstill.stage_inputs import calibration_rows, held_out, token_weights, validation
from potstill.train.examples import TrainingExample
from potstill.train.loop import train
from potstill.train.target_sources import Scorer, StoredTargets


def distill(
    recipe: Recipe,
    out: Path | None = None,
    *,
    fresh: bool = False,
    until: str | None = None,
    progress: Progress,
) -> RunDir:
    """Run a recipe, or go on with it, and return its run directory, which is no longer held.

    `until` names the last stage (`collect`, `shrink`, `train` or `evaluate`); None goes on to
    report and manifest. A finished run is returned as it is, and nothing is written.
    """
    if until is not None and until not in STAGES:
        raise PotstillError(f"there is no stage {until}; there are {', '.join(STAGES)}")
    with RunDir.open(out or Path("runs") / recipe.name, recipe, fresh=fresh) as run:
        if run.manifest_path.is_file():
            progress.note(f"{run.root} is finished already; --fresh starts over")
            return run
        job = Job(run, recipe, progress)
        try:
            _run_stages(job, until)
        finally:
            job.store.close()
    return run


def _run_stages(job: Job, until: str | None) -> None:
    job.decision.require()
    damaged = job.store.repair()
    for name in damaged:
        job.progress.note(f"{name} was damaged and set aside; its rows are collected again")
    for name, stage in STAGES.items():
        # A damaged file has lost rows: collecting again fetches just those.
        again = name == "collect" and (damaged or _rows_are_lost(job))
        if job.run.done(name) is None or again:
            with job.measured() as spent:
                result = stage(job)
            job.run.finish(name, {**result, **spent})
            release_freed()
        if name == until:
            return
    job.store.compact()
    job.store.close()
    write_report(job)


def _rows_are_lost(job: Job) -> bool:
    """Tell whether the store holds less than collecting left there.

    So it is where a call set a damaged shard aside and was killed before its rows were back.
    """
    left = (job.run.done("collect") or {}).get("stored", {})
    stored = job.store.stats()
    return any(stored[name] < count for name, count in left.items())


def _collect(job: Job) -> dict[str, Any]:
    plan = _planned(job)
    recipe = job.recipe.collect
    asked = [p for p in plan.prompts if p.split != "held_out"]
    figures = _answers(job, "responses", asked, job.train_sampling(), samples=recipe.samples)
    held_out = list(plan.held_out)
    _answers(job, "held-out responses", held_out, job.held_out_sampling())
    if job.recipe.evaluate.greedy:
        sampling = job.held_out_sampling(greedy=True)
        _answers(job, "held-out greedy responses", held_out, sampling)
    job.store.save_head(job.teacher.identity, job.teacher_head)
    stats = job.store.stats()
    return {
        "figures": figures,
        "overlap": plan.overlap.record(),
        "stored": {name: stats[name] for name in ("exchanges", "targets")},
    }


def _planned(job: Job) -> PromptPlan:
    """Return the run's prompts: planned by its first call, then read back."""

    def read(source: str, config: Any) -> Sequence[tuple[dict[str, str], ...]]:
        if source != "magpie":
            return read_prompts(source, config)
        head = [{"role": "system", "content": config.system}] if config.system else []
        written = written_prompts(
            job.teacher,
            config.magpie,
            job.decision,
            seed=job.recipe.seed,
            slots=job.recipe.collect.slots,
            system=config.system,
            progress=job.progress,
        )
        return [(*head, {"role": "user", "content": text}) for text in written]

    stored = job.run.done("prompts")
    if stored is not None:
        return PromptPlan.from_record(stored)
    plan = plan_prompts(job.recipe.prompts, seed=job.recipe.seed, read=read)
    for note in plan.notes:
        job.progress.note(note)
    job.run.finish("prompts", plan.record())
    return plan


def _answers(
    job: Job,
    label: str,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    samples: int = 1,
) -> dict[str, Any]:
    """Collect one set of responses and return its figures."""
    wanted: list[Question] = questions(job.teacher, prompts, sampling, samples=samples)
    recipe = job.recipe.collect
    figures = collect(
        job.teacher,
        wanted,
        plan_waves(wanted, recipe.slots, recipe.wave),
        sampling,
        job.store,
        job.decision,
        slots=recipe.slots,
        targets=target_specs(recipe, job.recipe.train.temperature),
        progress=job.progress,
        label=label,
    )
    if figures.computed:
        before = figures.slots_busy_before_last_wave
        job.progress.note(
            f"{label}: {figures.computed} responses, {figures.response_tokens} tokens, "
            f"{figures.tokens_per_s:.0f} tokens/s, {figures.slots_busy:.0%} of slots busy"
            + (f" ({before:.0%} before the last wave)" if before is not None else "")
        )
    return record(figures)


def _shrink(job: Job) -> dict[str, Any]:
    recipe = job.recipe
    if recipe.student.model is not None:
        student = load(
            recipe.student.model, device=recipe.device, precision=job.precision, trainable=True
        )
        same_tokens(job.teacher, student, recipe.student.model)
        with replaced_directory(job.untrained) as directory:
            save(student, directory)
        return {"blocks": None}
    shrunk = shrink(
        job.teacher,
        recipe.shrink,
        calibration_rows(job, recipe.shrink.calibration_tokens),
        token_weights(job) if trims_tokens(recipe.shrink, job.teacher.tokenizer) else None,
        measure=validation(job),
        progress=job.progress,
    )
    if shrunk.vocabulary is not None:
        shrunk.vocabulary.save(job.vocabulary_path)
    with replaced_directory(job.untrained) as directory:
        save(shrunk.student, directory)
    plain, healed = shrunk.figures["plain"], shrunk.figures["healed"]
    job.progress.note(
        f"shrink: KL {plain['kl']:.3f} and agreement {plain['agreement']:.3f} cut, "
        f"{healed['kl']:.3f} and {healed['agreement']:.3f} healed, on validation prompts"
    )
    return {**shrunk.figures, **shrunk.cut.record()}


def _train(job: Job) -> dict[str, Any]:
    result = train_student(job, job.recipe.train, "checkpoints", job.run.student, log_as=None)
    if job.recipe.evaluate.cross_entropy_baseline:
        text_only = job.recipe.train.model_copy(update={"cross_entropy": 1.0})
        directory = job.run.root / "cross_entropy"
        result["cross_entropy"] = train_student(
            job, text_only, "checkpoints-cross-entropy", directory, log_as="cross_entropy"
        )
    return result


def train_student(
    job: Job, config: TrainConfig, checkpoints: str, directory: Path, *, log_as: str | None
) -> dict[str, Any]:
    """Train the untrained student once and save what comes out; return the figures."""
    student = job.load_student(job.untrained, trainable=True)
    texts = job.texts(job.exchanges("train"), student)
    examples = [
        TrainingExample(t.exchange.exchange_id, t.prompt_ids, t.response_ids) for t in texts
    ]
    only_text = config.cross_entropy == 1
    spec = training_spec(job.recipe.collect, config.temperature) or HIDDEN_FP16
    stored = {t.exchange.exchange_id for t in texts if t.unchanged}
    stored &= job.store.target_ids(job.teacher_identity, spec)
    measure = validation(job)
    vocabulary = job.vocabulary
    targets = None
    scores = len(stored) < len(texts)
    if not scores:
        job.release_teacher()
    if not only_text:
        scorer = Scorer(
            job.teacher_identity,
            job.teacher_head,
            vocabulary,
            job.teacher if scores else None,
            job.to_teacher,
        )
        targets = StoredTargets(job.store, spec, stored, scorer, student.compute_dtype)
        targets.prepare(examples, job.progress)

    def log(entry: dict[str, Any]) -> None:
        job.run.log({**entry, **({"student": log_as} if log_as else {})})

    result = train(
        student,
        examples,
        config=config,
        seed=job.recipe.seed,
        targets=targets,
        checkpoints=job.run.root / checkpoints,
        validate=lambda model: measure(model, vocabulary),
        log=log,
        progress=job.progress,
    )
    with replaced_directory(directory) as partial:
        save(student, partial)
    return {
        **record(result),
        "lengths": [[len(e.prompt_ids), len(e.response_ids)] for e in examples],
        "scored_again": len(texts) - len(stored),
    }


def _evaluate(job: Job) -> dict[str, Any]:
    teacher = job.teacher
    directories = {"student": job.run.student, "untrained": job.untrained}
    baseline = job.run.root / "cross_entropy"
    if baseline.is_dir():
        directories["cross_entropy"] = baseline
    students = {name: job.load_student(path) for name, path in directories.items()}
    shrunk = job.run.done("shrink") or {}
    if shrunk.get("blocks") is not None:
        students["pruned"], _ = pruned(teacher, Cut.from_record(shrunk))
        # Cut from fp32 weights, it is measured in the dtype that the other students are read in.
        students["pruned"].network.to(teacher.compute_dtype)
    measured = evaluate(
        teacher,
        students,
        held_out(job, students["student"], greedy=False),
        held_out(job, students["student"], greedy=True) if job.recipe.evaluate.greedy else [],
        vocabulary=job.vocabulary,
        config=job.recipe.evaluate,
        directories={**directories, "teacher": teacher.directory or Path()},
        seed=job.recipe.seed,
        progress=job.progress,
    )
    sections = {
        name: _plain(getattr(measured, name))
        for name in ("held_out", "models", "differences", "vocabulary", "samples")
    }
    return {
        "sections": sections,
        "read": {name: list(lengths) for name, lengths in measured.read.items()},
        "student_params": parameter_count(students["student"].network),
    }


STAGES: dict[str, Callable[[Job], dict[str, Any]]] = {
    "collect": _collect,
    "shrink": _shrink,
    "train": _train,
    "evaluate": _evaluate,
}


def _plain(value: Any) -> Any:
    """Return pydantic parts as JSON values, however they are nested."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value
