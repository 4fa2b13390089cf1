"""The reference page of the facts, made from them.

python -m potstill.terms.docs > docs/reference/terms.md
"""

from __future__ import annotations

from collections.abc import Sequence

from potstill.terms.explain import CONFIDENCE
from potstill.terms.facts import Licence, Surface, packaged_facts

_HEAD = """# What potstill knows of terms

Made from `src/potstill/data/terms.yaml` (facts {version}), which the terms gate goes by. These are
facts, not legal advice: read the document itself before you rely on it.
[How the gate uses them](../how-to/terms.md).

*Outputs*: may they train another model? *Weights*: may they be trained further, as what a student
is made from? `conditions` is yes, where they are kept; `unknown` and `deny` need the rights
holder's authorisation. An entry that is past its day of *read again by* permits nothing.
Confidence:

{confidence}
"""


def terms_page() -> str:
    """Return the page as Markdown."""
    facts = packaged_facts()
    sure = "\n".join(f"- {letter}: {words}" for letter, words in CONFIDENCE.items())
    parts = [_HEAD.format(version=facts.version, confidence=sure)]
    parts += ["## Licences of weights", *_table(facts.licences)]
    parts += ["", "## Services", *_table(facts.surfaces), "", "## What is owed", ""]
    for entry in (*facts.licences, *facts.surfaces):
        owed = [*entry.obligations, *(o for case in entry.cases for o in case.obligations)]
        parts += [
            f"- `{entry.id}`: {one.said}; where the intent is {', '.join(one.intents)}"
            + (", of a student that is made from the weights" if one.of == "weights" else "")
            for one in owed
        ]
    return "\n".join(parts) + "\n"


def _table(entries: Sequence[Licence]) -> list[str]:
    lines = [
        "",
        "| Entry | Outputs | Weights | What it says | Document | In force from | Checked | "
        "Confidence | Read again by |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    return [*lines, *(line for entry in entries for line in _rows(entry))]


def _rows(entry: Licence) -> list[str]:
    name = f"`{entry.id}`"
    if isinstance(entry, Surface):
        name += f" ({entry.provider}, {entry.surface})"
    weights = "" if isinstance(entry, Surface) else entry.base or "unknown"
    again = "its text cannot change" if entry.recheck_after is None else str(entry.recheck_after)
    dates = [entry.effective or "", entry.checked or "", entry.confidence, again]
    says = " ".join([entry.conditions, entry.also or ""]).strip()
    rows = [[name, entry.decision, weights, says, entry.source, *dates]]
    for case in entry.cases:
        who = [*(f"a {kind}" for kind in case.student), *case.intents]
        rows.append([f"{name}: {', '.join(who)}", case.decision, "", case.conditions, *[""] * 5])
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]


if __name__ == "__main__":
    print(terms_page(), end="")
