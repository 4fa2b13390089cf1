"""`potstill watch cases` from a log to pages, and what is decided about cases stays decided."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("networkx", reason="campaigns are found with the extra `watch`")

import duckdb
from case_worlds import SEED, TEMPLATE, store_of, wide_world
from typer.testing import CliRunner

from potstill.cli.app import app
from potstill.durable import temporary_name
from potstill.watch.cases import sentence


def run(*words: str | Path) -> Any:
    return CliRunner().invoke(app, ["watch", *map(str, words)])


def written(folder: Path) -> str:
    """Return all that was written to a folder, Parquet too, as text."""
    return "".join(
        path.read_bytes().decode("latin-1") for path in sorted(folder.rglob("*")) if path.is_file()
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A store in which cases were written; tests work on copies."""
    store = store_of(tmp_path_factory.mktemp("cases"), wide_world(random.Random(SEED)))
    result = run("cases", store, "--json")
    assert result.exit_code == 3, result.output
    return store, json.loads(result.stdout)


@pytest.fixture
def store(found: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(found[0], tmp_path / "store"))


def test_a_case_is_written_in_every_form_and_no_prompt_is_in_any(found: Any) -> None:
    store, listed = found
    assert listed["schema"] == "potstill/cases/1" and listed["open"] == len(listed["cases"]) > 0
    line = listed["cases"][0]
    folder = store / "cases" / line["case_id"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "appeals.jsonl",
        "case.html",
        "case.json",
        "groups.parquet",
        "keys.parquet",
        "members.parquet",
        "queries.sql",
    ]
    case = json.loads((folder / "case.json").read_text())
    assert case["sentence"] == line["sentence"] and case["history"]["new"]
    assert set(case) >= {"facts", "inference"} and case["facts"]["examples"] == []
    assert json.loads((store / "cases" / "cases.json").read_text()) == listed
    findings = (store / "cases" / "findings.jsonl").read_text().splitlines()
    assert len(findings) == len(listed["cases"])
    everything = written(store / "cases")
    assert not [word for word in ("essay", "paragraph", "wordaa") if word in everything]
    # What is known of accounts stands there by keyed hash alone.
    assert "card10" not in everything and "192.0.2" not in everything


def test_what_a_signal_saw_is_asked_of_the_files(found: Any) -> None:
    store, listed = found
    seen = 0
    for line in listed["cases"]:
        case = json.loads((store / "cases" / line["case_id"] / "case.json").read_text())
        connection = duckdb.connect()
        connection.execute(case["prepare"])
        groups = {one["candidate_id"]: one for one in case["inference"]["groups"]}
        for fact in case["facts"]["signals"]:
            signals = groups[fact["candidate_id"]]["signals"]
            name = (fact["signal"], fact["part"])
            (mine,) = [one for one in signals if (one["signal"], one["part"]) == name]
            if fact["observed"] is None:
                continue
            (value,) = connection.execute(fact["observed"]["query"]).fetchone() or (None,)
            assert value == pytest.approx(fact["observed"]["value"], abs=6e-4)
            assert value == pytest.approx(mine["observed"], abs=6e-4)
            if mine["expected_query"] is not None:
                expected = connection.execute(mine["expected_query"]).fetchone() or (None,)
                assert expected[0] == pytest.approx(mine["expected"], abs=6e-4)
            seen += 1
        assert all(kind != "template" for kind, *_ in case["facts"]["shared"]["rows"])
    assert seen > 0
    page = (store / "cases" / listed["cases"][0]["case_id"] / "case.html").read_text()
    assert "carry what holds" in page


@pytest.mark.slow
def test_prompts_are_shown_where_they_are_asked_for(store: Path, tmp_path: Path) -> None:
    result = run("cases", store, "--with-text", "--out", tmp_path / "out")
    assert result.exit_code == 3
    assert TEMPLATE[:60] in written(tmp_path / "out")
    assert "essay" not in result.stdout
    sketches = store_of(tmp_path / "s", wide_world(random.Random(SEED)), "sketches")
    refused = run("cases", sketches, "--with-text")
    assert refused.exit_code == 2 and "keeps no texts" in refused.output


