"""The reference page of verdict.json, made from its models.

python -m potstill.trace.verdict_docs > docs/reference/verdict.md
"""

from __future__ import annotations

from potstill.trace.verdict import Verdict
from potstill.work.field_docs import field_kinds

Row = tuple[str, str, str]

_MEANINGS = {
    "schema": "Name and version of this schema.",
    "created_at": "When the verdict was made, by its author's clock.",
    "potstill": "The version of potstill that made it.",
    "name": "Name of the trace.",
    "plan": "Digest of `plan.json` (BLAKE3, 64 digits); every coin and seed follows from it.",
    "planned_at": "When the plan was fixed, by its author's clock.",
    "teacher": "Whose outputs are meant.",
    "teacher.name": "What its owner calls it.",
    "teacher.identity": "Digest of its weights, or what its owner states.",
    "teacher.tokenizer": "Digest of its tokenizer, in whose ids marks are.",
    "teacher.vocabulary": "How many ids that has.",
    "suspect": "Who was tested; never an address.",
    "suspect.kind": "What was at hand of it.",
    "suspect.name": "What the plan's author calls it.",
    "suspect.identity": "Digest of its weights; of a server its stated identity.",
    "suspect.tokenizer": "Digest of its tokenizer.",
    "suspect.parameters": "How many weights it has, where that is known.",
    "suspect.digests": "Digests of the files of its texts.",
    "suspect.can": "What it could be asked for.",
    "alpha": "Level that a claim is held to, over all that is ever tried of its tier.",
    "accused": "Whether a claim of the tier proof holds, by a watermark or by twins.",
    "headline": "What follows, in words.",
    "strength": "How strong the first claim is, in words.",
    "claims": "What each finding claims, in the plan's order.",
    "claims[].test": "The test.",
    "claims[].configuration": "What tells it apart from others of its name.",
    "claims[].tier": "What such a claim is worth; tiers are never merged.",
    "claims[].outcome": "Whether the claim holds at its level.",
    "claims[].times": "What p was multiplied by, for everything that was tried.",
    "claims[].log10_p": "Logarithm of p after that.",
    "claims[].log10_e": "Logarithm of the e-value after that.",
    "claims[].e_from_p": "Whether the e-value is what p is worth, since the test has none.",
    "claims[].sentence": "The claim, or that there is none, in words.",
    "claims[].strength": "How strong it is, in words.",
    "claims[].example": "What it comes to for a reader who began at 1%.",
    "claims[].limit": "What would have been found, where nothing was.",
    "joint": "Watermark and twins together by Fisher's method, where the plan states it.",
    "joint.null": "The hypothesis that its p-value is about.",
    "joint.log10_p": "Logarithm of that p-value.",
    "findings": "The figures of each test, before anything is multiplied.",
    "findings[].test": "The test.",
    "findings[].configuration": "What tells it apart from others of its name.",
    "findings[].tier": "The tier of its claim.",
    "findings[].n": "How many items carry the statistic.",
    "findings[].coins": "How many of them are coins, for what is missing.",
    "findings[].clusters": "In how many independent clusters these are; absent where each is one.",
    "findings[].controls": "How many models p is the greatest over; absent where it is over none.",
    "findings[].statistic": "The statistic.",
    "findings[].null_mean": "Its mean where the claim is false.",
    "findings[].effect": "The size of what was found.",
    "findings[].effect_unit": "What that is measured in.",
    "findings[].effect_low": "Lower end of its 95% interval.",
    "findings[].effect_high": "Upper end.",
    "findings[].p": "p-value; 0 where no number is that small.",
    "findings[].log10_p": "Its logarithm.",
    "findings[].sequential": "Whether it is the p of a sequential test, min(1, 1 / sup E).",
    "findings[].log10_e": "Logarithm of the test's own e-value.",
    "findings[].void": "Why nothing follows from it.",
    "findings[].assumes": "What a reader has to grant.",
    "controls": "The effect of a test on models that are known to be clean.",
    "controls[].test": "The test.",
    "controls[].configuration": "What tells it apart from others of its name.",
    "controls[].name": "The control.",
    "controls[].effect": "The effect, in the unit of the finding.",
    "controls[].low": "Lower end of its 95% interval.",
    "controls[].high": "Upper end.",
    "tried": "How much was tried with this teacher before, as its chain counts it.",
    "tried.plans": "Plans.",
    "tried.suspects": "Suspects.",
    "tried.checkpoints": "Checkpoints of suspects.",
    "tried.keys": "Keys.",
    "tried.proof": "Tests of the tier proof.",
    "tried.descent": "Tests of the tier descent.",
    "tried.support": "Tests of the tier support.",
    "tried_before": "The same, in words.",
    "order_of_events": "What is known of when things were fixed, and by whom.",
    "limits": "What tests that found nothing would have found.",
    "explanations": "What else could explain it.",
    "assumptions": "What a reader has to grant.",
    "logs": "The raw logs.",
    "logs[].file": "A log's file in the bundle.",
    "logs[].records": "How many records it has.",
    "logs[].head": "Digest of its last one, by which a log cut short shows.",
    "stamps": "Timestamps (RFC 3161).",
    "stamps[].file": "A token's file in the bundle.",
    "stamps[].digest": "Its digest.",
    "stamps[].checked": "Whether its signature held when the verdict was made.",
    "stamps[].subject": "What it is about.",
    "stamps[].time": "When its authority saw that.",
    "stamps[].authority": "Who that is, by the certificate.",
    "stamps[].root_sha256": "Fingerprint of the root certificate that it was checked under.",
}
_PAGE = """# verdict.json

<!-- Made by `make docs` from src/potstill/trace/verdict.py and verdict_docs.py. -->

What `potstill trace run` comes to, in one file of a bundle: canonical JSON of the schema
`potstill/verdict/1`. Whoever has the bundle computes all of it again with `potstill trace verify`.
Later versions may add fields under this name; a field that changes its meaning changes the name.

Three tiers are kept apart: *proof* (text or answers were learnt: it accuses), *descent* (weights
come from these weights or from this training run: it says nothing of training on outputs) and
*support* (accuses nobody). Logarithms are to the base 10.

| Field | Type | Meaning |
| --- | --- | --- |
{rows}
"""


def verdict_page() -> str:
    """Return docs/reference/verdict.md."""
    lines = (f"| `{path}` | {kind} | {text} |" for path, kind, text in verdict_rows())
    return _PAGE.format(rows="\n".join(lines))


def verdict_rows() -> list[Row]:
    """Return (path, type, meaning) of every field; raises KeyError for one without a meaning."""
    return [(path, kind, _MEANINGS[path]) for path, kind, _ in field_kinds(Verdict)]


if __name__ == "__main__":
    print(verdict_page(), end="")
