"""What a store holds, whatever came in, in whatever order, and whatever was taken out again."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import traffic_logs as logs
from traffic_logs import NOW, Ingest, held, request, write_lines, write_table
from typer.testing import CliRunner

from potstill.cli.app import app
from potstill.errors import PotstillError
from potstill.runs.watching import LogWanted, forget_of, ingest_log
from potstill.watch.ingest.rows import store_schema
from potstill.watch.ingest.secret import read_store_key
from potstill.watch.ingest.store import TrafficStore
from potstill.watch.sketches import sketched

ROWS = [request(n) for n in range(30)]
TEXTS = ("system", "prompt", "messages", "response", "tools")


def said(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows without what says where they are from."""
    return [{k: v for k, v in row.items() if k not in ("source", "row")} for row in rows]


@pytest.mark.parametrize("privacy", ["metadata", "sketches", "full"])
def test_a_mode_keeps_what_it_says(privacy: str, ingest: Ingest, tmp_path: Path) -> None:
    secret = "xyzzy plugh"
    rows = [request(n, prompt=f"{secret} {n}", system=secret, response=secret) for n in range(5)]
    path = write_lines(tmp_path / "log.jsonl", *map(logs.openai, rows))
    ingest(path, privacy=privacy)
    found = held(tmp_path / "store")
    assert len(found) == 5
    assert list(found[0]) == store_schema(privacy).names  # type: ignore[arg-type]
    everything = b"".join(p.read_bytes() for p in (tmp_path / "store").rglob("*") if p.is_file())
    texts = repr(found).encode() + everything
    assert (b"xyzzy" in texts) == (privacy == "full")
    assert b"10.0.0." not in texts
    assert {row["prompt_chars"] for row in found} == {13}
    if privacy != "metadata":
        key = read_store_key(tmp_path / "store/key").subkey("sketch", 16)
        import pyarrow as pa

        expected = sketched(pa.array([row["prompt"] for row in rows]), key)
        by_id = {row["request_id"]: row for row in found}
        assert [by_id[row["request_id"]]["prompt_sketch"] for row in rows] == (
            expected.sketch.to_pylist()
        )
        assert len({row["system_hash"] for row in found}) == 1


def test_addresses_are_hashed_and_still_tell_who_shares_one(ingest: Ingest, tmp_path: Path) -> None:
    rows = [
        request(0, client="10.1.2.3"),
        request(1, client="10.1.2.77"),
        request(2, client="::ffff:10.1.2.3"),
        request(3, client="2001:db8:1:2::1"),
        request(4, client="2001:db8:1:3::9"),
        request(5, client="unix:socket"),
        request(6, client=None),
    ]
    ingest(write_lines(tmp_path / "log.jsonl", *rows))
    found = {row["request_id"]: row for row in held(tmp_path / "store")}
    client = [found[f"r{n}"]["client"] for n in range(7)]
    subnet = [found[f"r{n}"]["client_subnet"] for n in range(7)]
    assert client[0] == client[2] != client[1]
    assert subnet[0] == subnet[1] == subnet[2] and subnet[3] == subnet[4] != subnet[0]
    assert (client[6], subnet[5], subnet[6]) == (None, None, None)


def test_a_key_that_stands_for_an_account_is_not_stored(ingest: Ingest, tmp_path: Path) -> None:
    ingest(write_lines(tmp_path / "log.jsonl", request(0, account_id="sk-live-123")))
    (row,) = held(tmp_path / "store")
    assert "sk-" not in row["account_id"] and len(row["account_id"]) == 24


def test_a_file_is_taken_once_whatever_it_is_called(ingest: Ingest, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "log.jsonl", *ROWS)
    ingest(path)
    before = held(tmp_path / "store")
    again = ingest(path.rename(tmp_path / "other.jsonl"))
    assert again.files[0].again and held(tmp_path / "store") == before


def test_repeats_are_merged_whatever_the_order_of_files(ingest: Ingest, tmp_path: Path) -> None:
    less = [{**row, "user_agent": None, "latency_s": None} for row in ROWS[:10]]
    files = [
        write_lines(tmp_path / "0.jsonl", *ROWS[:20], ROWS[3]),
        write_lines(tmp_path / "1.jsonl", *less, *ROWS[10:25]),
        write_table(tmp_path / "2.parquet", ROWS[5:]),
    ]
    results = []
    for number, order in enumerate((files, files[::-1], [files[1], files[2], files[0]])):
        into = f"store{number}"
        for path in order:
            ingest_log(LogWanted((str(path),), now=NOW), tmp_path / into, "full", tmp_path / "key")
        store = TrafficStore.reading(tmp_path / into)
        merged = sum(one.merged for one in store.ingested.sources.values())
        kept = sum(one.tally.kept for one in store.ingested.sources.values())
        assert kept - merged == 30
        results.append(held(tmp_path / into))
    assert len(results[0]) == 30
    assert all(row["user_agent"] == "sdk/1" for row in results[0])
    assert all(one == results[0] for one in results[1:])


