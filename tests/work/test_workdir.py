"""A work directory of a config of its own: one process, nothing half-written, nothing guessed."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from potstill import durable
from potstill.durable import temporary_name
from potstill.errors import PotstillError
from potstill.work import lock
from potstill.work.header import Header
from potstill.work.workdir import STATE, WorkDir, WorkRecord, read_metrics

windows = pytest.mark.skipif(sys.platform == "win32", reason="processes are killed otherwise there")


class Depth(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    metres: float = 2.0


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    place: str
    count: int = 3
    depth: Depth = Depth()


class Begun(WorkRecord):
    name: ClassVar[str] = "begun"
    begun_with: ClassVar[bool] = True
    word: str


class Dug(WorkRecord):
    name: ClassVar[str] = "dug"
    made_again: ClassVar[str] = "digging is done again"
    count: int
    share: float | None
    note: str | None = None


class PitDir(WorkDir[Settings]):
    records = (Begun, Dug)

    @classmethod
    def header(cls) -> Header[Settings]:
        return Header(Settings, "pit.yaml", "settings", "pit")


def settings(**changes: Any) -> Settings:
    return Settings.model_validate({"place": "Möln", **changes})


def files(root: Path) -> dict[str, int]:
    return {str(p.relative_to(root)): p.stat().st_mtime_ns for p in sorted(root.rglob("*"))}


def test_a_new_directory_holds_its_config_and_nothing_else(tmp_path: Path) -> None:
    with PitDir.open(tmp_path / "a" / "pit", settings(count=7)) as pit:
        text = (pit.root / "pit.yaml").read_text(encoding="utf-8")
        assert text.startswith(
            "# The resolved settings of this potstill pit directory. Do not edit.\n"
        )
        assert "count: 7" in text and "metres: 2.0" in text and "Möln" in text
        assert list(files(pit.root)) == ["pit.yaml"]
    assert os.listdir(tmp_path / "a") == ["pit"]


def test_the_same_config_goes_on_and_opening_writes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "pit"
    with PitDir.open(root, settings()) as pit:
        pit.finish(Begun(word="stone"))
        pit.log({"step": 1})
    before = files(root)
    with PitDir.open(root, settings()) as pit:
        assert pit.done(Begun) == Begun(word="stone") and pit.done(Dug) is None
        assert pit.metrics() == [{"step": 1}]
    assert files(root) == before


def test_another_config_is_refused_with_both_values(tmp_path: Path) -> None:
    root = tmp_path / "pit"
    PitDir.open(root, settings()).close()
    with pytest.raises(PotstillError) as caught:
        PitDir.open(root, settings(count=4, depth={"metres": 9}))
    message = str(caught.value)
    assert f"{root} was made by other settings" in message
    assert "count is 3 there and 4 here" in message
    assert "depth.metres is 2.0 there and 9.0 here" in message
    assert "place" not in message and "--out" in message and "--fresh" in message
    PitDir.open(root, settings()).close()  # a refusal does not keep the lock
    with PitDir.open(root, settings(count=4), fresh=True) as pit:
        assert PitDir.header().read(pit.root) == settings(count=4)


def test_a_config_that_lacks_a_newer_key_means_its_default(tmp_path: Path) -> None:
    root = tmp_path / "pit"
    PitDir.open(root, settings()).close()
    path = root / "pit.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("count: 3\n", ""), encoding="utf-8")
    PitDir.open(root, settings()).close()
    path.write_text(text + "gone: 1\n", encoding="utf-8")
    with pytest.raises(PotstillError, match="gone is 1 there and not set here"):
        PitDir.open(root, settings())
    with pytest.raises(PotstillError, match=r"does not fit this version of potstill \(gone\)"):
        PitDir.reading(root)


@pytest.mark.parametrize("content", ["", "- a\n", "{", "nothing"])
def test_a_damaged_header_is_an_error(tmp_path: Path, content: str) -> None:
    root = tmp_path / "pit"
    with PitDir.open(root, settings()) as pit:
        pit.finish(Begun(word="x"))
    header = PitDir.header().first_line
    (root / "pit.yaml").write_text(header + content, encoding="utf-8")
    for opened in (lambda: PitDir.open(root, settings()), lambda: PitDir.reading(root)):
        with pytest.raises(PotstillError, match=r"pit.yaml cannot be read as YAML; .*--fresh"):
            opened()
    (root / "pit.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(PotstillError, match="not a pit directory of potstill"):
        PitDir.open(root, settings())
    assert PitDir.header().begins(root) is False
    assert (root / STATE / "begun.json").is_file()


def test_only_a_directory_of_its_own_kind_is_emptied(tmp_path: Path) -> None:
    class WellDir(PitDir):
        @classmethod
        def header(cls) -> Header[Settings]:
            return Header(Settings, "pit.yaml", "settings", "well")

    root, outside = tmp_path / "pit", tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    with PitDir.open(root, settings()) as pit:
        pit.write_text("deep/down", "x")
        (root / "link").symlink_to(outside)
    for fresh in (False, True):
        with pytest.raises(PotstillError, match="not empty and not a well directory"):
            WellDir.open(root, settings(), fresh=fresh)
    PitDir.open(root, settings(), fresh=True).close()
    assert list(files(root)) == ["pit.yaml"] and (outside / "precious").exists()


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "pit"):
        with pytest.raises(PotstillError, match="file is a file, not a directory"):
            PitDir.open(root, settings())
    with pytest.raises(PotstillError, match="is not a pit directory of potstill; check the path"):
        PitDir.reading(tmp_path)


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_workdir import Dug, PitDir, settings
try:
    pit = PitDir.open(Path(sys.argv[1]), settings())
except Exception as error:
    print(error)
    sys.exit(2)
print("held", flush=True)
{more}
"""