@pytest.mark.slow
def test_closed_stays_closed_until_reopened(store: Path, found: Any) -> None:
    ids = [one["case_id"] for one in found[1]["cases"]]
    closed = run("close", store, *ids, "--because", "a class that we know")
    assert closed.exit_code == 0 and all(f"{one}: closed" in closed.stdout for one in ids)
    again = run("cases", store, "--json")
    assert again.exit_code == 0
    listed = json.loads(again.stdout)
    assert listed["open"] == 0 and [one["case_id"] for one in listed["cases"]] == ids
    assert {one["status"] for one in listed["cases"]} == {"closed"}
    page = (store / "cases" / ids[0] / "case.html").read_text()
    assert "a class that we know" in page
    assert json.loads(run("reopen", store, ids[0], "--json").stdout)["cases"] == {ids[0]: "open"}
    assert run("cases", store).exit_code == 3


@pytest.mark.slow
def test_who_is_let_be_is_in_no_group(store: Path, found: Any) -> None:
    assert "nobody" in run("allow", store).stdout
    assert run("allow", store, "--account", "acct42").exit_code == 2  # without a reason
    allowed = [word for who in range(42, 56) for word in ("--account", f"acct{who}")]
    allowed += ["--tenant", "one", "--because", "our own red team"]
    assert run("allow", store, *allowed).exit_code == 0
    for verb in ("cases", "find"):
        result = run(verb, store, "--json")
        assert result.exit_code == 0, result.output
        assert "acct42" not in result.stdout and "acct40" not in result.stdout
    listed = json.loads(run("cases", store, "--json").stdout)
    assert listed["allowed"] == 16
    assert listed["not_found"] == sorted(one["case_id"] for one in found[1]["cases"])
    off = run("allow", store, "--account", "acct42", "--remove", "--json")
    assert "acct42" not in json.loads(off.stdout)["accounts"]
    assert "acct43" in json.loads(off.stdout)["accounts"]
    assert run("allow", store, "--account", "acct42", "--remove").exit_code == 2


def test_a_name_cannot_look_like_a_line_of_the_list(store: Path) -> None:
    name = "one\nnobody is on the allow-list"
    listed = run("allow", store, "--account", name, "--because", "ours\r")
    assert listed.exit_code == 0
    assert listed.stdout.splitlines() == [
        f"account {name!r}: {'ours' + chr(13)!r}",
        f"no such account in the store yet: {name!r}; check the name",
    ]


def test_who_is_let_be_before_coming_is_said(store: Path) -> None:
    names = ("acct42", "acct4 2", "one", "two", "sk-own")
    words = [word for name in names[:2] for word in ("--account", name)]
    words += [word for name in names[2:4] for word in ("--tenant", name)]
    listed = run("allow", store, *words, "--because", "ours")
    assert listed.exit_code == 0
    assert [line for line in listed.stdout.splitlines() if "no such" in line] == [
        "no such account in the store yet: acct4 2; check the name",
        "no such tenant in the store yet: two; check the name",
    ]
    # Both are let be all the same; a service's key is kept as the hash that the store has.
    words = ("allow", store, "--account", names[4], "--because", "ours", "--json")
    said = json.loads(run(*words).stdout)
    assert {"acct42", "acct4 2"} < set(said["accounts"]) and set(said["tenants"]) == {"one", "two"}
    assert names[4] not in json.dumps(said) and len(said["unseen"]["account"]) == 1
    assert run("allow", store, "--account", names[4], "--remove").exit_code == 0
    assert "no such" not in run("allow", store).stdout


@pytest.mark.slow
def test_a_day_later_a_case_has_its_id(tmp_path: Path, found: Any) -> None:
    requests, accounts = wide_world(random.Random(SEED))
    early = [row for row in requests if row["time"] < "2026-03-05"]
    store = store_of(tmp_path, (early, accounts), "full")
    first = json.loads(run("cases", store, "--json").stdout)
    store_of(tmp_path, (requests, accounts), "full")
    second = json.loads(run("cases", store, "--json").stdout)
    assert len(second["days"]) == len(first["days"]) + 1
    ids = {one["case_id"] for one in first["cases"]}
    assert ids and ids <= {one["case_id"] for one in second["cases"]} | set(second["not_found"])
    assert any(one["case_id"] in ids and not one["new"] for one in second["cases"])
    # Whoever looks at the same days alone finds the same accounts: ids are all that is kept.
    fresh = found[1]
    assert [one["accounts"] for one in second["cases"]] == [
        one["accounts"] for one in fresh["cases"]
    ]