def test_one_name_in_two_accounts_or_on_two_days_is_two_requests(
    ingest: Ingest, tmp_path: Path
) -> None:
    rows = [
        request(0, account_id="a"),
        request(0, account_id="b"),
        request(0, account_id="a", time="2026-03-09T00:00:00Z"),
    ]
    report = ingest(write_lines(tmp_path / "log.jsonl", *rows))
    assert report.files[0].merged == 0 and len(held(tmp_path / "store")) == 3


def test_a_deleted_day_and_an_erased_account_stay_out(ingest: Ingest, tmp_path: Path) -> None:
    first, late = ROWS[:20], ROWS[20:]
    table = tmp_path / "accounts.csv"
    table.write_text("account_id,plan\na0,free\na1,pro\n")
    ingest(write_lines(tmp_path / "a.jsonl", *first), accounts=table)
    taken = forget_of(tmp_path / "store", ("2026-03-02",), ("a0",))
    assert taken == {"day 2026-03-02": 7, "account 1": 7}
    report = ingest(write_lines(tmp_path / "b.jsonl", *late), accounts=table)
    assert report.files[0].tally["aside"] == {"a deleted day": 3, "an erased account": 3}
    found = held(tmp_path / "store")
    rest = [r for r in ROWS if r["account_id"] != "a0" and "-02T" not in r["time"]]
    assert {row["request_id"] for row in found} == {row["request_id"] for row in rest}
    accounts = pq.read_table(tmp_path / "store/accounts.parquet").to_pylist()
    assert [row["account_id"] for row in accounts] == ["a1"]
    everything = b"".join(
        p.read_bytes() for p in (tmp_path / "store").rglob("*.json") if p.is_file()
    )
    assert b'"a0"' not in everything


def test_a_kill_before_the_record_leaves_nothing(
    ingest: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(write_lines(tmp_path / "a.jsonl", *ROWS[:10]))
    before = held(tmp_path / "store")

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    path = write_lines(tmp_path / "b.jsonl", *ROWS[10:])
    with monkeypatch.context() as patched:
        patched.setattr(TrafficStore, "record", killed)
        with pytest.raises(KeyboardInterrupt):
            ingest(path)
    assert held(tmp_path / "store") == before
    ingest(path)
    assert len(held(tmp_path / "store")) == 30
    assert len(list((tmp_path / "store/requests").rglob("*.parquet"))) == 6


def test_a_store_keeps_its_mode_and_its_key(ingest: Ingest, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "log.jsonl", *ROWS)
    ingest(path, privacy="metadata")
    with pytest.raises(PotstillError, match="was made with --privacy metadata"):
        ingest(path, privacy="full")
    assert ingest(path, privacy=None).privacy == "metadata"
    key = tmp_path / "store/key"
    assert os.name == "nt" or stat.S_IMODE(key.stat().st_mode) == 0o600
    text = key.read_text()
    key.write_text(text[:-10] + ("0" if text[-10] != "0" else "1") + text[-9:])
    with pytest.raises(PotstillError, match="not the key"):
        ingest(path, privacy=None)


@pytest.mark.parametrize("harm", ["cut", "gone", "a folder", "other columns", "no accounts"])
def test_a_store_with_a_harmed_file_is_not_used_in_silence(
    harm: str, ingest: Ingest, tmp_path: Path
) -> None:
    rows = [{"account_id": row["account_id"], "plan": "free"} for row in ROWS[:1]]
    accounts = write_table(tmp_path / "accounts.parquet", rows)
    ingest(write_lines(tmp_path / "log.jsonl", *ROWS), accounts=accounts, privacy="sketches")
    path = next((tmp_path / "store/requests").rglob("*.parquet"))
    if harm == "no accounts":
        path = tmp_path / "store/accounts.parquet"
    table, whole = pq.read_table(path, partitioning=None), path.read_bytes()
    path.unlink()
    if harm == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif harm == "a folder":
        path.mkdir()
    elif harm == "other columns":
        pq.write_table(table.drop_columns(["prompt_sketch"]), path)
    for command in (["find"], ["forget", "--account", "a"], ["forget", "--day", "2026-03-01"]):
        result = CliRunner().invoke(app, ["watch", *command, str(tmp_path / "store")])
        assert result.exit_code == 2 and path.name in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("said", "instead"), [("traffic/1", "traffic/2"), ("sketches: 1", "sketches: 2")]
)
def test_a_store_of_another_version_is_refused(
    said: str, instead: str, ingest: Ingest, tmp_path: Path
) -> None:
    log = write_lines(tmp_path / "log.jsonl", *ROWS)
    ingest(log, privacy="sketches")
    header = tmp_path / "store/watch.yaml"
    header.write_text(header.read_text().replace(said, instead))
    with pytest.raises(PotstillError, match="another version of potstill"):
        ingest(log, privacy=None)


