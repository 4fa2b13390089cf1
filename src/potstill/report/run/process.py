"""How the student came about: collection, curation, cutting and training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from potstill.report import charts, words
from potstill.report.charts import Chart
from potstill.report.run.names import left_out
from potstill.report.tables import FactList, Table, capital, measured, row, table
from potstill.work.evaluation import Closeness, CurationPart, Evaluation, TrainingPart
from potstill.work.marked import MarkedAnswers
from potstill.work.matched_states import MatchedStatesPart
from potstill.work.own_text import OwnTextPart, OwnTextServed
from potstill.work.rounded import RoundedAnswers

SHRINK_HEADS = ("", "KL per token", "Top-1 agreement")


@dataclass(frozen=True)
class FactSection:
    """A section of facts, with charts before them and sentences after."""

    facts: FactList
    charts: list[Chart]
    notes: list[str]


@dataclass(frozen=True)
class ShrinkSection:
    """The section on how the student was cut."""

    facts: FactList
    table: Table | None


def training(evaluation: Evaluation, metrics: Sequence[Mapping[str, Any]]) -> FactSection:
    """Return the loss curve, the validation curve and the facts of training."""
    trained = evaluation.training
    facts: FactList = []
    if trained is not None:
        facts = measured(
            ("Optimiser steps", words.whole(trained.steps)),
            ("Tokens read", words.count(trained.tokens)),
            ("Time", words.duration(trained.seconds)),
            ("Tokens a second", words.significant(trained.tokens_per_s)),
            ("First loss", words.significant(trained.first_loss)),
            ("Last loss", words.significant(trained.last_loss)),
            ("Answers left out for want of likeliest tokens", words.whole(trained.left_out)),
        )
        facts += _kept(trained) + _own_text(trained.on_policy, evaluation.cost.currency)
        facts += _matched(trained.hidden_matching)
    found = []
    own = [record for record in metrics if "own_answers" in record]
    losses = charts.thin(curve([r for r in metrics if "own_answers" not in r], ("loss",)))
    if len(losses) > 1:
        smoothed = charts.smooth(losses, max(3, len(losses) // 12))
        found.append(
            _curve_chart("Training loss", "each step faint, running mean bold", smoothed, losses)
        )
    own_losses = charts.thin(curve(own, ("loss",)))
    if len(own_losses) > 1:
        smoothed = charts.smooth(own_losses, max(3, len(own_losses) // 12))
        note = "each step faint, running mean bold"
        found.append(_curve_chart("Loss on the student's own answers", note, smoothed, own_losses))
    distances = charts.thin(curve(metrics, ("hidden_loss",)))
    if len(distances) > 1:
        note = "the student's hidden states from its teacher's, part of the loss"
        found.append(_curve_chart("Distance of hidden states", note, distances))
    lacking = left_out({} if trained is None else trained.validation_left_out)
    for names, title in (
        (("kl", "kl_per_token", "validation_kl"), "KL on validation prompts"),
        (("own_kl",), "KL(student || teacher) on own answers to validation prompts"),
        (("nll",), "Negative log-likelihood on validation prompts"),
    ):
        points = charts.thin(curve(metrics, names), 120)
        if len(points) > 1:
            note = "nats a token, prompts kept out of training"
            found.append(_curve_chart(title, note + words.in_brackets(lacking), points))
    return FactSection(facts, found, [])


def _own_text(own: OwnTextPart | None, currency: str) -> FactList:
    """Return what the student learnt from answers of its own, and what was odd about them."""
    if own is None:
        return []
    answers = max(1, own.answers)
    return measured(
        ("Steps on the student's own answers", words.whole(own.steps)),
        ("Steps on stored answers", words.whole(own.stored_steps)),
        ("Answers that it wrote", words.whole(own.answers)),
        ("Tokens that it wrote", words.count(own.response_tokens)),
        ("Own answers cut off at the limit", words.percent(own.cut / answers)),
        ("Own answers that repeat themselves", words.percent(own.repeated / answers)),
        (
            "Likeliest tokens shared with the teacher, first answers",
            words.percent(own.overlap_first),
        ),
        ("Likeliest tokens shared with the teacher, last answers", words.percent(own.overlap_last)),
        ("Slots busy while it wrote", words.percent(own.slots_busy)),
        ("Time that it wrote", words.duration(own.writing_s)),
        ("Time that the teacher read its answers", words.duration(own.scoring_s)),
    ) + _own_served(own.served, currency)


def _own_served(served: OwnTextServed | None, currency: str) -> FactList:
    """Return what a server told of the student's own answers, and what it took for that."""
    if served is None:
        return []
    told = (
        f"of {words.whole(served.likeliest + 1)} buckets: the server's "
        f"{words.whole(served.likeliest)} likeliest tokens and the rest as one, a lower bound"
    )
    return measured(
        ("Divergence on own answers", told),
        ("The student's mass in the rest, first answers", words.percent(served.untold_first)),
        ("The student's mass in the rest, last answers", words.percent(served.untold_last)),
        ("Own answers that the server read", words.whole(served.texts)),
        ("Tokens that it read", words.count(served.prompt_tokens)),
        ("Price of its reading", words.money(served.money, currency)),
    )


