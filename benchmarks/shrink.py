"""What shrunk students keep, by size and by what was cut.

SmolLM2-135M-Instruct is cut to at most 90, 75, 50 and 35% of its parameters: by depth, feed-forward
channels, heads or vocabulary alone, by all of them jointly, and, to compare, by dropping blocks at
even distances (DistilBERT, Sanh et al. 2019, arXiv 1910.01108, section 3). An axis that cannot go
so far says so. Each student is measured on held-out prompts (teacher text at temperature 1): free
of training (ours healed in closed form, the evenly thinned one as it is), and after the same short
training on the same exchanges, at the one of RATES that leaves it nearer the teacher on validation
prompts: what heals a student that lost much undoes one that lost little. KL is for a token of the
teacher's text, so that students that read more and smaller tokens compare. Writes
benchmarks/results/shrink.json.

Everything is small so that it ends within the hour on two cores: little calibration text, few
validation prompts, few training steps. It ranks ways to cut; it does not show how good a student
gets.

    python benchmarks/shrink.py [--run runs/bench-shrink] [--set shrink.step=0.05]
    python benchmarks/shrink.py --shares 0.9 --ways ffn "evenly thinned" --name shrink-part
"""

from __future__ import annotations

import argparse
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import write_results

from potstill.cli.common import progress_for
from potstill.errors import PotstillError
from potstill.evaluate.held_out import held_out
from potstill.evaluate.summary import grouping, summarise, summed
from potstill.evaluate.text import measure_text
from potstill.evaluate.validation import validation
from potstill.models.load import blocks_of, save
from potstill.models.loaded import LoadedModel
from potstill.models.memory import release_freed
from potstill.models.size import parameter_count
from potstill.recipe.io import packaged_recipe
from potstill.runs import distill as pipeline
from potstill.runs.parts import Parts
from potstill.runs.training import train_once
from potstill.shrink.choose import cuts_along
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.shrink.shrink import healed
from potstill.shrink.sizes import sizes_of
from potstill.shrink.text_needs import calibration_rows, token_weights
from potstill.shrink.trials import as_student_reads, record
from potstill.stats.bootstrap import ratio_interval
from potstill.work.rundir import RunDir

SHARES = (0.90, 0.75, 0.50, 0.35)
EVENLY = "evenly thinned"
WAYS = {
    "joint": ("depth", "ffn", "heads", "vocabulary"),
    "depth": ("depth",),
    "ffn": ("ffn",),
    "heads": ("heads",),
    "vocabulary": ("vocabulary",),
}
SETTINGS = [
    "name=bench-shrink",
    "prompts.limit=260",
    "prompts.held_out_count=40",
    "prompts.validation_count=8",
    "collect.max_tokens=64",
    "evaluate.max_tokens=64",
    "evaluate.greedy=false",
    "shrink.blocks=null",
    "shrink.vocabulary=null",
    "shrink.parameters=0.5",
    "shrink.step=0.15",
    "shrink.candidates=1",
    "shrink.trial_tokens=2048",
    "shrink.calibration_tokens=4000",
    "train.frozen_blocks=0",
    "train.batch_tokens=1000",
    "train.epochs=0.2",
    "train.validate_every=1000",
    "train.checkpoint_every=1000",
]
RATES = (6e-5, 3e-4)
NOTE = (
    "Small calibration and short equal training, to end within the hour on two cores; the numbers "
    "rank ways to cut and are no student's best."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--run", type=Path, default=Path("runs/bench-shrink"))
    parser.add_argument("--name", default="shrink", help="name of the result file")
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="falling")
    parser.add_argument("--ways", nargs="+", default=[EVENLY, *WAYS], choices=[EVENLY, *WAYS])
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    start = time.perf_counter()
    recipe = packaged_recipe("demo", [*SETTINGS, *arguments.overrides])
    pipeline.distill(recipe, arguments.run, until="collect", progress=progress_for(False))
    with RunDir.open(arguments.run, recipe) as run:
        parts = Parts(run, recipe, progress_for(True))
        rows = list(until_stopped(measured_rows(parts, arguments.ways, arguments.shares)))
        dtype = parts.opened.teacher.compute_dtype
        parts.store.close()
    claims = claims_of(rows)
    seconds = time.perf_counter() - start
    claims["seconds"] = {"value": seconds, "unit": "s", "runs": 1}
    rows += [{"note": NOTE}, {"recipe": recipe.model_dump(mode="json")}]
    print(write_results(arguments.name, claims, rows, dtype))


