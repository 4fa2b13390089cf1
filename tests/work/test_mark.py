"""A recipe's mark: the key is read, or refused in a sentence, and stored nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from potstill.errors import PotstillError
from potstill.recipe import WatermarkConfig
from potstill.watermark.keys import MasterKey, write_key
from potstill.watermark.record import MarkRecord, write_record
from potstill.work.mark import training_mark

MASTER = MasterKey(bytes(range(32)))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "master.key"
    write_key(path, MASTER)
    return path


def test_no_key_is_no_mark() -> None:
    assert training_mark(None, None) is None


def test_a_mark_is_recorded_without_its_key(key: Path) -> None:
    mark = training_mark(WatermarkConfig(key=str(key), epoch="2026-12"), None)
    assert mark is not None and mark.warning is None
    record = mark.record()
    assert record.key_id == MASTER.epoch("2026-12").key_id
    assert (record.epoch, record.scheme) == ("2026-12", "green")
    assert record.parameters == {"window": 1, "gamma": 0.5, "delta": 1.0}
    written = json.dumps(record.as_json()) + repr(mark)
    for secret in (MASTER.secret, MASTER.epoch("2026-12").secret):
        assert secret.hex() not in written
    # Answers that carry it go on.
    assert training_mark(WatermarkConfig(key=str(key), epoch="2026-12"), record) is not None


def test_each_epoch_and_parameter_is_another_mark(key: Path) -> None:
    marks = set()
    for epoch, delta in (("a", 2.0), ("b", 2.0), ("a", 1.0)):
        found = training_mark(WatermarkConfig(key=str(key), epoch=epoch, delta=delta), None)
        assert found is not None
        marks.add(found.scheme.mark_id)
    assert len(marks) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "does not exist|is not there|no such|missing"), ("hello\n", "holds no watermark key")],
)
def test_a_key_that_cannot_be_read_is_refused(
    tmp_path: Path, content: str | None, said: str
) -> None:
    path = tmp_path / "some.key"
    if content is not None:
        path.write_text(content)
    with pytest.raises(PotstillError, match=f"collect.watermark: .*({said})"):
        training_mark(WatermarkConfig(key=str(path), epoch="a"), None)


def test_a_master_key_needs_an_epoch(key: Path) -> None:
    with pytest.raises(PotstillError, match="name the epoch"):
        training_mark(WatermarkConfig(key=str(key)), None)


def test_the_key_of_another_epoch_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "epoch.key"
    write_key(path, MASTER.epoch("2026-11"))
    with pytest.raises(PotstillError, match="epoch 2026-11, not of 2026-12"):
        training_mark(WatermarkConfig(key=str(path), epoch="2026-12"), None)
    assert training_mark(WatermarkConfig(key=str(path)), None) is not None


def test_a_key_that_others_can_read_is_warned_of(key: Path) -> None:
    key.chmod(0o644)
    mark = training_mark(WatermarkConfig(key=str(key), epoch="a"), None)
    assert mark is not None and "others on this machine may read" in str(mark.warning)


def test_another_key_than_the_stored_answers_have_is_refused(key: Path) -> None:
    known = training_mark(WatermarkConfig(key=str(key), epoch="a"), None)
    assert known is not None
    with pytest.raises(PotstillError, match="another key than the one that marks"):
        training_mark(WatermarkConfig(key=str(key), epoch="b"), known.record())


def test_a_record_beside_the_key_has_to_agree(key: Path) -> None:
    write_record(key, MarkRecord(scheme="green", gamma=0.25))
    with pytest.raises(PotstillError, match=r"collect.watermark.gamma is 0.5, and the record"):
        training_mark(WatermarkConfig(key=str(key), epoch="a"), None)
    assert training_mark(WatermarkConfig(key=str(key), epoch="a", gamma=0.25), None) is not None
