"""Every signal's expression gives the same rows on DuckDB and on Spark, and so does a whole run."""

from __future__ import annotations

import inspect
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest

pytest.importorskip("ibis", reason="traffic is read with the extra `watch`")
pytest.importorskip("networkx", reason="campaigns are found with the extra `watch`")

import ibis.expr.types as ir
import pyarrow as pa
from case_worlds import NOW, SEED, START, Rows, store_of, wide_world
from typer.testing import CliRunner

from potstill.cli.app import app
from potstill.errors import PotstillError
from potstill.runs.watch_cases import CasesWanted, write_cases
from potstill.runs.watch_engines import EngineWanted, finding_engine
from potstill.runs.watch_finding import find_in
from potstill.runs.watching import open_store
from potstill.watch.campaigns import Grouping
from potstill.watch.engines import engine_of
from potstill.watch.signals import content, habits, intent, timing
from potstill.watch.signals import links as links_module
from potstill.watch.signals.content import (
    asked_counts,
    asked_with,
    pieces_used,
    slot_values,
    template_keys,
    template_use,
)
from potstill.watch.signals.habits import (
    SPREAD,
    coverage_growth,
    habits_of,
    models_seen,
    no_idle_hours,
    output_appetite,
    pivot,
    sampled,
    strata_of_habits,
    window_shift,
)
from potstill.watch.signals.intent import asking
from potstill.watch.signals.links import links, strata
from potstill.watch.signals.timing import (
    hand_offs,
    handing_over,
    minutes,
    moments,
    subjects,
)
from potstill.watch.signals.traffic import Traffic, members_table, of_groups, traffic_of
from potstill.watch.spark import session_settings

SPARK = EngineWanted("spark", ("spark.driver.memory=1g", "spark.sql.shuffle.partitions=2"))
# What a case is made of, letters that make others when they are made small, and other characters.
SAID = (
    "step", "by", "think", "ALOUD", "Chain-of", "thought", "show", "the", "Reasoning", "RUBRIC",
    "score", "answer", "grade", "out of", "reward", "SCHRITT FÜR SCHRITT", "RÉFLÉCHIS", "一步一步",
    "评分", "İ", "THİNK", "ſtep", "K", "ẞ", "ΣΑΣ", "Ǆ", "\n", "\t", "\u2028", "\u0085", ".", "?",
    "'", '"', "\\", "\\d", "%s", "🦉", "e\u0301", "\u200d", "\ufeff", "ꟓ", "\x01",
)  # fmt: skip
# Java makes two characters of İ, which would be read, and counted, as others.
LETTERS = ("THİNK ALOUD", f"Show {'İ' * 35} reasoning", f"SCORE {'İ' * 45} ANSWER", "RUBRİC")
EDGES = (
    "2000-01-01T00:00:00+00:00",
    "2026-03-01T23:59:59.999999+00:00",
    "2026-03-02T00:00:00.000001+00:00",
    "2026-03-29T02:30:00.5+01:00",
    "2099-12-31T23:59:59.999999+00:00",
)


def odd_world(rng: random.Random) -> tuple[Rows, Rows]:
    """Return the pool among its strangers, and 300 accounts who each asked something odd, once or
    as often as a piece is used."""
    requests, accounts = wide_world(rng)
    for who in range(300):
        prompt = rng.choice(("", " ")).join(rng.choices(SAID, k=rng.randrange(1, 12)))
        prompt = LETTERS[who] if who < len(LETTERS) else prompt
        for again in range(1 + who % 3):
            requests.append(
                {
                    "request_id": f"odd-{who % 7}-{again}",
                    "account_id": rng.choice((f"odd{who}", f"o'd\\d {who}", f"ödd{who}")),
                    "time": EDGES[who % 5] if who % 2 else _moment(rng),
                    "product": rng.choice(("api", "", None, "prodúct")),
                    "status": rng.choice((200, 401, 429, 500, None)),
                    "prompt": prompt,
                    "client": rng.choice((None, "192.0.2.9", "2001:db8::1", "203.0.113.7")),
                    "system": rng.choice((None, "", "Be brief.", "Sois bref\n")),
                    "model": rng.choice((None, "big", "a|b\n'c' \\")),
                    "temperature": rng.choice((None, 0, 0.0005, 0.7, 1.0015, 2, 1e300)),
                    "max_tokens": rng.choice((None, 64, 2_000_000_000)),
                    "stream": rng.choice((None, True, False)),
                }
            )
    accounts += [
        {
            "account_id": f"odd{who}",
            "tenant": "İ tenant" if who % 11 == 0 else None,
            "timezone": rng.choice((None, "Asia/Kathmandu", "America/New_York")),
            "created_at": rng.choice((None, "1999-12-31T23:59:59.999999Z", *EDGES)),
            "device": rng.choice((None, "phone1")),
        }
        for who in range(0, 300, 2)
    ]
    return requests, accounts


def _moment(rng: random.Random) -> str:
    return (START + timedelta(microseconds=rng.randrange(4 * 86_400_000_000))).isoformat()


GROUPS = ([f"a:acct{n}" for n in range(38, 56)], ["t:one", "a:acct1", "a:odd2", "a:ödd5"])


