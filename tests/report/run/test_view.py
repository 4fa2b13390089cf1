"""What the page shows of samples and origins."""

from __future__ import annotations

from potstill.report.run.view import SAMPLES_BYTES, origin_facts, samples
from potstill.work.evaluation import Evaluation, SamplePair


def test_samples_say_what_was_cut() -> None:
    shown = samples([SamplePair(messages=[], teacher="a" * 1_300, student="b")])
    assert shown.pairs[0].teacher.endswith("… [100 more characters]")
    assert shown.left_out == 0


def test_samples_keep_within_their_budget() -> None:
    pair = SamplePair(messages=[{"role": "user", "content": "<" * 1_000}], teacher="", student="b")
    shown = samples([pair] * 100)
    assert len(shown.pairs) == SAMPLES_BYTES // (4 * 1_000 + 1)
    assert shown.left_out == 100 - len(shown.pairs)


def test_speakers_have_names() -> None:
    messages = [{"role": role, "content": "x"} for role in ("user", "tool", "critic", None)]
    (pair,) = samples([SamplePair(messages=messages, teacher="", student="")]).pairs
    assert [who for who, _ in pair.turns] == ["Prompt", "Tool's result", "critic", ""]


def test_the_machine_follows_what_the_caller_says(evaluation: Evaluation) -> None:
    facts = origin_facts(evaluation, {"teacher": {"licence": "mit"}})
    assert facts[0] == ("Teacher licence", "mit")
    assert ("Processor", "Example CPU 9000, 2 cores") in facts
    assert facts[-1] == ("Schema", "potstill/evaluation/2")
