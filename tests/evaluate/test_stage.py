"""Evaluation as a function: of students, stored answers and prompts, without a run directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from held_out_stores import CONFIG, SEED, access_to, collected, corpus_on, prompts, written

from pipeline_runs import Noted
from potstill.errors import PotstillError
from potstill.evaluate.stage import Measuring, evaluate_student
from potstill.exchanges.rows import Mark
from potstill.exchanges.store import ExchangeStore
from potstill.models.load import load, save
from potstill.models.size import parameter_count
from potstill.progress import Silent
from potstill.recipe import CallsConfig, TaskConfig
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.work.access import PastCalls, RightAnswers
from potstill.work.corpus import Corpus
from potstill.work.stage_records import EvaluateRecord

HOW = Measuring(CONFIG, None, machine_hour=1.5, seed=SEED)
ASKED = prompts(6)
SECTIONS = {"held_out", "models", "differences", "vocabulary", "samples"}


@pytest.fixture(scope="module")
def answered(nano_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    corpus = collected(nano_llama, tmp_path_factory.mktemp("answered"), ASKED)
    yield corpus
    corpus.store.close()


@pytest.fixture(scope="module")
def shorter(nano_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student without the teacher's first block."""
    student, _ = pruned(load(str(nano_llama), precision="fp32"), Cut(blocks=(0,)))
    directory = tmp_path_factory.mktemp("shorter")
    save(student, directory)
    return directory


def past(root: Path, directory: Path, *, of: PastCalls | RightAnswers, **options: object) -> Corpus:
    """Return the corpus of answers that nobody can be asked for again."""
    store = ExchangeStore(root)
    rows = [written(p, f"I count: {i}, {i + 1}.", temperature=None) for i, p in enumerate(ASKED)]
    store.append(rows[:5])
    return corpus_on(store, access_to(directory, of), "past", **options)  # type: ignore[arg-type]


def test_students_are_measured_against_the_teacher(
    answered: Corpus, nano_llama: Path, shorter: Path
) -> None:
    directories = {"student": nano_llama, "untrained": shorter}
    found = evaluate_student(directories, answered, ASKED, HOW, progress=Silent())
    models = found.sections.models
    assert models.teacher is not None and models.untrained is not None and models.pruned is None
    # A student that is its teacher is as near as rounding lets it be.
    assert models.student.kl_per_token is not None and models.student.greedy is not None
    assert models.student.kl_per_token.value == pytest.approx(0, abs=1e-5)
    assert models.student.top1_agreement is not None
    assert models.student.top1_agreement.value == 1
    assert models.untrained.kl_per_token is not None
    assert models.untrained.kl_per_token.value > 0.01
    assert models.untrained.greedy is None  # only trained students read it
    difference = found.sections.differences.student_minus_untrained_kl
    assert difference is not None and difference.value < 0
    assert found.sections.held_out.prompts == len(ASKED)
    assert found.sections.held_out.left_out == {}
    assert len(found.sections.samples) == CONFIG.sample_pairs
    assert found.student_params == parameter_count(answered.opened.teacher.network)
    assert found.task is None and found.tool_calls is None
    # What it took is measured around it.
    assert (found.seconds, found.joules) == (0, None)


def test_what_is_recorded_has_the_keys_that_runs_have_had(
    answered: Corpus, nano_llama: Path
) -> None:
    found = evaluate_student({"student": nano_llama}, answered, ASKED, HOW, progress=Silent())
    record = json.loads(json.dumps(found.as_json()))
    stage = {"task", "tool_calls", "sections", "read", "student_params", "items"}
    assert set(record) == stage | {"seconds", "joules"}
    assert set(record["sections"]) == SECTIONS
    assert record["task"] is None and record["sections"]["models"]["untrained"] is None
    # The student reads both columns; the teacher's states are stored.
    assert len(record["read"]["student"]) == 2 * len(ASKED) and record["read"]["teacher"] == []
    assert all(prompt > 0 and response > 0 for prompt, response in record["read"]["student"])
    assert EvaluateRecord.from_json(json.dumps(record).encode()) == found


def test_a_student_that_was_cut_and_not_healed_is_measured_beside_the_others(
    answered: Corpus, nano_llama: Path
) -> None:
    cut, _ = pruned(answered.opened.teacher, Cut(blocks=(0,)))
    found = evaluate_student(
        {"student": nano_llama}, answered, ASKED, HOW, pruned=cut, progress=Silent()
    )
    models, differences = found.sections.models, found.sections.differences
    assert models.pruned is not None and models.pruned.greedy is None
    assert models.pruned.params < models.student.params
    assert differences.student_minus_pruned_kl is not None
    assert differences.student_minus_pruned_kl.value < 0
    assert len(found.read["pruned"]) == len(ASKED)


