"""A run's or a student's manifest in plain words, for somebody outside the field."""

from __future__ import annotations

from collections.abc import Iterator

from potstill.lineage.document import LineageFacts
from potstill.lineage.operations import operation_sentences
from potstill.lineage.told import told_costs, told_decisions, told_digests, told_figures
from potstill.work.notice import Notice, NoticePart

_WHO = {
    "answers": "The teacher",
    "reader": "The model that read answers",
    "base": "The model that the weights began as",
}
_DECIDED = {
    "allow": "Its terms do not keep its answers from training another model.",
    "conditions": "Its terms let its answers train another model, if what is listed here is kept.",
    "unknown": "Whether its terms let its answers train another model is not known.",
    "deny": "Its terms do not let its answers train another model.",
}
_MEASURED = (
    "Measured on prompts that were held out: the student had not learnt from them. Each figure "
    "stands with an interval, which is how far other prompts of the same kind may lie."
)
_NOT_SAID = (
    "Whoever made the student measured these figures themselves. That they follow from what was "
    "measured of each prompt, anybody can check; that these were measured so, only with the model "
    "and the prompts.",
    "A signature tells whose key signed, not who holds that key: have its fingerprint from "
    "whoever you believe to have signed.",
    "What potstill reads of licences and terms is no legal advice.",
)


def notice_of_lineage(facts: LineageFacts, name: str) -> Notice:
    """Return the notice of the student of the run `name`."""
    return Notice(
        (
            NoticePart("What was made of what", tuple(_made(facts, name))),
            NoticePart("By whose leave", tuple(_leave(facts)), tuple(_kept(facts))),
            NoticePart("What was measured", (_MEASURED, *_overlap(facts)), tuple(_figures(facts))),
            NoticePart(
                "What it took",
                tuple(operation_sentences(facts)),
                [f"{one.name}: {one.value}" for one in told_costs(facts)],
            ),
            NoticePart("What it does not say", _NOT_SAID),
            NoticePart(
                "How to check it",
                ("With the directory that came with this notice, without trusting its author:",),
                [f"{what}: {digest}" for what, digest in told_digests(facts)],
                (
                    "pip install potstill",
                    "potstill verify DIRECTORY --key PUBLIC_KEY",
                    "potstill notice DIRECTORY",
                ),
            ),
        )
    )


def _made(facts: LineageFacts, name: str) -> Iterator[str]:
    yield f"{name} is a language model, made by distillation: a model learns to answer as another."
    teacher, base = facts.teacher, facts.base
    if teacher is None:
        yield "It learnt the right answers that its rows held, and those of no other model."
    else:
        named = teacher.model or "a model that is not named"
        yield f"It learnt the answers of {named}, its teacher."
    if base is not None and base == teacher:
        yield "Its weights were cut from the teacher's."
    elif base is not None:
        yield f"Its weights began as those of {base.model or 'a model that is not named'}."
    if facts.watermark is not None:
        yield "The answers that it learnt carry a mark, which whoever has its key can look for."


def _leave(facts: LineageFacts) -> Iterator[str]:
    for what, found in told_decisions(facts):
        who = _WHO[what]
        licences = ", ".join(found.licences) or "no licence"
        yield f"{who} states: {licences}. {_DECIDED.get(found.outcome, found.outcome)}"
        if found.authorisation is not None:
            yield (
                "Whoever holds the rights has given leave in a text, whose digest is "
                f"{found.authorisation}."
            )
    if facts.terms is None:
        yield "Nothing is known of it."


def _kept(facts: LineageFacts) -> Iterator[str]:
    kept = (one for _, found in told_decisions(facts) for one in found.conditions)
    yield from dict.fromkeys(kept)


def _figures(facts: LineageFacts) -> Iterator[str]:
    yield from (f"{one.name}: {one.words}" for one in told_figures(facts))


def _overlap(facts: LineageFacts) -> Iterator[str]:
    found = facts.overlap
    if found is not None:
        yield (
            f"Of {found.get('held_out')} held-out prompts, {found.get('exact')} are equal to a "
            f"training prompt and {found.get('near')} nearly equal to one."
        )
