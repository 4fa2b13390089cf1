"""Days that come late, twice or not at all give what a first run over the same store gives."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ibis", reason="campaigns are found with the extra `watch`")
pytest.importorskip("networkx", reason="campaigns are found with the extra `watch`")

from day_worlds import POOL, START, account_rows, day_name, day_rows, take_days, take_rows
from typer.testing import CliRunner

from potstill.cli.app import app
from potstill.errors import PotstillError
from potstill.runs.watch_daily import DailyWanted, follow_store
from potstill.runs.watch_deciding import allow, close_cases
from potstill.runs.watching import forget_of, open_store
from potstill.watch.days import following, running
from potstill.watch.days.daylog import DAYS_FOLDER, log_path, read_days
from potstill.watch.days.report import DailyReport

DAYS = 4
POOLED = tuple(f"acct{n}" for n in POOL)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a store of four days that were followed one by one."""
    folder = tmp_path_factory.mktemp("days")
    store = take_days(folder, range(DAYS))
    for day in range(DAYS):
        found = follow(store, day)
        assert found.computed == (day_name(day),) and found.again == ()
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "here")
    return tmp_path / "here"


def follow(store: Path, last: int = DAYS - 1, **wanted: Any) -> DailyReport:
    return follow_store(DailyWanted(store, day_name(last), **wanted))


def fresh(store: Path, last: int = DAYS - 1) -> tuple[DailyReport, bytes]:
    """Return what a first run over a copy of the store gives, and its file of days."""
    copy = store.with_name("fresh")
    shutil.copytree(store, copy)
    shutil.rmtree(copy / DAYS_FOLDER, ignore_errors=True)
    return follow(copy, last), log_path(copy).read_bytes()


def same_as_fresh(store: Path, found: DailyReport, last: int = DAYS - 1) -> None:
    """Assert that a store's days are a first run's, to the byte, and what is reported of them."""
    first, lines = fresh(store, last)
    assert log_path(store).read_bytes() == lines
    runs = {"computed", "again"}
    assert found.model_dump(exclude=runs) == first.model_dump(exclude=runs)


def test_a_pool_is_one_case_that_stands_from_its_day_on(folder: Path) -> None:
    found = follow(folder / "store")
    assert found.computed == () and found.days == tuple(day_name(day) for day in range(DAYS))
    (case,) = found.cases
    assert case.accounts == POOLED and found.open == 1 and not case.new
    (best, *_) = case.candidates
    assert best.chosen_on == best.stands_since == day_name(0)
    parts = {one.part: one for one in best.parts}
    assert parts["hand-off"].tests == DAYS and parts["hand-off"].log10_e > 10
    assert parts["clock"].tests == 1 and parts["means"].counts == "once"
    assert "essay" not in log_path(folder / "store").read_text()
    same_as_fresh(folder / "store", found)


def test_a_look_that_finds_nothing_new_writes_nothing(folder: Path) -> None:
    store = folder / "store"
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
    assert follow(store).computed == ()
    after = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.slow
def test_rows_that_come_late_are_counted_on_their_day(folder: Path) -> None:
    late = day_rows(1)[:40]
    for row in late:
        row["request_id"] = f"late-{row['request_id']}"
    take_rows(folder, late, name="late")
    found = follow(folder / "store")
    assert found.again == found.computed == tuple(day_name(day) for day in range(1, DAYS))
    same_as_fresh(folder / "store", found)


def test_a_day_that_comes_twice_changes_nothing(folder: Path) -> None:
    again = day_rows(2)
    again.reverse()
    take_rows(folder, again, name="again")
    found = follow(folder / "store")
    assert found.computed == found.again == ()


@pytest.mark.slow
def test_a_day_that_is_taken_out_was_never_there(folder: Path) -> None:
    forget_of(folder / "store", (day_name(1),), ())
    assert [line.day for line in read_days(folder / "store")] == [day_name(0)]
    found = follow(folder / "store")
    assert found.days == tuple(day_name(day) for day in (0, 2, 3))
    assert found.computed == (day_name(2), day_name(3))
    same_as_fresh(folder / "store", found)


