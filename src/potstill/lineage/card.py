"""The card of a student on Hugging Face, from what its manifest says.

Its front matter has a field for what a model was fine-tuned, quantised or merged from, and none for
what it was distilled from: the teacher stands in tags and in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from potstill.lineage.document import LineageFacts
from potstill.lineage.operations import operation_sentences
from potstill.lineage.told import told_costs, told_decisions, told_digests, told_figures, told_terms
from potstill.text.markdown import plain

CARD_FILE = "README.md"
_WHO = {"answers": "The answers", "reader": "Whoever read them", "base": "The base"}
# A repository of the hub, and no path.
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def card_of(name: str, facts: LineageFacts, note: str | None = None) -> str:
    """Return the card of the student of the run `name`; `note` is a sentence on loading it."""
    return f"---\n{_front_matter(name, facts)}\n---\n\n{_body(name, facts, note)}"


def _front_matter(name: str, facts: LineageFacts) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    teacher = None if facts.teacher is None else facts.teacher.model
    base = None if facts.base is None else facts.base.model
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type="potstill/held-out",
            dataset_name=f"held-out prompts of {name}",
            metric_type=one.key,
            metric_name=one.name,
            metric_value=one.estimate.value,
            metric_args={
                "ci95": None if one.estimate.ci95 is None else list(one.estimate.ci95),
                "prompts": one.estimate.n,
            },
        )
        for one in told_figures(facts)
    ]
    data = ModelCardData(
        base_model=base if base is not None and _HUB_ID.fullmatch(base) else None,
        eval_results=results or None,
        library_name="transformers",
        license=_licence(facts),
        model_name=name,
        pipeline_tag="text-generation",
        tags=["distilled", "potstill", *([f"distilled-from:{teacher}"] if teacher else [])],
    )
    return str(data.to_yaml())


def _licence(facts: LineageFacts) -> str | None:
    """Return the licence that the weights are under, where they are the teacher's own, cut.

    That of others, and of more than one, is for whoever hands the student out to state.
    """
    terms = told_terms(facts.terms)
    if terms is None or facts.base != facts.teacher or facts.base is None:
        return None
    licensed = terms.outcome in ("allow", "conditions") and len(terms.licences) == 1
    return terms.licences[0] if licensed else None


def _body(name: str, facts: LineageFacts, note: str | None) -> str:
    return "\n".join(_lines(name, facts, note)) + "\n"


def _lines(name: str, facts: LineageFacts, note: str | None) -> Iterator[str]:
    yield from (f"# {plain(name)}", "", *_origin(facts), "")
    if note is not None:
        yield from (plain(note), "")
    yield from ("## By whose leave", "", *_leave(facts), "")
    figures = [f"- {one.name}: {one.words}" for one in told_figures(facts)]
    yield from ("## What it kept", "", *(figures or ["Nothing was measured."]), "")
    costs = [f"- {one.name}: {one.value}" for one in told_costs(facts)]
    yield from ("## What it took", "", *(costs or ["Unknown."]), "")
    yield from (plain(sentence) for sentence in operation_sentences(facts))
    yield from ("", "## What it was made from", "")
    yield from (f"- {plain(what)}: `{digest}`" for what, digest in told_digests(facts))
    yield from (
        "",
        "## How to check it",
        "",
        "```",
        "pip install potstill",
        "potstill verify . --key PUBLIC_KEY_OF_WHOEVER_SIGNED",
        "```",
        "",
        "That hashes every file, checks the signature, and makes the figures above again from what "
        "was measured of each prompt (`items.json`). `manifest.json` holds all of this, and "
        "`bom-1.6.cdx.json` and `bom-1.7.cdx.json` say it as CycloneDX.",
    )


def _origin(facts: LineageFacts) -> Iterator[str]:
    teacher, base = facts.teacher, facts.base
    if teacher is None:
        yield "It learnt the right answers that its rows held: no model was asked for them."
    else:
        yield f"Distilled from: {plain(teacher.model or 'answers of a model that is not named')}."
    if base is not None and base == teacher:
        yield "Its weights were cut from the teacher's and trained on."
    elif base is not None:
        yield f"Its weights began as those of {plain(base.model or 'a model that is not named')}."


def _leave(facts: LineageFacts) -> Iterator[str]:
    for what, found in told_decisions(facts):
        licences = ", ".join(found.licences) or "no licence stated"
        yield f"{_WHO[what]}: {plain(licences)}; decided: {found.outcome}. {plain(found.reason)}"
        if found.authorisation is not None:
            yield (
                "Whoever holds the rights gave leave in a text, whose digest is "
                f"`{found.authorisation}`."
            )
        yield from ("", *(f"- {plain(one)}" for one in found.conditions))
