"""What is permitted of whom, on which surface, under which licence, for what, to which student.

Each line is a case, written by hand from what the facts say; `-` stands for what does not apply.
"""

from __future__ import annotations

import itertools
from datetime import date
from typing import Any, cast

import pytest

from potstill.errors import PotstillError
from potstill.terms import Stated, Use, decide, packaged_facts
from potstill.terms.named import terms_of
from potstill.terms.use import INTENTS, KINDS

TODAY = date(2026, 11, 30)
LATER = date(2027, 6, 1)

# provider or model, surface, licence of the student's base, intent, kind: teacher, base
TABLE = """
openai       api      apache-2.0   internal    general     deny        allow
openai       api      apache-2.0   distribute  general     deny        allow
openai       api      apache-2.0   host        general     deny        allow
openai       api      apache-2.0   internal    classifier  conditions  allow
openai       api      apache-2.0   distribute  classifier  deny        allow
openai       api      apache-2.0   host        classifier  deny        allow
openai       api      apache-2.0   -           classifier  deny        allow
openai       app      apache-2.0   internal    classifier  deny        allow
openai       app      mit          internal    general     deny        allow
openai       -        mit          internal    classifier  deny        allow
anthropic    api      apache-2.0   internal    general     deny        allow
anthropic    api      apache-2.0   internal    classifier  deny        allow
anthropic    api      apache-2.0   distribute  classifier  deny        allow
anthropic    app      apache-2.0   internal    classifier  deny        allow
google       api      apache-2.0   internal    general     deny        allow
google       api      apache-2.0   internal    classifier  deny        allow
google       app      apache-2.0   internal    general     deny        allow
google       app      apache-2.0   internal    classifier  deny        allow
google       -        apache-2.0   host        general     deny        allow
xai          api      apache-2.0   internal    general     deny        allow
xai          api      apache-2.0   internal    classifier  deny        allow
xai          app      apache-2.0   internal    general     unknown     allow
xai          app      apache-2.0   internal    classifier  unknown     allow
zai          api      apache-2.0   internal    general     deny        allow
zai          api      apache-2.0   internal    classifier  deny        allow
deepseek     api      apache-2.0   internal    general     allow       allow
deepseek     api      mit          distribute  general     allow       allow
deepseek     api      gemma        host        general     allow       conditions
deepseek     api      llama3.1     distribute  general     allow       conditions
deepseek     api      llama3       internal    general     allow       unknown
deepseek     api      qwen         internal    general     allow       unknown
deepseek     api      mrl-0.1      internal    general     allow       deny
deepseek     api      exaone       internal    classifier  allow       unknown
deepseek     api      something    internal    classifier  allow       unknown
mistral      api      apache-2.0   internal    general     unknown     allow
mistral      api      apache-2.0   internal    classifier  unknown     allow
moonshot     api      apache-2.0   internal    general     unknown     allow
openrouter   api      apache-2.0   internal    general     unknown     allow
ollama       api      apache-2.0   internal    general     unknown     allow
apache-2.0   weights  apache-2.0   internal    general     allow       allow
apache-2.0   weights  apache-2.0   distribute  general     allow       allow
apache-2.0   weights  apache-2.0   host        classifier  allow       allow
mit          weights  mit          -           general     allow       allow
llama2       weights  llama2       internal    general     deny        unknown
llama2       weights  apache-2.0   internal    classifier  deny        allow
llama3       weights  llama3       internal    general     deny        unknown
llama3       weights  apache-2.0   internal    classifier  deny        allow
llama3       weights  apache-2.0   distribute  general     deny        allow
llama3.1     weights  llama3.1     internal    general     conditions  conditions
llama3.1     weights  llama3.1     distribute  general     conditions  conditions
llama3.2     weights  apache-2.0   host        general     conditions  allow
llama3.3     weights  apache-2.0   distribute  classifier  conditions  allow
llama4       weights  llama4       distribute  general     conditions  conditions
gemma        weights  gemma        internal    general     conditions  conditions
gemma        weights  apache-2.0   distribute  general     conditions  allow
gemma        weights  gemma        host        classifier  conditions  conditions
tencent-hunyuan weights tencent-hunyuan host   general     conditions  conditions
qwen         weights  apache-2.0   distribute  general     conditions  allow
qwen         weights  qwen         distribute  general     conditions  unknown
qwen-research weights apache-2.0   internal    general     conditions  allow
qwen-research weights qwen-research internal   general     conditions  unknown
qwen-community-1.0 weights apache-2.0 internal general     unknown     allow
qwen-community-1.0 weights apache-2.0 host     general     unknown     allow
kimi-k2.5    weights  mit          host        general     conditions  allow
kimi-k3      weights  mit          internal    general     unknown     allow
minimax-m2.7 weights  mit          internal    general     unknown     allow
grok-2       weights  apache-2.0   internal    general     deny        allow
grok-2       weights  apache-2.0   internal    classifier  unknown     allow
grok-2       weights  grok-2       internal    general     deny        unknown
mrl-0.1      weights  apache-2.0   internal    general     deny        allow
mrl-0.1      weights  mrl-0.1      internal    classifier  deny        deny
exaone       weights  apache-2.0   internal    general     unknown     allow
google/gemma-4-9b weights apache-2.0 host      general     allow       allow
google/gemma-3-4b weights apache-2.0 host      general     conditions  allow
deepseek-ai/DeepSeek-R1 weights mit distribute general     allow       allow
zai-org/GLM-5.2 weights mit        distribute  general     allow       allow
openai/gpt-oss-20b weights mit     host        general     allow       allow
MIT-AND-llama3.1 weights apache-2.0 internal   general     conditions  allow
MIT-OR-llama3 weights apache-2.0   internal    general     allow       allow
""".strip().splitlines()
CASES = [tuple(line.split()) for line in TABLE]