def _matched(states: MatchedStatesPart | None) -> FactList:
    """Return which hidden states were matched to the teacher's, and how near they came."""
    if states is None:
        return []
    blocks = ", ".join(f"{mine} to {theirs}" for mine, theirs in states.pairs)
    which = [*(["behind the last norm"] if states.last else []), *([blocks] if blocks else [])]
    return measured(
        ("Hidden states matched, student's block to teacher's", "; ".join(which)),
        ("Weights of projections, no part of the student", words.count(states.projection_weights)),
        ("Distance of hidden states, first step", words.significant(states.first)),
        ("Distance of hidden states, last step", words.significant(states.final)),
    )


def _kept(trained: TrainingPart) -> FactList:
    """Return which student was kept, and by what."""
    kept = trained.kept_step
    if kept is None:
        return []
    after = (
        "before training, step 0"
        if kept == 0
        else f"after step {words.whole(kept)} of {words.whole(trained.steps)}"
    )
    if trained.validated_by is None:
        return [("Student that is kept", f"{after}; nothing was measured to choose by")]
    by = {
        "kl": "KL",
        "own_kl": "KL on the student's own answers",
        "kl_both": "KL, mean of that on the teacher's and on the student's own answers,",
        "nll": "negative log-likelihood",
    }[trained.validated_by]
    return measured(
        ("Student that is kept", f"{after}, the best on validation prompts"),
        *(
            (f"Validation {by} a token, {when}", words.significant(value))
            for value, when in (
                (trained.validation_before, "before training"),
                (trained.validation_kept, "as kept"),
                (trained.validation_last, "at the end"),
            )
        ),
    )


def curve(metrics: Iterable[Mapping[str, Any]], names: Sequence[str]) -> list[charts.Point]:
    """Return (step, value) of the first of `names` that each record holds, by step.

    A step that was done twice, after a resume, counts as it was done last. Records of another
    student (`student: cross_entropy`) and values that are not finite are skipped.
    """
    found: dict[float, float] = {}
    for record in metrics:
        if record.get("student", "student") != "student" or not words.known(record.get("step")):
            continue
        value = next((record[name] for name in names if words.known(record.get(name))), None)
        if value is not None:
            found[float(record["step"])] = float(value)
    return sorted(found.items())


def _curve_chart(
    title: str,
    note: str,
    points: Sequence[charts.Point],
    faint: Sequence[charts.Point] = (),
) -> Chart:
    first, last = points[0], points[-1]
    svg = charts.lines(
        points,
        title=f"{title}: {words.significant(first[1])} at step {first[0]:.0f}, "
        f"{words.significant(last[1])} at step {last[0]:.0f}",
        x_label="optimiser step",
        spell=lambda value: f"{value:.4g}",
        faint=faint,
        markers=not faint,
    )
    return Chart(title, note, svg)


def collection(evaluation: Evaluation) -> FactSection:
    """Return the facts of collection and of the held-out split."""
    overlap = evaluation.overlap
    notes = evaluation.collection.notes if evaluation.collection is not None else []
    return FactSection(
        _collected(evaluation)
        + measured(
            ("Held-out prompts", words.whole(overlap.held_out)),
            ("Training prompts", words.whole(overlap.train)),
            ("Held-out prompts also in training", words.whole(overlap.exact)),
            ("Near-duplicates left in training", words.whole(overlap.near)),
            ("Dropped as too alike", words.whole(overlap.dropped_from_training)),
        ),
        _collection_charts(evaluation),
        [capital(note) for note in notes],
    )


def _collected(evaluation: Evaluation) -> FactList:
    found = evaluation.collection
    if found is None:
        return []
    busy = found.slots_busy_before_last_wave
    return measured(
        ("Exchanges", words.whole(found.exchanges)),
        ("Response tokens", words.count(found.response_tokens)),
        ("Time", words.duration(found.seconds)),
        ("Tokens a second", words.significant(found.tokens_per_s)),
        ("Slots busy before the last wave", words.percent(busy)),
        ("Slots busy over all", words.percent(found.slots_busy)),
        ("Waves", words.whole(found.waves)),
        ("Paid to the server", words.money(found.money, evaluation.cost.currency)),
        *((f"No answer: {reason}", words.whole(count)) for reason, count in found.failed.items()),
        *_mark(found.watermark),
        *_rounded(found.int8),
    )


