"""What one account may be told of a case: its own facts, and nothing of other customers.

No name, value, count or figure of anybody else is in it, nor one that is made of them: how large
the group is, how strong the evidence, what others have in common.
"""

from __future__ import annotations

from collections.abc import Mapping

from potstill.watch.case.models import Appeal, CaseFacts, CaseInference, SignKind, Value
from potstill.watch.schema import Family

_SIGNS: Mapping[SignKind, str] = {
    "template": "Requests of yours are put together like those of accounts that are no declared "
    "part of your contract.",
    "links": "Your account has a payment, a device or a network that it asks through in common "
    "with accounts that are no declared part of your contract.",
    "place": "Your account has a network, an e-mail domain or the hour of its opening in common "
    "with accounts that are no declared part of your contract.",
    "hand-off": "What one account was refused another one asked, word by word and within two "
    "minutes: your account was one of such two.",
    "moments": "Your account acts at moments that go together with those of accounts that are no "
    "declared part of your contract.",
    "asking": "Many of your requests ask for reasoning to be written out, or for answers to be "
    "graded.",
}
_ASKS: Mapping[Family, str] = {
    "content": "Where your prompts come from: a public suite, a course, a program that others use.",
    "infrastructure": "Whether other accounts belong to you, your company or your school, and "
    "which contract they stand under.",
    "intent": "What the answers are used for.",
    "time": "What starts and retries your requests, and whether it uses more than one account.",
}
_MEANS = (
    "This notice says what was seen of your account. It does not say that you did anything wrong: "
    "accounts are grouped by statistics, and groups can be joined by something innocent, or hold "
    "an account that has nothing to do with them. A person decides, and reads what you answer."
)


def appeals_of(
    case_id: str, facts: CaseFacts, inference: CaseInference, *, statuses: bool
) -> list[Appeal]:
    """Return the packet of each account of a case, in the order of their names.

    It is told the signs that the case's page has of it, in words that name and count nobody else.
    """
    signs_of = {one.account: one.signs for one in inference.members}
    families = sorted(inference.families)
    found = []
    for values in facts.members.rows:
        row = dict(zip(facts.members.columns, values, strict=True))
        signs = signs_of[str(row["account"])]
        found.append(
            Appeal(
                case_id=case_id,
                account=str(row["account"]),
                first=str(row["first"]),
                last=str(row["last"]),
                requests=_count(row["requests"]),
                days=_count(row["days"]),
                refused=_count(row["refused"]) if statuses else None,
                signs=tuple(_SIGNS[one.kind] for one in signs)
                or ("Nothing by itself: it stands in a group of accounts that was looked at.",),
                held_by=tuple(families),
                asks=tuple(_ASKS[family] for family in families),
                means=_MEANS,
            )
        )
    return found


def _count(value: Value) -> int:
    return int(value) if isinstance(value, int | float) else 0