def test_what_is_forgotten_is_in_no_page(store: Path) -> None:
    account = "acct44"
    assert account in written(store / "cases") and account in written(store / "state")
    assert run("forget", store, "--account", account).exit_code == 0
    assert not (store / "cases").exists()
    assert account not in (store / "state" / "cases.json").read_text()


def test_a_packet_is_written_for_one_account(store: Path, found: Any, tmp_path: Path) -> None:
    case_id = found[1]["cases"][0]["case_id"]
    page = tmp_path / "packet.html"
    result = run("appeal", store, case_id, "acct44", "--out", page)
    assert result.exit_code == 0 and "acct44" in page.read_text()
    assert "acct45" not in page.read_text() and case_id not in page.read_text()
    packet = json.loads(
        run("appeal", store / "cases", case_id, "acct44", "--out", page, "--json").stdout
    )
    assert packet["account"] == "acct44" and packet["schema"] == "potstill/appeal/1"
    for case, account, said in (
        (case_id, "nobody", "has no account of that name"),
        ("feedbeef", "acct44", "holds no case"),
        ("../state", "acct44", "holds no case"),
    ):
        refused = run("appeal", store, case, account, "--out", page)
        assert refused.exit_code == 2 and said in refused.output


def test_what_is_something_else_is_not_replaced(store: Path, tmp_path: Path) -> None:
    other = tmp_path / "mine"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    result = run("cases", store, "--out", other)
    assert result.exit_code == 2 and "holds something else" in result.output
    assert (other / "letter.txt").read_text() == "dear"
    assert run("cases", tmp_path / "nowhere").exit_code == 2
    assert run("cases", store, "--level", "1").exit_code == 2
    assert run("close", store, "unknown", "--because", "x").exit_code == 2
    assert run("close", store, "unknown", "--because", " ").exit_code == 2


def test_a_sentence_names_nobody(found: Any) -> None:
    for one in found[1]["cases"]:
        assert not any(f"acct{who}" in one["sentence"] for who in range(56))
        assert "strangers would not" in one["sentence"]


def test_families_are_said_as_a_list() -> None:
    from case_worlds import campaign_of

    three = campaign_of(["a"], families=("content", "intent", "time"))
    said = sentence(three, ("2026-03-02T00:00:00Z", "2026-03-05T00:00:00Z"), 1)
    held = "content (prompts alike, used by all of them), intent and time (hand-off) hold"
    assert held in said and "1 account made" in said


def test_a_damaged_packet_is_named(store: Path, found: Any) -> None:
    case_id = found[1]["cases"][0]["case_id"]
    (store / "cases" / case_id / "appeals.jsonl").write_text('{"account": "acct44"}\n')
    refused = run("appeal", store, case_id, "acct44")
    assert refused.exit_code == 2 and "appeals.jsonl is damaged" in refused.output
    packets = store / "cases" / case_id / "appeals.jsonl"
    for text in ("banana\n", "", '{"account": "acct45"}\nbanana\n', '{"account": "acct'):
        packets.write_text(text)
        refused = run("appeal", store, case_id, "acct44")
        assert refused.exit_code == 2 and "appeals.jsonl is damaged" in refused.output, text
    packets.unlink()
    assert "appeals.jsonl is damaged" in run("appeal", store, case_id, "acct44").output
    assert "holds no case" in run("appeal", store, "abc", "acct44").output