def test_folders_that_somebody_put_into_a_store_stay(ingest: Ingest, tmp_path: Path) -> None:
    log = write_lines(tmp_path / "log.jsonl", *ROWS)
    ingest(log)
    (tmp_path / "store/requests/day=2026-03-09/mine").mkdir(parents=True)
    assert ingest(log).files[0].again
    assert (tmp_path / "store/requests/day=2026-03-09/mine").is_dir()


def test_what_is_set_aside_has_its_place_and_its_text_only_if_wanted(
    ingest: Ingest, tmp_path: Path
) -> None:
    lines = [ROWS[0], "{broken", "", request(1, account_id=None), b"\xff\xfe", "[1]", ROWS[2]]
    path = write_lines(tmp_path / "log.jsonl", *lines)
    report = ingest(path)
    assert report.files[0].tally["aside"] == {
        "no JSON object": 2,
        "no account": 1,
        "not UTF-8": 1,
    }
    (aside,) = (tmp_path / "store/aside").iterdir()
    assert pq.read_table(aside).to_pylist() == [
        {"row": 2, "reason": "no JSON object"},
        {"row": 4, "reason": "no account"},
        {"row": 5, "reason": "not UTF-8"},
        {"row": 6, "reason": "no JSON object"},
    ]
    ingest(path, into="with", with_text=True)
    (aside,) = (tmp_path / "with/aside").iterdir()
    assert pq.read_table(aside)["text"].to_pylist()[0] == "{broken"


def test_clocks_that_run_ahead_are_said(ingest: Ingest, tmp_path: Path) -> None:
    rows = [
        request(0),
        request(1, time="2026-03-20T06:00:00Z"),
        request(2, time="2026-03-01 09:00:00"),
    ]
    report = ingest(write_lines(tmp_path / "log.jsonl", *rows), zone="Europe/Berlin")
    tally = report.files[0].tally
    assert (tally["future"], tally["no_zone"]) == (1, 1)
    assert tally["ahead_s"] == pytest.approx(6 * 3600 - 300)
    notes = " ".join(report.files[0].notes)
    assert "in the future, by up to 5.9 hours" in notes
    assert held(tmp_path / "store")[0]["time"].isoformat() == "2026-03-01T08:00:00+00:00"


def test_each_file_of_a_folder_is_recognised_by_itself(ingest: Ingest, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    write_lines(folder / "a.jsonl", *map(logs.litellm, ROWS[:5]))
    write_lines(folder / "day=2/b.jsonl.gz", *map(logs.openai, ROWS[5:10]))
    write_lines(folder / "c.jsonl.zst", logs.otlp(ROWS[10:15]))
    write_table(folder / "d.parquet", ROWS[15:])
    (folder / "README.txt").write_text("no log")
    (folder / "bad.parquet").write_bytes(b"PAR1 no")
    report = ingest(folder)
    assert {one.name: one.form for one in report.files} == {
        "a.jsonl": "litellm",
        "b.jsonl.gz": "openai",
        "c.jsonl.zst": "otel",
        "d.parquet": "potstill",
        "bad.parquet": None,
    }
    assert report.passed_over == ("README.txt",)
    assert [one.name for one in report.failed] == ["bad.parquet"]
    assert len(held(tmp_path / "store")) == 30


def test_what_is_recorded_holds_no_text(ingest: Ingest, tmp_path: Path) -> None:
    rows = [request(0, prompt="xyzzy"), "xyzzy {", request(1, status="xyzzy")]
    report = ingest(write_lines(tmp_path / "log.jsonl", *rows), privacy="sketches")
    assert "xyzzy" not in json.dumps(report.record())
    assert "xyzzy" not in (tmp_path / "store/state/ingested.json").read_text()


def test_any_ibis_table_is_taken_in_once_under_its_name(engine: Any, tmp_path: Path) -> None:
    import ibis

    from potstill.runs.watching import open_store
    from potstill.watch.ingest.tables import take_table
    from potstill.watch.ingest.taking import TakingSettings

    settings = TakingSettings(NOW, {})
    with open_store(tmp_path / "store", "sketches") as store:
        for again in (False, True):
            found = take_table(store, engine, ibis.memtable(ROWS), "march", settings)
            assert found.again is again
    assert said(held(tmp_path / "store"))[0]["request_id"] == "r0"
    assert len(held(tmp_path / "store")) == 30


def test_a_log_whose_name_is_a_pattern_is_read_alone(ingest: Ingest, tmp_path: Path) -> None:
    for name, rows in (("log*.parquet", ROWS[:5]), ("logs.parquet", ROWS[5:])):
        write_table(tmp_path / name, rows)
    ingest(tmp_path / "log*.parquet")
    assert len(held(tmp_path / "store")) == 5