def until_stopped(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the rows, and a last one that says so where the benchmark was stopped before its end.

    What was measured until then is worth keeping: Ctrl-C and SIGTERM end it in this way.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield from rows
    except KeyboardInterrupt:
        yield {"note": "Stopped before the end: the students that are missing were not measured."}


def measured_rows(
    parts: Parts, ways: Sequence[str], shares: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """Yield one row for each student, and one for each that cannot be made."""
    calibration = calibration_rows(parts.corpus, parts.recipe.shrink.calibration_tokens)
    for way, share, made in students(parts, calibration, ways, shares):
        if isinstance(made, PotstillError):
            yield {"way": way, "share": share, "refused": str(made)}
            continue
        cut, searched = made
        start = time.perf_counter()
        row = {"way": way, "share": share, **record(cut, float("nan")), **searched}
        del row["kl"]
        yield row | measured(parts, cut, calibration, heals=way != EVENLY)
        print(
            way, share, f"{searched['trials']} trials, {searched.get('seconds', 0):.0f} s;", end=" "
        )
        print(f"made and measured in {time.perf_counter() - start:.0f} s", flush=True)
        release_freed()


def students(
    parts: Parts,
    calibration: Sequence[Sequence[int]],
    ways: Sequence[str],
    shares: Sequence[float],
) -> Iterator[tuple[str, float, PotstillError | tuple[Cut, dict[str, Any]]]]:
    """Yield (way, share, (cut, trials and seconds of its search) or why there is none)."""
    for share in shares if EVENLY in ways else ():
        thinned = evenly(parts.opened.teacher, share)
        found = thinned if isinstance(thinned, PotstillError) else (thinned, {"trials": 0})
        yield EVENLY, share, found
    weight_V = token_weights(parts.corpus)
    for way in [way for way in ways if way != EVENLY]:
        axes = WAYS[way]
        config = parts.recipe.shrink.model_copy(update={"axes": axes})
        parts.vocabulary = None
        path = cuts_along(
            parts.opened.teacher,
            config,
            calibration,
            weight_V,
            shares,
            measure=validation(parts.corpus),
            progress=parts.progress,
        )
        for share in shares:
            start = time.perf_counter()
            try:
                cut, trials = next(path)
            except PotstillError as error:
                yield way, share, error
                break
            seconds = time.perf_counter() - start
            yield way, share, (cut, {"trials": len(trials), "seconds": seconds})


def evenly(teacher: LoadedModel, share: float) -> Cut | PotstillError:
    """Return what is dropped to keep blocks at even distances, first and last among them."""
    sizes, count = sizes_of(teacher.network), len(blocks_of(teacher.network))
    for left in range(count - 1, 1, -1):
        kept = {round(i) for i in np.linspace(0, count - 1, left)}
        cut = Cut(tuple(i for i in range(count) if i not in kept))
        if sizes.of(cut) <= share * sizes.whole:
            return cut
    return PotstillError(f"two blocks are more than {share:.0%} of the parameters")


def make_untrained(
    parts: Parts, cut: Cut, calibration: Sequence[Sequence[int]], *, heals: bool = True
) -> int:
    """Save the student that a cut describes as the run's untrained one; return its parameters."""
    student, parts.vocabulary = pruned(parts.opened.teacher, cut)
    if heals and (cut.blocks or cut.channels or cut.kv_heads):
        rows = as_student_reads(parts.opened.teacher, student, parts.vocabulary, calibration)
        healed(parts.opened.teacher, student, cut, rows, parts.recipe.shrink, parts.progress)
    save(student, parts.untrained)
    return parameter_count(student.network)


def measured(
    parts: Parts, cut: Cut, calibration: Sequence[Sequence[int]], *, heals: bool
) -> dict[str, Any]:
    """Make a student, measure it, train it, and measure it again."""
    parameters = make_untrained(parts, cut, calibration, heals=heals)
    trained = [at_rate(parts, rate) for rate in RATES]
    best = min(trained, key=lambda found: float(found["validation_kl"]))
    models = {
        "training_free": parts.opened.student(parts.untrained),
        "trained": parts.opened.student(best["directory"]),
    }
    texts = held_out(
        parts.corpus, models["trained"], parts.vocabulary, greedy=False, progress=parts.progress
    )
    found = measure_text(
        parts.opened.teacher,
        models,
        texts,
        parts.vocabulary,
        progress=parts.progress,
        name="held-out text",
    )
    lengths = np.array([len(text.teacher_response_ids) for text in texts], dtype=float)
    tokens = summed(lengths, grouping([text.prompt_id for text in texts]))
    figures: dict[str, Any] = {
        "parameters": parameters,
        "steps": best["steps"],
        "learning_rate": best["learning_rate"],
        "validation_kl_by_rate": [[f["learning_rate"], f["validation_kl"]] for f in trained],
    }
    for name, sums in found.sums.items():
        intervals = summarise(sums, resamples=2000, seed=0)
        intervals["kl_per_teacher_token"] = ratio_interval(sums.kl, tokens, resamples=2000, seed=0)
        figures[name] = {key: interval.as_dict() for key, interval in intervals.items()}
    return figures


def at_rate(parts: Parts, rate: float) -> dict[str, Any]:
    """Train the untrained student at a learning rate; return where it is and its validation KL."""
    shutil.rmtree(parts.run.root / "checkpoints", ignore_errors=True)
    directory = parts.run.root / f"student-{rate:g}"
    config = parts.recipe.train.model_copy(update={"learning_rate": rate})
    training = train_once(parts, config, "checkpoints", directory)
    kl = validation(parts.corpus)(parts.opened.student(directory), parts.vocabulary)["kl"]
    return {
        "directory": directory,
        "learning_rate": rate,
        "validation_kl": kl,
        "steps": training.steps,
    }


def claims_of(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return {claim: {value, unit, runs}}: each way's KL and agreement, and against thinning."""
    claims: dict[str, dict[str, Any]] = {}
    by_name = {(r["way"], r["share"]): r for r in rows if "trained" in r}
    for (way, share), row in by_name.items():
        for when in ("training_free", "trained"):
            name = f"{way.replace(' ', '_')}_{share:.0%}_{when}".replace("%", "")
            kl = row[when]["kl_per_teacher_token"]["value"]
            agreement = row[when]["top1_agreement"]["value"]
            claims[f"kl_{name}"] = {"value": kl, "unit": "nats a token", "runs": 1}
            claims[f"agreement_{name}"] = {"value": agreement, "unit": "share", "runs": 1}
            thinned = by_name.get((EVENLY, share))
            if thinned is not None and way != EVENLY:
                ratio = kl / thinned[when]["kl_per_teacher_token"]["value"]
                claim = {"value": ratio, "unit": "ratio", "runs": 1}
                claims[f"kl_vs_evenly_thinned_{name}"] = claim
    return claims


if __name__ == "__main__":
    main()
