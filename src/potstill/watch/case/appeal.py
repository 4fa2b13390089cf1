"""What one account may be told of a case: its own facts, and nothing of other customers.

No name, value, count or figure of anybody else is in it, nor one that is made of them: how large
the group is, how strong the evidence, what others have in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from potstill.watch.case.inferring import signs_of
from potstill.watch.case.models import Appeal, CaseFacts, Value
from potstill.watch.schema import Family

_SIGNS: Mapping[Family, str] = {
    "content": "Many of your requests are put together like those of accounts that are no declared "
    "part of your contract.",
    "infrastructure": "Your account has a payment, a device or a network in common with accounts "
    "that are no declared part of your contract.",
    "intent": "Many of your requests ask for reasoning to be written out, or for answers to be "
    "graded.",
    "time": "Your account asked, word by word and within two minutes, what another account had "
    "just been refused.",
}
_ASKS: Mapping[Family, str] = {
    "content": "Where your prompts come from: a public suite, a course, a program that others use.",
    "infrastructure": "Whether other accounts belong to you, your company or your school, and "
    "which contract they stand under.",
    "intent": "What the answers are used for.",
    "time": "What retries your requests, and whether it uses more than one account.",
}
_MEANS = (
    "This notice says what was seen of your account. It does not say that you did anything wrong: "
    "accounts are grouped by statistics, and groups can be joined by something innocent, or hold "
    "an account that has nothing to do with them. A person decides, and reads what you answer."
)


def appeals_of(
    case_id: str, facts: CaseFacts, families: Sequence[Family], *, statuses: bool
) -> list[Appeal]:
    """Return the packet of each account of a case, in the order of their names."""
    found = []
    for values in facts.members.rows:
        row = dict(zip(facts.members.columns, values, strict=True))
        signs = signs_of(row)
        asks = [_ASKS[family] for family in sorted({*signs, *families})]
        found.append(
            Appeal(
                case_id=case_id,
                account=str(row["account"]),
                first=str(row["first"]),
                last=str(row["last"]),
                requests=_count(row["requests"]),
                days=_count(row["days"]),
                refused=_count(row["refused"]) if statuses else None,
                signs=tuple(_SIGNS[family] for family in signs)
                or ("Nothing by itself: it stands in a group of accounts that was looked at.",),
                held_by=tuple(sorted(families)),
                asks=tuple(asks),
                means=_MEANS,
            )
        )
    return found


def _count(value: Value) -> int:
    return int(value) if isinstance(value, int | float) else 0
