"""The table of accounts, and what inspecting a log says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import traffic_logs as logs
from traffic_logs import NOW, Ingest, request, write_lines, write_table
from typer.testing import CliRunner

from potstill.cli.app import app
from potstill.errors import PotstillError
from potstill.runs.watching import LogWanted, inspect_log
from potstill.watch.ingest.account_table import read_accounts
from potstill.watch.schema import ACCOUNTS, names_of

ACCOUNT_ROWS = [
    {
        "account_id": f"a{n}",
        "created_at": "2026-02-01T00:00:00Z",
        "plan": "pro" if n else "free",
        "payment": "card-1" if n else None,
        "email_domain": f"Someone{n}@Example.org",
        "device": f"d{n % 2}",
        "subnet": "10.0.0.0/24",
        "asn": 64500,
        "country": "DE",
        "timezone": "Europe/Berlin",
        "tenant": None,
    }
    for n in range(3)
]


def csv(path: Path) -> Path:
    head = list(ACCOUNT_ROWS[0])
    lines = [
        ",".join("" if row[name] is None else str(row[name]) for name in head)
        for row in ACCOUNT_ROWS
    ]
    path.write_text("\n".join([",".join(head), *lines]) + "\n")
    return path


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_a_table_of_accounts_is_read_in_every_form(kind: str, engine: Any, tmp_path: Path) -> None:
    path = tmp_path / f"accounts.{kind}"
    if kind == "csv":
        csv(path)
    elif kind == "parquet":
        write_table(path, ACCOUNT_ROWS)
    else:
        write_lines(path, *ACCOUNT_ROWS)
    found = read_accounts(engine, path, {})
    rows = found.table.to_pylist()
    assert found.table.column_names == list(names_of(ACCOUNTS))
    assert [row["created_at"].isoformat() for row in rows] == ["2026-02-01T00:00:00+00:00"] * 3
    for name in ("account_id", "plan", "payment", "asn", "timezone", "tenant"):
        assert [row[name] for row in rows] == [row[name] for row in ACCOUNT_ROWS]


def test_what_ties_accounts_together_is_hashed_and_stays_equal(
    ingest: Ingest, tmp_path: Path
) -> None:
    log = write_lines(tmp_path / "log.jsonl", request(0, client="10.0.0.7"))
    ingest(log, accounts=write_table(tmp_path / "a.parquet", ACCOUNT_ROWS))
    rows = pq.read_table(tmp_path / "store/accounts.parquet").to_pylist()
    assert rows[0]["payment"] is None
    assert rows[1]["payment"] == rows[2]["payment"] != "card-1"
    assert len({row["email_domain"] for row in rows}) == 1
    assert [rows[0]["device"] == row["device"] for row in rows] == [True, False, True]
    (part,) = (tmp_path / "store/requests").rglob("*.parquet")
    assert pq.read_table(part, partitioning=None)["client_subnet"].to_pylist() == [
        rows[0]["subnet"]
    ]
    everything = (tmp_path / "store/accounts.parquet").read_bytes() + repr(rows).encode()
    assert b"xample.org" not in everything and b"card-1" not in everything


def test_of_two_rows_of_an_account_the_one_that_says_more_stands(
    engine: Any, tmp_path: Path
) -> None:
    rows = [{"account_id": "a"}, {"account_id": "a", "plan": "pro"}, {"plan": "x"}, "{"]
    found = read_accounts(engine, write_lines(tmp_path / "a.jsonl", *rows), {})
    assert [row["plan"] for row in found.table.to_pylist()] == ["pro"]
    assert found.aside == {"an account that comes twice": 1, "no account": 1, "no JSON object": 1}


def test_whole_numbers_are_one_name_whatever_the_tables_type(engine: Any, tmp_path: Path) -> None:
    # One row without a name turns a column of numbers into one of floats.
    for column in ([7.0, 12.0, float("nan")], [7.0, 12.0, None], [7, 12, None], ["7", "12", ""]):
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"account_id": column, "plan": ["a", "b", "c"]}), path)
        found = read_accounts(engine, path, {})
        assert found.table["account_id"].to_pylist() == ["12", "7"]
        assert found.aside == {"no account": 1}
    pq.write_table(pa.table({"account_id": [1e300, 2.5]}), path)
    assert read_accounts(engine, path, {}).table["account_id"].to_pylist() == ["1e+300", "2.5"]


@pytest.mark.parametrize("text", ["", "account_id,plan\n1,a,b\n", "account_id,plan\n1,caf\xe9\n"])
def test_a_table_of_commas_that_is_none_is_refused(text: str, engine: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(PotstillError, match="no table in UTF-8"):
        read_accounts(engine, path, {})


def test_a_table_without_accounts_is_refused(engine: Any, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", {"name": "a"})
    with pytest.raises(PotstillError, match=r"--map accounts\.account_id=COLUMN"):
        read_accounts(engine, path, {})
    assert read_accounts(engine, path, {"account_id": "name"}).table.num_rows == 1


def test_inspecting_says_what_is_missing_and_what_that_switches_off(tmp_path: Path) -> None:
    row = logs.span(request(0))
    for name in ("http.response.status_code", "client.address"):
        del row["attributes"][name]
    path = write_lines(tmp_path / "log.jsonl", row, "{")
    found = inspect_log(LogWanted((str(path),), now=NOW))
    assert {"status", "client", "tools"} <= set(found.missing)
    assert found.off["hand-off"] == ("requests.status",)
    assert found.off["shared payment"] == ("accounts.payment",)
    assert "template spread" not in found.off
    whole = inspect_log(
        LogWanted(
            (str(write_table(tmp_path / "own.parquet", [request(n) for n in range(3)])),),
            accounts=write_table(tmp_path / "accounts.parquet", ACCOUNT_ROWS),
            now=NOW,
        )
    )
    assert whole.off == {} and whole.unknown == 0


def test_inspecting_shows_text_only_where_it_is_asked_for(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "log.jsonl", request(0, prompt="xyzzy <b>"), "xyzzy {")
    runner = CliRunner()
    for more in ([], ["--json"]):
        plain = runner.invoke(app, ["watch", "inspect", str(path), "-q", *more])
        assert plain.exit_code == 0 and "xyzzy" not in plain.output
        shown = runner.invoke(app, ["watch", "inspect", str(path), "-q", "--with-text", *more])
        assert "xyzzy <b>" in shown.output


def test_the_commands_print_what_cron_reads(tmp_path: Path) -> None:
    runner = CliRunner()
    path = write_lines(tmp_path / "log.jsonl", request(0), request(1))
    arguments = ["watch", "ingest", str(path), "--into", str(tmp_path / "s"), "-q", "--json"]
    done = runner.invoke(app, arguments)
    assert done.exit_code == 0 and sum(json.loads(done.stdout)["days"].values()) == 2
    bad = tmp_path / "bad.parquet"
    bad.write_bytes(b"no")
    half = runner.invoke(app, ["watch", "ingest", str(bad), *arguments[2:]])
    assert half.exit_code == 2
    (failed, again) = json.loads(half.stdout)["files"]
    assert "bad.parquet cannot be read: " in failed["problem"] and again["again"]
    gone = runner.invoke(app, ["watch", "forget", str(tmp_path / "s"), "--day", "2026-03-01"])
    assert gone.exit_code == 0 and "1 requests taken out" in gone.output
    refused = runner.invoke(app, ["watch", "inspect", str(path), "-q", "--map", "nobody=x"])
    assert refused.exit_code == 2


def test_taking_a_log_in_imports_no_torch(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "log.jsonl", request(0))
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from potstill.runs.watching import LogWanted, ingest_log\n"
        f"ingest_log(LogWanted(({str(path)!r},)), Path({str(tmp_path / 's')!r}), 'sketches')\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