def _mark(found: MarkedAnswers | None) -> FactList:
    """Return the facts of the mark that training answers carry."""
    if found is None:
        return []
    parameters = ", ".join(f"{name} {value:g}" for name, value in found.parameters.items())
    return [
        ("Mark in training answers", f"{found.scheme} ({parameters})"),
        ("Mark: epoch", found.epoch),
        ("Mark: digest of the key", found.key_id),
        ("Marked tokens", words.count(found.marked_tokens)),
        ("Perplexity with the mark", words.significant(found.perplexity_marked)),
        ("Perplexity without it", words.significant(found.perplexity_unmarked)),
        ("KL a token, marked from unmarked", words.significant(found.kl_per_token)),
    ]


def _rounded(found: RoundedAnswers | None) -> FactList:
    """Return how far answers that were written in int8 are from the teacher's own."""
    if found is None:
        return []
    return measured(
        ("Written in int8: share of the body's parameters", words.percent(found.share)),
        (
            "KL a token, the teacher from itself in int8",
            words.with_ends(found.kl_per_token, words.nats),
        ),
    )


def _collection_charts(evaluation: Evaluation) -> list[Chart]:
    """Return how long the answers were, and in which languages."""
    section = evaluation.collection
    if section is None:
        return []
    found = []
    for counts, title, note in (
        (section.lengths, "Length of the answers", f"{section.length_unit}, training prompts"),
        (section.languages, "Languages of the answers", "as they are told apart by their letters"),
    ):
        if any(counts.values()):
            said = ", ".join(f"{name}: {count}" for name, count in counts.items())
            svg = charts.bars(list(counts.items()), title=f"{title}: {said}")
            found.append(Chart(title, note, svg))
    return found


def curation(found: CurationPart | None) -> FactSection | None:
    """Return how many answers were learnt from, and why others were not."""
    if found is None:
        return None
    facts: FactList = [
        (
            "Training answers learnt from",
            f"{words.whole(found.train_kept)} of {words.whole(found.train)}",
        )
    ]
    for name, count in found.dropped.items():
        if count:
            facts.append((f"Dropped: {name.replace('_', ' ')}", words.whole(count)))
    for split, dropped in found.elsewhere.items():
        label = f"Left out of {'held-out' if split == 'held_out' else split} answers"
        for name, count in dropped.items():
            facts.append((f"{label}: {name.replace('_', ' ')}", words.whole(count)))
    if found.verified:
        right, of = found.verified.get("correct"), found.verified.get("checked")
        facts.append(
            ("Checked answers that were right", f"{words.whole(right)} of {words.whole(of)}")
        )
    if found.judge:
        facts.append(("Judge", found.judge))
    return FactSection(facts, [], [capital(note) for note in found.notes])


def shrink(evaluation: Evaluation) -> ShrinkSection | None:
    """Return how the student was cut, before and after healing; None where nothing was cut."""
    cut, vocabulary = evaluation.shrink, evaluation.vocabulary
    if cut is None:
        return None
    facts: FactList = []
    if cut.blocks:
        facts.append(("Blocks dropped", ", ".join(map(words.whole, cut.blocks))))
    if vocabulary is not None:
        kept = f"{words.whole(vocabulary.kept)} of {words.whole(vocabulary.of)}"
        facts.append(("Tokens kept", kept))
    for count, label in (
        (cut.ffn_channels, "Feed-forward channels kept in each block"),
        (cut.kv_heads, "Key-value heads kept in each block"),
    ):
        if count:
            facts.append((label, words.whole(count)))
    if cut.heal:
        facts.append(("Healing", cut.heal))
    facts.append(("Calibration tokens", words.count(cut.calibration_tokens)))
    for field, count in cut.ids_dropped.items():
        facts.append((f"Entries of {field} without a token", words.whole(count)))
    if cut.rejected:
        facts.append(("Candidates tried and rejected", f"{len(cut.rejected):,}"))
    return ShrinkSection(facts, _healing(cut.plain, cut.healed))


def _healing(plain: Closeness | None, healed: Closeness | None) -> Table | None:
    return table(
        SHRINK_HEADS,
        [
            row(name, words.nats(found.kl), words.percent(found.agreement))
            for name, found in (("Cut only", plain), ("Cut and healed", healed))
            if found is not None
        ],
    )