def test_a_store_that_cannot_be_written_is_told_so_before_anything_is_searched(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may = os.access

    def access(path: Any, mode: int) -> bool:
        return may(path, mode) and not (mode == os.W_OK and "store" in str(path))

    monkeypatch.setattr(os, "access", access)
    refused = run("cases", store, "--out", tmp_path / "elsewhere")
    assert refused.exit_code == 2 and "copy the store to where it can be written" in refused.output
    assert "--out" not in refused.output and not (tmp_path / "elsewhere").exists()


def test_where_a_store_cannot_be_written_no_option_is_named_that_helps_nothing(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("potstill.durable.os.replace", refuse)
    refused = run("allow", store, "--account", "acct42", "--because", "ours")
    assert refused.exit_code == 2 and "copy the store to where it can be written" in refused.output
    assert "--out" not in refused.output


def test_a_lost_register_is_refused_without_an_option_that_no_verb_has(store: Path) -> None:
    (store / "state" / "cases.json").write_text("banana")
    for refused in (run("cases", store), run("allow", store)):
        assert refused.exit_code == 2 and "cases.json is damaged" in refused.output
        assert "--fresh" not in refused.output and "into a new directory" in refused.output


def test_what_is_no_text_is_not_decided_with(store: Path, found: Any) -> None:
    case_id = found[1]["cases"][0]["case_id"]
    for words in (
        ("close", store, case_id, "--because", "a\udcff"),
        ("allow", store, "--account", "a\udcff", "--because", "x"),
        ("allow", store, "--tenant", "ours", "--because", "\udcff"),
    ):
        refused = run(*words)
        assert refused.exit_code == 2 and "no UTF-8" in refused.output


@pytest.mark.parametrize("name", ["store[1]", "sto*", "sto?e"])
def test_a_store_of_any_name_is_read_alone(store: Path, found: Any, name: str) -> None:
    odd = store.rename(store.with_name(name))
    shutil.copytree(odd, odd.with_name("store"))
    result = run("cases", odd, "--json")
    assert result.exit_code == 3, result.output
    again = json.loads(result.stdout)
    assert again["requests"] == found[1]["requests"]
    assert [one["sentence"] for one in again["cases"]] == [
        one["sentence"] for one in found[1]["cases"]
    ]


def test_cases_lie_nowhere_else_in_the_store(store: Path) -> None:
    for place in (store / "requests" / "mine", store / "mine", store / "cases" / "mine"):
        refused = run("cases", store, "--out", place)
        assert refused.exit_code == 2 and "lies in the store" in refused.output
        assert not place.exists()


def test_a_file_damaged_inside_is_named(store: Path) -> None:
    for part in sorted((store / "requests").glob("*/*.parquet")):
        data = bytearray(part.read_bytes())
        last = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        data[4:last] = b"\xff" * (last - 4)
        part.write_bytes(data)
    for verb in ("find", "cases"):
        refused = run(verb, store)
        assert refused.exit_code == 2, refused.output
        assert ".parquet is gone, damaged" in refused.output


def test_a_full_place_is_named_as_it_was_asked_for(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    refused = run("cases", store, "--out", tmp_path / "full")
    assert refused.exit_code == 2 and f"cannot write to {tmp_path / 'full'}:" in refused.output
    assert not (tmp_path / "full").exists()


def test_what_a_kill_left_of_cases_elsewhere_is_gone_after_the_next_run(
    store: Path, tmp_path: Path
) -> None:
    place = tmp_path / "out" / "cases"
    half = temporary_name(place)
    half.mkdir(parents=True)
    (half / "case.json").write_text("{}")
    assert run("cases", store, "--out", place).exit_code == 3
    assert list(place.parent.iterdir()) == [place]


def test_a_notice_that_cannot_be_written_names_its_own_place(
    store: Path, found: Any, tmp_path: Path
) -> None:
    case_id = found[1]["cases"][0]["case_id"]
    refused = run("appeal", store, case_id, "acct44", "--out", tmp_path)
    assert refused.exit_code == 2
    assert f"cannot write to {tmp_path}: it is a directory" in refused.output
    # The packets are there, whether the list of the cases is or not.
    (store / "cases" / "cases.json").unlink()
    assert run("appeal", store / "cases", case_id, "acct44", "--out", tmp_path / "a").exit_code == 0


def test_a_store_that_cannot_be_written_is_refused_before_the_search(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another place for the pages would not help: the ids of cases are kept in the store."""
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
    refused = run("cases", store, "--out", tmp_path / "out")
    assert refused.exit_code == 2 and not (tmp_path / "out").exists()
    assert f"cannot write to {store}" in refused.output and "copy the store" in refused.output
    assert "--out" not in refused.output