def outcomes(named: str, surface: str, base: str, use: Use, today: date = TODAY) -> tuple[str, str]:
    """Return what is decided of a teacher, and of the weights that a student is made from."""
    facts, stated = packaged_facts(), Stated(use=use)
    found = terms_of(named.replace("-AND-", " AND ").replace("-OR-", " OR "), _surface(surface))
    teacher = decide(named, found.evidence, stated, today=today)
    by = terms_of(base).evidence if facts.find(base) else ()
    return teacher.outcome, decide(base, by, stated, role="base", today=today).outcome


def _surface(surface: str) -> Any:
    return None if surface == "-" else surface


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_a_case_is_decided_as_the_facts_say(case: tuple[str, ...]) -> None:
    named, surface, base, intent, kind, teacher, of_base = case
    use = Use(cast(Any, None if intent == "-" else intent), cast(Any, kind))
    assert outcomes(named, surface, base, use) == (teacher, of_base)


def test_the_table_is_long_and_asks_each_question() -> None:
    assert len(set(CASES)) == len(CASES) >= 60
    assert {case[1] for case in CASES} == {"api", "app", "weights", "-"}
    assert {case[3] for case in CASES} == {*INTENTS, "-"} and {c[4] for c in CASES} == set(KINDS)
    assert {case[5] for case in CASES} == {"allow", "conditions", "unknown", "deny"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("intent", [None, *INTENTS])
def test_nothing_unknown_is_permitted(intent: Any, kind: Any) -> None:
    """Of every entry: unverified, out of date, or without a fact, it permits nothing."""
    use, facts = Use(intent, kind), packaged_facts()
    for entry, role in itertools.product((*facts.licences, *facts.surfaces), ("teacher", "base")):
        stated, now = entry.stated(use, cast(Any, role)), entry.outcome(TODAY, use, cast(Any, role))
        later = entry.outcome(LATER, use, cast(Any, role))
        if entry.confidence == "U" or stated == "unknown":
            assert now in ("unknown", "deny") and later in ("unknown", "deny"), entry.id
        if entry.recheck_after is not None:
            assert later in ("unknown", "deny"), entry.id
        else:
            # A text that cannot change has no date.
            assert entry.id in ("apache-2.0", "mit") and later == now == "allow"


def test_an_intent_that_is_not_stated_permits_no_more_than_any_that_is() -> None:
    strict = ("allow", "conditions", "unknown", "deny").index
    for case in CASES:
        named, surface, base, _, kind, *_ = case
        left_out = outcomes(named, surface, base, Use(None, cast(Any, kind)))
        for intent in INTENTS:
            stated = outcomes(named, surface, base, Use(intent, cast(Any, kind)))
            assert all(strict(a) >= strict(b) for a, b in zip(left_out, stated, strict=True))


def test_stale_and_unverified_facts_are_named_with_their_dates() -> None:
    found = terms_of("deepseek").evidence
    old = decide("deepseek", found, Stated(), today=LATER)
    with pytest.raises(PotstillError) as caught:
        old.require()
    said = "are out of date since 2027-05-31 (checked 2026-11)"
    assert said in str(caught.value) and "DeepSeek Open Platform terms" in str(caught.value)
    unverified = decide("mistral", terms_of("mistral").evidence, Stated(), today=TODAY)
    assert "facts are unverified (checked 2026-11)" in unverified.reason
    # What forbids does so however old it is.
    assert decide("x", terms_of("zai").evidence, Stated(), today=LATER).outcome == "deny"


@pytest.mark.parametrize(
    ("named", "surface", "words"),
    [
        ("nobody-knows-it", None, "potstill knows no model, service or licence"),
        ("apache-2.0", "api", "potstill knows no service called apache-2.0"),
        ("deepseek", "app", "no facts on a service of deepseek that is an app"),
        ("openai", "weights", "weights have licences of their own"),
    ],
)
def test_what_is_not_known_by_name_is_said(named: str, surface: Any, words: str) -> None:
    with pytest.raises(PotstillError, match=words):
        terms_of(named, surface)


def test_the_reference_page_is_made_from_the_facts() -> None:
    from pathlib import Path

    from potstill.terms.docs import terms_page

    page = Path(__file__).parents[2] / "docs" / "reference" / "terms.md"
    assert page.read_text(encoding="utf-8") == terms_page(), "run: make docs"
