"""How close the students are to the teacher: figures, tables, charts and comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from potstill.report import charts, words
from potstill.report.charts import Chart
from potstill.report.run.headline import kl_over, scratch_ratio, share_of_teacher
from potstill.report.run.names import (
    ModelKey,
    by_gold,
    kept_untrained,
    left_out,
    measured_models,
    measured_students,
    model_name,
)
from potstill.report.tables import Cell, Table, TableRow, Tile, row, table
from potstill.work.evaluation import Evaluation, GreedyFidelity, ModelFigures
from potstill.work.figures import Estimate

FIDELITY_HEADS = ("Model", "KL per token", "Top-1 agreement", "Perplexity", "Bits per byte")
SPEED_HEADS = ("Model", "Parameters", "On disk", "Reading, tokens/s", "Writing, tokens/s")


@dataclass(frozen=True)
class FidelitySection:
    """The section on fidelity."""

    heading: str
    lead: str
    charts: list[Chart]
    table: Table | None
    differences: list[str]
    greedy: Table | None


def fidelity(evaluation: Evaluation) -> FidelitySection:
    """Return the section on fidelity."""
    found = (_kl_chart(evaluation), _agreement_chart(evaluation))
    return FidelitySection(
        heading="How likely it finds the right answers"
        if by_gold(evaluation)
        else "How close to the teacher",
        lead=_lead(evaluation),
        charts=[chart for chart in found if chart is not None],
        table=_fidelity_table(evaluation, measured_models(evaluation.models)),
        differences=differences(evaluation),
        greedy=_fidelity_table(
            evaluation,
            {k: f.greedy for k, f in measured_students(evaluation.models).items() if f.greedy},
        ),
    )


def _lead(evaluation: Evaluation) -> str:
    text = (
        "the right answers"
        if by_gold(evaluation)
        else "the teacher's own sampled responses"
        if evaluation.models.teacher is not None
        else "the teacher's own answers"
    )
    held_out = evaluation.held_out
    return (
        f"Measured on {text} to {held_out.prompts:,} held-out "
        f"prompts{words.in_brackets(left_out(held_out.left_out))}, at every response position. "
        "The small figures are 95% intervals over prompts."
    )


def tiles(evaluation: Evaluation) -> list[Tile]:
    """Return the headline figures."""
    found: list[Tile] = []
    student, share = evaluation.models.student, share_of_teacher(evaluation)
    if share is not None:
        found.append(
            Tile(
                words.percent(share),
                "of the teacher's parameters",
                f"{words.count(student.params)} in the student",
            )
        )
    if student.top1_agreement is not None:
        found.append(
            Tile(
                words.percent(student.top1_agreement.value),
                "same likeliest token as the teacher",
                words.interval(student.top1_agreement, words.percent),
            )
        )
    return [*found, *_kl_tile(evaluation), _scratch_tile(evaluation)]


def _kl_tile(evaluation: Evaluation) -> list[Tile]:
    models = evaluation.models
    note = f"{words.significant(words.value_of(models.student.kl_per_token))} nats of KL a token"
    for baseline, label in (
        (models.pruned, "the distance to the teacher that plain cutting leaves"),
        (models.untrained, "its distance to the teacher before training"),
    ):
        ratio = kl_over(evaluation, baseline)
        if ratio is not None:
            return [Tile(f"{ratio:.2f} ×", label, note)]
    return []


def _scratch_tile(evaluation: Evaluation) -> Tile:
    ratio = scratch_ratio(evaluation)
    counted = ", with the training of the model that it began as" if evaluation.cost.parent else ""
    return Tile(
        words.fraction(ratio),
        ("of " if ratio < 0.1 else "times ") + "the arithmetic of training from scratch",
        f"estimated, 20 tokens a parameter{counted}",
    )


def _fidelity_table(
    evaluation: Evaluation, measured: Mapping[ModelKey, ModelFigures | GreedyFidelity]
) -> Table | None:
    return table(
        FIDELITY_HEADS,
        [
            TableRow(
                model_name(key, evaluation),
                [
                    Cell(spell(words.value_of(figure)), words.ends(figure, spell))
                    for figure, spell in (
                        (figures.kl_per_token, words.nats),
                        (figures.top1_agreement, words.percent),
                        (figures.perplexity, words.significant),
                        (
                            figures.bits_per_byte if isinstance(figures, ModelFigures) else None,
                            words.significant,
                        ),
                    )
                ],
                key,
            )
            for key, figures in measured.items()
        ],
    )


def _kl_chart(evaluation: Evaluation) -> Chart | None:
    students = measured_students(evaluation.models)
    rows = _rows(evaluation, {key: one.kl_per_token for key, one in students.items()}, words.nats)
    if not rows:
        return None
    title = "KL divergence from the teacher"
    return Chart(
        title,
        "nats a token; 0 is the teacher itself, less is better",
        charts.dots(
            rows,
            title=charts.said(title, rows),
            # The axis reaches to the teacher itself.
            ticks=charts.nice_ticks(0.0, charts.span_of(rows)[1], 5),
            spell=lambda tick: f"{tick:.10g}",
        ),
    )


def _agreement_chart(evaluation: Evaluation) -> Chart | None:
    students = measured_students(evaluation.models)
    figures = {key: one.top1_agreement for key, one in students.items()}
    rows = _rows(evaluation, figures, words.percent)
    if not rows:
        return None
    return charts.shares(
        rows, "Agreement on the likeliest token", "share of response positions; more is better"
    )


def _rows(
    evaluation: Evaluation, figures: Mapping[ModelKey, Estimate | None], spell: words.Spell
) -> list[charts.DotRow]:
    return [
        charts.dot_row(
            model_name(key, evaluation), figure, spell, "student" if key == "student" else "plain"
        )
        for key, figure in figures.items()
        if figure is not None
    ]


def speed(evaluation: Evaluation) -> Table | None:
    """Return size and speed, a row a model."""
    return table(
        SPEED_HEADS,
        [
            row(
                model_name(key, evaluation),
                words.count(figures.params),
                words.size(figures.bytes),
                words.significant(figures.prefill_tok_s),
                words.significant(figures.decode_tok_s),
                key=key,
            )
            for key, figures in measured_models(evaluation.models).items()
        ],
    )


def differences(evaluation: Evaluation) -> list[str]:
    """Return the paired comparisons as sentences."""
    found, same = evaluation.differences, kept_untrained(evaluation)
    texts = (
        "The student is the untrained one: training did not make it better." if same else None,
        None if same else _against("the untrained student", found.student_minus_untrained_kl),
        _against("plain cutting", found.student_minus_pruned_kl),
        _ratio(found.student_over_pruned_kl),
        _own_text(evaluation),
        _removed(evaluation),
    )
    return [text for text in texts if text is not None]


def _against(name: str, change: Estimate | None) -> str | None:
    if change is None:
        return None
    bounds = change.ci95
    verdict = (
        "no difference that these prompts show"
        if bounds is None
        else "the student is closer to the teacher"
        if bounds[1] < 0
        else "the student is further from the teacher"
        if bounds[0] > 0
        else "no difference beyond chance"
    )
    return (
        f"KL against {name}: {words.signed(change.value)} nats a token"
        f"{words.in_brackets(words.interval(change, words.signed))}: {verdict}."
    )


def _ratio(ratio: Estimate | None) -> str | None:
    if ratio is None:
        return None
    return (
        "Ratio of the student's KL to that of plain cutting: "
        f"{words.significant(ratio.value)}{words.in_brackets(words.interval(ratio))}."
    )


def _own_text(evaluation: Evaluation) -> str | None:
    """Return how far students are from the teacher on what they write themselves."""
    own = evaluation.models.student.own_kl_per_token
    if own is None:
        return None
    untrained = evaluation.models.untrained
    before = None if untrained is None else untrained.own_kl_per_token
    ratio = evaluation.differences.student_over_untrained_own_kl
    found = (
        f"On what it writes itself to the held-out prompts, KL(student || teacher) of the student "
        f"is {words.nats(own.value)}{words.in_brackets(words.interval(own, words.nats))} a token"
    )
    if before is not None:
        found += (
            f", that of the untrained one {words.nats(before.value)}"
            f"{words.in_brackets(words.interval(before, words.nats))}"
        )
    if ratio is not None:
        found += (
            f"; ratio {words.significant(ratio.value)}{words.in_brackets(words.interval(ratio))}"
        )
    return found + "."


def _removed(evaluation: Evaluation) -> str | None:
    if evaluation.vocabulary is None:
        return None
    return (
        "The trimmed vocabulary lacks "
        f"{words.percent(evaluation.vocabulary.teacher_mass_removed.value, 2)} of the "
        "teacher's probability; each removed token's share goes to the first piece of its "
        "new spelling."
    )
