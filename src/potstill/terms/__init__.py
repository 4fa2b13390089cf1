"""May this teacher be used? Facts as data, the licence from the model's files, and the gate."""

from potstill.terms.facts import Licence, TermsFacts, TermsOutcome, packaged_facts
from potstill.terms.gate import Stated, TermsDecision, decide
from potstill.terms.licences import licence_of
from potstill.terms.statements import Evidence
from potstill.terms.surfaces import evidence_of_endpoint
from potstill.terms.use import Use

__all__ = [
    "Evidence",
    "Licence",
    "Stated",
    "TermsDecision",
    "TermsFacts",
    "TermsOutcome",
    "Use",
    "decide",
    "evidence_of_endpoint",
    "licence_of",
    "packaged_facts",
]
