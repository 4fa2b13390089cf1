"""The report's section on the task."""

from __future__ import annotations

from typing import Any

from potstill.evaluate.tasks import TaskRow, score_task
from potstill.recipe import TaskConfig
from potstill.report.task import task

CONFIG = TaskConfig(kind="label", labels=("yes", "no"), slice="place", apart=("<b>far</b>",))


def evaluation(apart: bool) -> dict[str, Any]:
    near = [TaskRow("yes", "yes", "yes", "near")] * 60
    far = [TaskRow("yes", "no", "yes", "<b>far</b>")] * 30
    config = CONFIG if apart else CONFIG.model_copy(update={"apart": ()})
    return {"task": score_task(config, near + far).model_dump(mode="json")}


def test_a_slice_apart_is_marked_and_has_a_sentence_with_its_own_word():
    section = task(evaluation(apart=True))
    assert section is not None
    assert "scores 100.0%" in section["verdict"]
    assert "60 held-out rows" in section["verdict"]
    (note,) = [note for note in section["notes"] if "scored apart" in note]
    assert note.startswith("The 30 rows of <b>far</b> are unlike those")
    assert "-100.0 points (-100.0 to " in note
    assert note.endswith("), worse.")
    names = [row["name"] for row in section["slices"]["rows"]]
    assert names == ["<b>far</b>, scored apart", "near"]


def test_without_slices_apart_nothing_is_said_of_them():
    section = task(evaluation(apart=False))
    assert section is not None
    assert "90 held-out rows" in section["verdict"]
    assert not any("apart" in note for note in section["notes"])
    assert not any("apart" in row["name"] for row in section["slices"]["rows"])
