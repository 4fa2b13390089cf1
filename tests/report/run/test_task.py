"""The report's section on the task."""

from __future__ import annotations

from typing import Any

from potstill.evaluate.tasks import TaskRow, score_task
from potstill.recipe import TaskConfig
from potstill.report.run.task import TaskSection, task
from potstill.work.evaluation_file import evaluation_of

CONFIG = TaskConfig(kind="label", labels=("yes", "no"), slice="place", apart=("<b>far</b>",))


def shown(content: dict[str, Any], *, apart: bool) -> TaskSection:
    near = [TaskRow("yes", "yes", "yes", "near")] * 60
    far = [TaskRow("yes", "no", "yes", "<b>far</b>")] * 30
    config = CONFIG if apart else CONFIG.model_copy(update={"apart": ()})
    scores = score_task(config, near + far)
    section = task(evaluation_of(content | {"task": scores.model_dump(mode="json")}))
    assert section is not None and section.slices is not None and section.verdict is not None
    return section


def test_a_slice_apart_is_marked_and_has_a_sentence_with_its_own_word(content: dict[str, Any]):
    section = shown(content, apart=True)
    assert "scores 100.0%" in section.verdict
    assert "60 held-out rows" in section.verdict
    (note,) = [note for note in section.notes if "scored apart" in note]
    assert note.startswith("The 30 rows of <b>far</b> are unlike those")
    assert "-100.0 points (-100.0 to " in note
    assert note.endswith("), worse.")
    names = [row.name for row in section.slices.rows]
    assert names == ["<b>far</b>, scored apart", "near"]


def test_without_slices_apart_nothing_is_said_of_them(content: dict[str, Any]):
    section = shown(content, apart=False)
    assert "90 held-out rows" in section.verdict
    assert not any("apart" in note for note in section.notes)
    assert not any("apart" in row.name for row in section.slices.rows)


def test_without_a_task_there_is_no_section(content: dict[str, Any]):
    assert task(evaluation_of(content | {"task": None})) is None
