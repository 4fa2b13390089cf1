"""From evaluation.json and metrics.jsonl to what the page shows.

Pure functions: dictionaries in, small tables of text and charts out. Whatever is missing is
left out of the page or shown as not measured; nothing is invented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import escape

from potstill.report import words
from potstill.report.calls import tool_calls
from potstill.report.fidelity import differences, fidelity, greedy, speed, tiles
from potstill.report.headline import by_gold, caution, sentences
from potstill.report.limits import limits
from potstill.report.process import collection, collection_charts, cost, notes_of, shrink, training
from potstill.report.tables import Facts, clean, flatten, moment
from potstill.report.task import curation, task
from potstill.text.tool_calls import message_text

SAMPLE_CHARACTERS = 1_200  # of one response
SAMPLES_BYTES = 100_000  # of all pairs, as they stand in the page
RECIPE_CHARACTERS = 20_000


def context(
    evaluation: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
    recipe: str,
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Return everything the template needs."""
    return {
        "name": clean(str(evaluation.get("run") or "run")),
        "created": moment(str(evaluation.get("created_at") or "")),
        "headline": headline_parts(evaluation),
        "caution": caution(evaluation),
        "tiles": tiles(evaluation),
        "task": task(evaluation),
        "tool_calls": tool_calls(evaluation),
        "curation": curation(evaluation),
        "fidelity_text": fidelity_text(evaluation),
        "authors": ("Right answer" if by_gold(evaluation) else "Teacher", "Student"),
        "fidelity": fidelity(evaluation),
        "greedy": greedy(evaluation),
        "speed": speed(evaluation),
        "differences": differences(evaluation),
        "training": training(evaluation, metrics),
        "cost": cost(evaluation),
        "collection": collection(evaluation),
        "collection_charts": collection_charts(evaluation),
        "collection_notes": notes_of(evaluation, "collection"),
        "curation_notes": notes_of(evaluation, "curation"),
        "shrink": shrink(evaluation),
        "samples": samples(evaluation),
        "provenance": provenance_facts(evaluation, provenance),
        "packages": packages(evaluation),
        "recipe": clean(_cut(recipe, RECIPE_CHARACTERS)),
        "limits": limits(evaluation),
    }


def headline_parts(evaluation: Mapping[str, Any]) -> list[str]:
    """Return the headline's sentences without the caution, which has a box of its own."""
    warning = caution(evaluation)
    return [clean(sentence) for sentence in sentences(evaluation) if sentence != warning]


def fidelity_text(evaluation: Mapping[str, Any]) -> dict[str, str]:
    """Return the heading of the fidelity section, and what its figures are measured on."""
    gold, open_teacher = by_gold(evaluation), words.at(evaluation, "models.teacher")
    text = (
        "the right answers"
        if gold
        else "the teacher's own sampled responses"
        if open_teacher
        else "the teacher's own answers"
    )
    prompts, lacking = (
        words.at(evaluation, "held_out.prompts"),
        words.left_out(words.at(evaluation, "held_out.left_out")),
    )
    count = f"{prompts:,} " if words.known(prompts) else ""
    return {
        "heading": "How likely it finds the right answers" if gold else "How close to the teacher",
        "lead": f"Measured on {text} to {count}held-out prompts{words.in_brackets(lacking)}, at "
        "every response position. The small figures are 95% intervals over prompts.",
    }


def samples(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return sample pairs {turns, teacher, student} as clean text, within the page's budget."""
    pairs: list[dict[str, Any]] = []
    spent = 0
    everything = [
        sample for sample in evaluation.get("samples") or [] if isinstance(sample, Mapping)
    ]
    for sample in everything:
        turns = [
            (_role(message.get("role")), _response(message_text(message)))
            for message in sample.get("messages") or []
            if isinstance(message, Mapping)
        ]
        pair = {
            "turns": turns,
            "teacher": _response(sample.get("teacher")),
            "student": _response(sample.get("student")),
        }
        texts = (pair["teacher"], pair["student"], *(text for _, text in turns))
        spent += sum(len(escape(text).encode()) for text in texts)
        if spent > SAMPLES_BYTES:
            break
        pairs.append(pair)
    return {"pairs": pairs, "left_out": len(everything) - len(pairs)}


def provenance_facts(evaluation: Mapping[str, Any], provenance: Mapping[str, Any]) -> Facts:
    """Return where everything came from: the caller's facts, then the machine's."""
    facts = [
        (clean(label), clean(str(value))) for label, value in flatten(provenance) if value != ""
    ]
    machine = words.at(evaluation, "machine") or {}
    if machine.get("cpu"):
        cores = f", {machine['cores']} cores" if words.known(machine.get("cores")) else ""
        facts.append(("Processor", clean(f"{machine['cpu']}{cores}")))
    if words.known(machine.get("memory_gb")):
        facts.append(("Memory", f"{words.significant(machine['memory_gb'])} GB"))
    facts.append(("Accelerator", clean(str(machine.get("accelerator") or "none"))))
    if machine.get("compute_dtype"):
        facts.append(("Precision of products", clean(str(machine["compute_dtype"]))))
    peak = words.at(evaluation, "peak_memory_bytes")
    if words.known(peak):
        facts.append(("Peak memory", words.size(peak)))
    if evaluation.get("schema"):
        facts.append(("Schema", clean(str(evaluation["schema"]))))
    return facts


def packages(evaluation: Mapping[str, Any]) -> Facts:
    """Return (package, version), sorted."""
    versions = words.at(evaluation, "machine.packages") or {}
    return sorted((clean(str(name)), clean(str(version))) for name, version in versions.items())


def _role(role: Any) -> str:
    names = {
        "user": "Prompt",
        "system": "System message",
        "assistant": "Earlier answer",
        "tool": "Tool's result",
    }
    return names.get(role) or clean(str(role or ""))


def _response(text: Any) -> str:
    return clean(_cut(str(text or ""), SAMPLE_CHARACTERS))


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[:most]} … [{len(text) - most:,} more characters]"