@pytest.mark.slow
def test_an_account_that_is_erased_was_never_there(folder: Path) -> None:
    store = folder / "store"
    forget_of(store, (), ("acct65",))
    files = [path for path in store.rglob("*") if path.is_file()]
    assert not any(b"acct65" in path.read_bytes() for path in files)
    found = follow(store)
    (case,) = found.cases
    assert case.accounts == tuple(name for name in POOLED if name != "acct65") and not case.new
    same_as_fresh(store, found)


@pytest.mark.slow
def test_what_is_known_of_an_account_later_counts_from_its_first_day(folder: Path) -> None:
    accounts = account_rows()
    for one in accounts:
        if one["account_id"] in POOLED:
            one["payment"] = f"own-{one['account_id']}"
    newcomer = {"request_id": "n", "account_id": "late", "time": START.isoformat(), "prompt": "a b"}
    newcomer["time"] = START.replace(day=START.day + 2).isoformat()
    take_rows(folder, [newcomer], accounts, name="more")
    found = follow(folder / "store")
    assert found.again == tuple(day_name(day) for day in range(DAYS))
    parts = {part.part: part for part in found.cases[0].candidates[0].parts}
    assert parts["means"].log10_e < 1 < parts["hand-off"].log10_e
    same_as_fresh(folder / "store", found)


def test_an_account_of_nobody_yet_changes_no_day(folder: Path) -> None:
    accounts = [*account_rows(), {"account_id": "unseen", "device": "d", "payment": "card60"}]
    take_rows(folder, day_rows(0)[:1], accounts, name="table")
    assert follow(folder / "store").computed == ()


@pytest.mark.slow
def test_who_is_let_be_was_never_there(folder: Path) -> None:
    store = folder / "store"
    allow(store, [*POOLED[:8]], [], "our own load test")
    found = follow(store)
    assert found.allowed == 8 and found.again[0] == day_name(0)
    assert not any(set(case.accounts) & set(POOLED[:8]) for case in found.cases)
    same_as_fresh(store, found)
    allow(store, [*POOLED[:8]], [], "", remove=True)
    assert follow(store).cases[0].accounts == POOLED


def test_a_closed_case_stays_closed_when_days_come(folder: Path) -> None:
    store = folder / "store"
    (case,) = follow(store).cases
    close_cases(store, [case.case_id], "one customer")
    take_days(folder, [DAYS], name="next")
    found = follow(store, DAYS)
    assert found.computed == (day_name(DAYS),)
    assert [(one.case_id, one.status) for one in found.cases] == [(case.case_id, "closed")]
    assert found.open == 0
    result = run("daily", store, "--as-of", day_name(DAYS), "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)["cases"][0]["status"] == "closed"


def test_a_damaged_line_is_made_again(folder: Path) -> None:
    store = folder / "store"
    whole = log_path(store).read_bytes()
    lines = whole.split(b"\n")
    lines[2] = lines[2].replace(b'"chosen":[', b'"chosen": [', 1).replace(b"1", b"2", 1)
    log_path(store).write_bytes(b"\n".join(lines))
    found = follow(store)
    assert found.computed == (day_name(2), day_name(3))
    assert log_path(store).read_bytes() == whole


@pytest.mark.slow
def test_another_way_of_testing_begins_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "METHOD", f"{following.METHOD} and more")
    assert follow(folder / "store").again == tuple(day_name(day) for day in range(DAYS))


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_where_it_stopped(folder: Path) -> None:
    store = folder / "store"
    whole = log_path(store).read_bytes()
    shutil.rmtree(store / DAYS_FOLDER)
    words = [sys.executable, "-m", "potstill", "watch", "daily", str(store), "--quiet"]
    words += ["--as-of", day_name(DAYS - 1)]
    with subprocess.Popen(words, env=os.environ) as process:
        deadline = time.monotonic() + 120
        while not (log_path(store).exists() and log_path(store).read_bytes().count(b"\n") >= 2):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    there = log_path(store).read_bytes()
    assert whole.startswith(there[: there.rfind(b"\n") + 1]) and there != whole
    # Half a line, as a kill inside a write leaves it.
    log_path(store).write_bytes(there[: there.rfind(b"\n") + 1] + b'0123 {"again"')
    found = follow(store)
    assert 0 < len(found.computed) < DAYS
    assert log_path(store).read_bytes() == whole