def test_prompts_without_a_figure_are_counted_by_reason(
    answered: Corpus, nano_llama: Path, tmp_path: Path
) -> None:
    """Two have no answer, two were never asked, and one answer was dropped."""
    config = CONFIG.model_copy(update={"greedy": False})
    how = Measuring(config, None, 1.5, SEED)
    store = ExchangeStore(tmp_path)
    store.append([row for row in answered.store.read() if row.sampling["temperature"] == 1])
    dropped = next(row for row in store.read() if row.prompt_id == ASKED[1].prompt_id)
    store.mark([Mark(dropped.exchange_id, "curate", False, "empty")])
    corpus = corpus_on(store, answered.opened.access, answered.author_identity)
    wanted, directories = [*ASKED, *prompts(8)[6:]], {"student": nano_llama}
    found = evaluate_student(directories, corpus, wanted, how, unasked=2, progress=Silent())
    assert found.sections.held_out.left_out == {"no_answer": 2, "too_long": 2, "empty": 1}
    assert found.sections.held_out.prompts == len(ASKED) - 1
    assert found.sections.models.student.greedy is None
    # Fidelity that is measured on the first prompts alone lacks none of the others.
    first = {p.prompt_id for p in ASKED[:3]}
    fewer = Measuring(config.model_copy(update={"fidelity_prompts": 3}), None, 1.5, SEED)
    corpus = corpus_on(
        store,
        answered.opened.access,
        answered.author_identity,
        measured_on=lambda row: row.prompt_id in first,
    )
    found = evaluate_student(directories, corpus, wanted, fewer, progress=Silent())
    assert found.sections.held_out.left_out == {"empty": 1}
    assert found.sections.held_out.prompts == 2
    store.close()


@pytest.mark.parametrize("gold", [False, True])
def test_without_the_teacher_s_weights_students_are_measured_on_its_text(
    gold: bool, nano_llama: Path, shorter: Path, tmp_path: Path
) -> None:
    calls = CallsConfig(path="log.jsonl", source="apache-2.0")
    corpus = past(
        tmp_path, nano_llama, of=RightAnswers("none") if gold else PastCalls("past", calls)
    )
    task = TaskConfig(kind="text", max_tokens=8)
    how = Measuring(CONFIG, task, machine_hour=3.0, seed=SEED)
    wanted = prompts(6, gold=True)
    directories = {"student": nano_llama, "untrained": shorter}
    found = evaluate_student(directories, corpus, wanted, how, unasked=1, progress=Silent())
    models, differences = found.sections.models, found.sections.differences
    assert models.teacher is None and models.student.kl_per_token is None
    assert models.untrained is not None
    assert differences.student_minus_untrained_nll is not None
    assert differences.student_minus_untrained_nll.value < 0
    assert found.sections.held_out.left_out == {"no_answer": 1, "too_long": 1}
    assert found.task is not None
    # The right answers are all there; a teacher's are those that are stored.
    assert found.task.scores.n == (6 if gold else 5)
    assert (found.task.scores.teacher is None) == gold
    assert set(found.task.prices) == {"student"}
    assert found.task.scores.left_out == {"too_long": 1, **({} if gold else {"no_answer": 1})}
    assert set(found.read) == {"student", "untrained"}
    corpus.store.close()


def test_what_a_student_cannot_read_is_said(nano_llama: Path, tmp_path: Path) -> None:
    store = ExchangeStore(tmp_path)
    store.append([written(ASKED[0], "one two"), written(ASKED[1], "one " * 900)])
    progress = Noted()
    of = PastCalls("past", CallsConfig(path="log.jsonl", source="apache-2.0"))
    corpus = corpus_on(store, access_to(nano_llama, of), "past", progress=progress)
    directories = {"student": nano_llama}
    found = evaluate_student(directories, corpus, ASKED[:2], HOW, progress=progress)
    assert found.sections.held_out.left_out == {"too_long": 1}
    (note,) = progress.notes
    assert note.startswith("evaluate: 1 of 2 held-out answers are left out: longer than")
    store.close()


def test_without_a_held_out_answer_there_is_nothing_to_measure(
    answered: Corpus, nano_llama: Path, tmp_path: Path
) -> None:
    store = ExchangeStore(tmp_path)
    corpus = corpus_on(store, answered.opened.access, answered.author_identity)
    with pytest.raises(PotstillError, match="no held-out exchange to evaluate on"):
        evaluate_student({"student": nano_llama}, corpus, ASKED, HOW, progress=Silent())
    store.close()