def process(root: Path, more: str) -> subprocess.Popen[str]:
    script = SCRIPT.format(tests=str(Path(__file__).parent), more=more)
    return subprocess.Popen(
        [sys.executable, "-c", script, str(root)], stdout=subprocess.PIPE, text=True
    )


def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have directories be locked as on NFS, where none can be."""

    def refused(root: Path) -> int:
        raise OSError(errno.EBADF, "no lock on a directory")

    monkeypatch.setattr(lock, "_directory", refused)


@windows
def test_another_process_is_refused_until_the_first_one_ends(tmp_path: Path) -> None:
    root = tmp_path / "pit"
    first = process(root, "import time\ntime.sleep(600)")
    assert first.stdout is not None and first.stdout.readline() == "held\n"
    with pytest.raises(PotstillError, match="in use by another potstill process; wait until it"):
        PitDir.open(root, settings())
    second = process(root, "")
    assert "in use by another potstill process" in second.communicate()[0]
    assert second.returncode == 2
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -9
    PitDir.open(root, settings()).close()
    assert os.listdir(tmp_path) == ["pit"] and list(files(root)) == ["pit.yaml"]


@windows
def test_where_no_directory_can_be_locked_a_file_beside_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside(monkeypatch)
    root = tmp_path / "pit"
    (tmp_path / "link").symlink_to(root)
    with PitDir.open(root, settings()):
        for name in (root, tmp_path / "link"):
            with pytest.raises(PotstillError, match="in use by another potstill process"):
                PitDir.open(name, settings())
        assert list(files(root)) == ["pit.yaml"]
    # What a killed process has left of it is in nobody's way.
    assert (tmp_path / ".pit.lock").is_file()
    PitDir.open(root, settings()).close()


def test_where_nothing_can_be_locked_the_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(descriptor: int, *, blocking: bool) -> bool:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(lock, "lock_descriptor", refused)
    with PitDir.open(tmp_path / "pit", settings()) as pit:
        pit.finish(Begun(word="x"))
        assert pit.done(Begun) == Begun(word="x")


def test_others_read_what_one_process_holds(tmp_path: Path) -> None:
    root = tmp_path / "pit"
    with PitDir.open(root, settings(count=5)) as pit:
        before = files(root)
        reader = PitDir.reading(root)
        assert reader.config == settings(count=5) and reader.done(Dug) is None
        assert files(root) == before
        pit.finish(Dug(count=1, share=0.5))
        pit.log({"step": 1})
        assert reader.done(Dug) == Dug(count=1, share=0.5) and reader.metrics() == [{"step": 1}]
    assert PitDir.reading(root).done(Dug) == Dug(count=1, share=0.5)


def test_what_reads_writes_nothing(tmp_path: Path) -> None:
    with PitDir.open(tmp_path / "pit", settings()) as pit:
        pit.finish(Begun(word="x"))
    before = files(pit.root)
    writes: list[Callable[[PitDir], object]] = [
        lambda pit: pit.finish(Dug(count=1, share=0.5)),
        lambda pit: pit.log({"step": 1}),
        lambda pit: pit.write_text("a", "b"),
        lambda pit: pit.write_json("a", {}),
        lambda pit: pit.forget_record(Begun),
    ]
    for closed in (pit, PitDir.reading(pit.root)):
        for write in writes:
            with pytest.raises(RuntimeError, match="open for reading"):
                write(closed)
    assert files(pit.root) == before


DAMAGE = ["", '{"word": ', "[1]", "\x00\x00", "null", "{}", '{"word": 7}', '{"word": "x", "y": 1}']


@pytest.mark.parametrize("content", DAMAGE)
def test_a_damaged_record_of_what_was_begun_with_is_an_error(tmp_path: Path, content: str) -> None:
    with PitDir.open(tmp_path / "pit", settings()) as pit:
        pit.finish(Begun(word="secret"))
        (pit.root / STATE / "begun.json").write_text(content)
        with pytest.raises(PotstillError) as caught:
            pit.done(Begun)
        said = str(caught.value)
        assert "begun.json is damaged, and only it says what this pit was begun with" in said
        assert "--fresh" in said and pit.damage() == []


@pytest.mark.parametrize("content", [*DAMAGE, '{"count": 1.5, "share": null}'])
def test_another_damaged_record_counts_as_none_and_is_said(tmp_path: Path, content: str) -> None:
    with PitDir.open(tmp_path / "pit", settings()) as pit:
        pit.finish(Begun(word="x"))
        pit.finish(Dug(count=1, share=None))
        assert pit.damage() == []
        (pit.root / STATE / "dug.json").write_text(content)
        assert pit.done(Dug) is None and pit.done(Begun) == Begun(word="x")
        assert pit.damage() == ["the record of dug was damaged; digging is done again"]
        pit.finish(Dug(count=2, share=None))
        assert pit.damage() == [] and pit.done(Dug) == Dug(count=2, share=None)


def test_what_damages_a_record_is_not_quoted(tmp_path: Path) -> None:
    with pytest.raises(ValidationError) as caught:
        Begun.from_json(b'{"word": ["a secret of somebody"]}')
    assert "secret of" not in str(caught.value)


def test_a_record_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    with PitDir.open(tmp_path / "pit", settings()) as pit:
        monkeypatch.setattr(Path, "read_bytes", refused)
        with pytest.raises(PotstillError, match=r"dug.json cannot be read.*permissions"):
            pit.done(Dug)


def test_records_are_shown_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    with PitDir.open(tmp_path / "pit", settings()) as pit:
        pit.finish(Dug(count=1, share=math.inf, note="a"))
        pit.finish(Begun(word="x"))
        pit.write_text("state/other.json", '{"from": "another version"}')
        for age, name in enumerate(("other", "begun", "dug")):
            os.utime(pit.record_path(name), (100 - age, 100 - age))
        expected = {
            "dug": {"count": 1, "share": None, "note": "a"},
            "begun": {"word": "x"},
            "other": {"from": "another version"},
        }
        assert pit.recorded() == expected and list(pit.recorded()) == list(expected)
        (pit.root / STATE / "dug.json").write_text("{")
        assert list(pit.recorded()) == ["begun", "other"]
        (pit.root / STATE / "begun.json").write_text("{")
        with pytest.raises(PotstillError, match=r"begun.json is damaged"):
            pit.recorded()


def test_a_record_is_forgotten(tmp_path: Path) -> None:
    with PitDir.open(tmp_path / "pit", settings()) as pit:
        pit.finish(Dug(count=1, share=0.5))
        assert pit.forget_record(Dug) and not pit.forget_record(Dug)
        assert pit.done(Dug) is None


def test_keys_that_were_not_given_are_not_written() -> None:
    for text in ('{"count": 1, "share": null}', '{"count": 1, "share": 0.5, "note": null}'):
        assert Dug.from_json(text.encode()).as_json() == json.loads(text)


def test_leftovers_of_a_kill_are_removed(tmp_path: Path) -> None:
    root = tmp_path / "pit"
    root.mkdir()
    # Killed before its first file was renamed: still an empty directory to us.
    half = temporary_name(root / "pit.yaml")
    half.write_text("# half")
    with PitDir.open(root, settings()):
        assert not half.exists() and PitDir.header().begins(root)


@windows
@pytest.mark.parametrize("after", [0.0, 0.02, 0.1])
def test_a_kill_leaves_the_old_record_or_the_new_one(tmp_path: Path, after: float) -> None:
    root = tmp_path / "pit"
    with PitDir.open(root, settings()) as pit:
        pit.finish(Dug(count=0, share=None, note="old"))
    more = 'for n in range(1, 9**9): pit.finish(Dug(count=n, share=None, note="new " * n))'
    writer = process(root, more)
    assert writer.stdout is not None and writer.stdout.readline() == "held\n"
    time.sleep(after)
    writer.send_signal(signal.SIGKILL)
    assert writer.wait() == -9
    with PitDir.open(root, settings()) as pit:
        found = pit.done(Dug)
        assert found is not None and pit.damage() == []
        assert found.note == ("old" if found.count == 0 else "new " * found.count)
        assert not list(root.rglob("*.tmp"))


def full(*args: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with PitDir.open(tmp_path / "pit", settings()) as pit:
        pit.finish(Dug(count=1, share=None))
        monkeypatch.setattr(durable.os, "fsync", full)
        with pytest.raises(PotstillError, match="the disk is full"):
            pit.finish(Dug(count=2, share=None))
        monkeypatch.undo()
        assert pit.done(Dug) == Dug(count=1, share=None)
        assert not list(pit.root.rglob("*.tmp"))


def test_a_full_disk_leaves_no_new_directory_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable.os, "fsync", full)
    with pytest.raises(PotstillError, match="the disk is full"):
        PitDir.open(tmp_path / "pit", settings())
    monkeypatch.undo()
    PitDir.open(tmp_path / "pit", settings()).close()


def test_a_half_line_of_metrics_is_ignored_and_then_cut_off(tmp_path: Path) -> None:
    root = tmp_path / "pit"
    with PitDir.open(root, settings()) as pit:
        pit.log({"step": 1, "loss": math.nan, "deep": {"x": [math.inf, 1.5]}})
    with pit.metrics_path.open("a") as file:
        file.write('{"step": 2, "lo')
    expected = [{"step": 1, "loss": None, "deep": {"x": [None, 1.5]}}]
    assert read_metrics(root) == expected
    with PitDir.open(root, settings()) as pit:
        pit.log({"step": 2})
        pit.log({"step": 3})
        assert pit.metrics() == [*expected, {"step": 2}, {"step": 3}]
    assert read_metrics(tmp_path) == []


def test_a_line_that_a_full_disk_cut_is_cut_off_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PitDir.open(tmp_path / "pit", settings()) as pit:
        pit.log({"step": 1})
        with monkeypatch.context() as disk:
            disk.setattr(Path, "open", full)
            with pytest.raises(PotstillError, match="the disk is full"):
                pit.log({"step": 2})
        with pit.metrics_path.open("a") as file:
            file.write('{"step": 2')
        pit.log({"step": 3})
        assert pit.metrics() == [{"step": 1}, {"step": 3}]


def test_json_is_plain(tmp_path: Path) -> None:
    with PitDir.open(tmp_path / "pit", settings()) as pit:
        path = pit.write_json("found.json", {"kl": (1.0, -math.inf), "text": "é"})
        assert json.loads(path.read_text(encoding="utf-8")) == {"kl": [1.0, None], "text": "é"}
        assert path == pit.root / "found.json" and "é" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("line", [b"\xff{}", b"[1]", b"{", b"null"])
def test_a_damaged_line_of_metrics_is_said(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 2}\n')
    with pytest.raises(PotstillError, match=r"line 2 of .*metrics.jsonl is damaged; take it out"):
        read_metrics(tmp_path)