def test_one_process_at_a_time_follows_a_store(folder: Path) -> None:
    store = folder / "store"
    with open_store(store, None, there=True):
        refused = run("daily", store, "--as-of", day_name(DAYS - 1))
    assert refused.exit_code == 2 and "in use by another potstill process" in refused.output
    done = run("daily", store, "--as-of", day_name(DAYS - 1))
    assert done.exit_code == 3, done.output
    assert "1 open case" in done.stdout and "stands since" in done.stdout


def test_cron_reads_a_status_and_json(folder: Path) -> None:
    store = folder / "store"
    result = run("daily", store, "--json", "--as-of", day_name(DAYS - 1))
    said = json.loads(result.stdout)
    assert result.exit_code == 3 and said["schema"] == "potstill/watch-daily/1"
    assert said["false_expected"] == 0.05 and said["cases"][0]["candidates"]
    for words, says in (
        (("--as-of", "yesterday"), "--as-of takes a date"),
        (("--level", "1"), "between 0 and 1"),
        (("--as-of", "2026-01-01"), "a day is looked at when it is over"),
    ):
        refused = run("daily", store, *words)
        assert refused.exit_code == 2 and says in refused.output
    assert run("daily", folder / "nothing").exit_code == 2


def test_a_day_that_is_not_over_is_left_out(folder: Path) -> None:
    store = folder / "store"
    with pytest.raises(PotstillError, match="when it is over"):
        follow_store(DailyWanted(store, now=datetime(2026, 3, 2, 23, tzinfo=UTC)))
    found = follow_store(DailyWanted(store, now=datetime(2026, 3, 5, 0, 5, tzinfo=UTC)))
    assert found.left_out == (day_name(3),) and found.days[-1] == day_name(2)


def test_who_looks_back_changes_nothing_of_today(folder: Path) -> None:
    store = folder / "store"
    kept = {path: path.read_bytes() for path in store.rglob("*.json*") if path.is_file()}
    found = follow(store, 1)
    assert found.days == (day_name(0), day_name(1)) and found.computed == ()
    assert {path: path.read_bytes() for path in store.rglob("*.json*") if path.is_file()} == kept


def test_a_store_without_requests_is_refused(tmp_path: Path) -> None:
    store = take_rows(tmp_path, day_rows(0)[:3])
    forget_of(store, (day_name(0),), ())
    refused = run("daily", store)
    assert refused.exit_code == 2 and "holds no requests" in refused.output


def run(*words: object) -> Any:
    return CliRunner().invoke(app, ["watch", *map(str, words)])


def test_what_is_kept_beside_the_days_may_be_damaged(folder: Path) -> None:
    """Who was active is counted anew; what lies in its way is named, with a way out that is."""
    store = folder / "store"
    for path in (store / DAYS_FOLDER / "active").iterdir():
        path.write_text("no Parquet")
    found = follow(store)
    assert found.computed == () and found.again == ()
    same_as_fresh(store, found)
    kept = log_path(store).read_bytes()
    for place in (log_path(store), store / DAYS_FOLDER / "marks.json"):
        place.unlink()
        place.mkdir()
        refused = CliRunner().invoke(app, ["watch", "daily", str(store), "--as-of", day_name(3)])
        assert refused.exit_code == 2, refused.output
        assert str(place) in refused.output and "TMPDIR" not in refused.output
        place.rmdir()
    shutil.rmtree(store / DAYS_FOLDER / "active")
    (store / DAYS_FOLDER / "active").write_text("")
    refused = CliRunner().invoke(app, ["watch", "daily", str(store), "--as-of", day_name(3)])
    assert refused.exit_code == 2 and "--out" not in refused.output
    (store / DAYS_FOLDER / "active").unlink()
    assert follow(store).computed != () and log_path(store).read_bytes() == kept