def members(traffic: Traffic) -> ir.Table:
    return members_table(traffic, GROUPS, "ps_members")


def asked(traffic: Traffic) -> ir.Table:
    keys = traffic.rows(template_keys(traffic, 400))["key"].unique().sort().to_pylist()[::3]
    every = [Grouping(tuple(group)) for group in GROUPS]
    parties = traffic.rows(strata(traffic))["party"].to_pylist()
    return asked_with(traffic, [*every, Grouping(tuple(parties), keys=tuple(keys))], "ps_asked")


def counted(traffic: Traffic) -> ir.Table:
    return habits_of(traffic, ("a|b\n'c' \\",), 20_000, "ps_habits")


def sample(traffic: Traffic) -> ir.Table:
    parties = ["a:acct1", "a:acct40", "a:odd2"]
    shares = pa.table({"party": parties, "kept": [SPREAD, SPREAD // 3, 2**31]})
    return sampled(traffic, shares, "ps_sampled")


SIGNALS: dict[str, Callable[[Traffic], ir.Table]] = {
    "requests": lambda traffic: traffic.requests.select(
        "request_id", "account_id", "party", "timezone", "micros", "day", "second"
    ),
    "accounts": lambda traffic: traffic.accounts.select("account_id", "party", "opened"),
    "pieces used": pieces_used,
    "template keys": lambda traffic: template_keys(traffic, 400),
    "asked with": asked,
    "slot values": lambda traffic: slot_values(traffic, asked(traffic)),
    "asked counts": lambda traffic: asked_counts(traffic, asked(traffic)),
    "moments": lambda traffic: moments(traffic, asked(traffic)),
    "subjects": lambda traffic: subjects(traffic, asked(traffic)),
    "of groups": lambda traffic: of_groups(traffic, asked(traffic), [0, 2], "ps_clock"),
    "of no group": lambda traffic: of_groups(traffic, asked(traffic), [], "ps_clock"),
    "minutes": minutes,
    "hand-offs": lambda traffic: hand_offs(traffic, members(traffic)),
    "handing over": lambda traffic: handing_over(traffic, members(traffic)),
    "asking": asking,
    "links": links,
    "strata": strata,
    "models seen": models_seen,
    "habits": counted,
    "strata of habits": lambda traffic: strata_of_habits(counted(traffic)),
    "no idle hours": lambda traffic: no_idle_hours(counted(traffic)),
    "output appetite": lambda traffic: output_appetite(counted(traffic)),
    "pivot": lambda traffic: pivot(counted(traffic)),
    "sampled": sample,
    "coverage growth": lambda traffic: coverage_growth(sample(traffic)),
    "window shift": lambda traffic: window_shift(sample(traffic), 2),
}


@pytest.fixture(scope="module")
def java() -> None:
    pytest.importorskip("pyspark", reason="Spark is used with the extra `spark`")
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java") is None and not (home and (Path(home) / "bin/java").exists()):
        pytest.skip("Spark needs Java 17 or newer, and there is none")


@dataclass(frozen=True)
class Both:
    """One store's traffic on both engines."""

    store: Path
    duckdb: Traffic
    spark: Traffic


@pytest.fixture(scope="module")
def both(java: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    # What a reader of patterns, or of partitions, would take for more than a name.
    folder = tmp_path_factory.mktemp("engines") / "a [b] {c,d} day=1 é%20"
    store = store_of(folder, odd_world(random.Random(SEED)))
    with ExitStack() as stack:
        held = stack.enter_context(open_store(store, None, there=True))
        on = [
            traffic_of(held, stack.enter_context(finding_engine(engine)))
            for engine in (EngineWanted(), SPARK)
        ]
        yield Both(store, *on)


def in_order(rows: pa.Table) -> list[str]:
    return sorted(json.dumps(row, default=repr) for row in rows.to_pylist())


@pytest.mark.slow
@pytest.mark.parametrize("name", SIGNALS)
def test_an_expression_gives_the_same_rows_on_both_engines(name: str, both: Both) -> None:
    one, other = (t.rows(SIGNALS[name](t)) for t in (both.duckdb, both.spark))
    assert one.schema.equals(other.schema)
    assert in_order(one) == in_order(other)
    assert one.num_rows or name == "of no group"


@pytest.mark.slow
def test_pieces_are_counted_alike_here_and_there(both: Both) -> None:
    here, there = template_use(both.duckdb), template_use(both.spark)
    assert here.names == there.names and len(here.n_E) > 1_000
    for name in ("party_E", "piece_E", "n_E", "asked_P"):
        one, other = getattr(here, name), getattr(there, name)
        assert one.dtype == other.dtype and (one == other).all()


@pytest.mark.slow
def test_groups_come_one_by_one_on_both_engines(both: Both) -> None:
    found = [
        [(group, in_order(rows)) for group, rows in t.by_group(slot_values(t, asked(t)))]
        for t in both_of(both)
    ]
    assert len(found[0]) == 3 and found[0] == found[1]


@pytest.mark.slow
def test_what_is_off_and_who_is_let_be_is_the_same_on_both_engines(both: Both) -> None:
    assert both.duckdb.off == both.spark.off
    names = ["acct1", "o'd\\d 3", "odd4", "ödd5"]
    one, other = (t.without(names).rows(strata(t.without(names))) for t in both_of(both))
    assert in_order(one) == in_order(other)
    assert one.num_rows < both.duckdb.rows(strata(both.duckdb)).num_rows


def both_of(both: Both) -> tuple[Traffic, Traffic]:
    return both.duckdb, both.spark


@pytest.mark.slow
def test_a_session_in_this_process_listens_on_loopback_alone(both: Both) -> None:
    assert both.spark.rows(minutes(both.spark)).num_rows
    mine = psutil.Process()
    listening = [
        connection.laddr.ip
        for process in [mine, *mine.children(recursive=True)]
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening and {ip.removeprefix("::ffff:") for ip in listening} <= {"127.0.0.1", "::1"}


@pytest.mark.slow
def test_a_run_finds_the_same_on_both_engines(java: None, tmp_path: Path) -> None:
    store = store_of(tmp_path, wide_world(random.Random(SEED)))
    one, other = find_in(store, 0.05), find_in(store, 0.05, engine=SPARK)
    assert one.campaigns and one.candidates
    assert one == other


@pytest.mark.slow
def test_cases_are_the_same_on_both_engines(java: None, tmp_path: Path) -> None:
    store = store_of(tmp_path, wide_world(random.Random(SEED)))
    said = []
    for engine in (EngineWanted(), SPARK):
        place = tmp_path / engine.name
        shutil.copytree(store, place / "store")
        of_run = write_cases(CasesWanted(place / "store", now=NOW, engine=engine))
        files = sorted((place / "store/cases").rglob("*.json*"))
        texts = {str(one.relative_to(place)): one.read_text() for one in files}
        said.append((of_run, {name: t.replace(str(place), "") for name, t in texts.items()}))
    assert said[0][0].cases and said[0] == said[1]


@pytest.mark.slow
def test_a_store_without_text_and_accounts_is_the_same_on_both_engines(
    java: None, tmp_path: Path
) -> None:
    world = wide_world(random.Random(SEED))
    for privacy in ("metadata", "sketches"):
        store = store_of(tmp_path / privacy, world, privacy, table=False)
        assert find_in(store, 0.05) == find_in(store, 0.05, engine=SPARK)


@pytest.mark.slow
def test_a_damaged_file_is_named_by_spark_too(java: None, tmp_path: Path) -> None:
    store = store_of(tmp_path, wide_world(random.Random(SEED)))
    part = next(iter(sorted((store / "requests").rglob("*.parquet"))))
    content = bytearray(part.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    part.write_bytes(content)
    with pytest.raises(PotstillError, match=f"{part.name} is gone, damaged"):
        find_in(store, 0.05, engine=SPARK)


def test_an_engine_nobody_knows_and_settings_without_one_are_refused(tmp_path: Path) -> None:
    for options, said in (
        (["--engine", "ray"], "duckdb, spark"),
        (["--spark-conf", "spark.driver.memory=1g"], "--engine spark"),
        (["--engine", "spark", "--spark-conf", "hunter2"], "a setting of Spark"),
        (["--engine", "spark", "--spark-conf", "password=hunter2"], "a setting of Spark"),
    ):
        for verb in ("find", "cases"):
            result = CliRunner().invoke(app, ["watch", verb, str(tmp_path), *options])
            assert result.exit_code == 2 and said in " ".join(result.output.split())
            assert "hunter2" not in result.output


def test_without_java_spark_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyspark", reason="Spark is used with the extra `spark`")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(PotstillError, match="Java 17"), finding_engine(SPARK):
        pass


def test_another_connection_of_ibis_is_refused() -> None:
    with pytest.raises(PotstillError, match="not on sqlite"):
        engine_of(cast(Any, SimpleNamespace(name="sqlite")))


def test_a_session_on_a_cluster_keeps_what_is_stated(tmp_path: Path) -> None:
    here = session_settings({}, tmp_path)
    assert here["spark.master"] == "local[2]" and here["spark.driver.host"] == "127.0.0.1"
    there = session_settings({"spark.master": "spark://there:7077"}, tmp_path)
    assert there["spark.ui.enabled"] == "false" and there["spark.sql.session.timeZone"] == "UTC"
    assert not {"spark.driver.host", "spark.local.dir", "spark.driver.memory"} & set(there)
    assert session_settings({"spark.ui.enabled": "true"}, tmp_path)["spark.ui.enabled"] == "true"


def test_finding_imports_no_pyspark_unless_it_is_wanted() -> None:
    code = "import sys; import potstill.watch.find; sys.exit('pyspark' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_signal_is_compared_on_both_engines() -> None:
    compared = inspect.getsource(sys.modules[__name__])
    for module in (content, habits, intent, links_module, timing):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            signal = inspect.signature(function).return_annotation == "ir.Table"
            if signal and function.__module__ == module.__name__ and name[0] != "_":
                assert f" {name}(" in compared or f" {name},\n" in compared, name
