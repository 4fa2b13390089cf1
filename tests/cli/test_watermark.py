"""`potstill watermark`: keys told by digest alone, marks found in what was written, faults said."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from tokenizers import Tokenizer, models, pre_tokenizers
from typer.testing import CliRunner
from vllm_marking import generated, gumbel

from potstill.cli.app import app
from potstill.models.identity import tokenizer_id_of

VOCABULARY, LENGTH, KEY = 200, 90, 7
GREEN = ["--scheme", "green", "--window", "1", "--gamma", "0.5", "--delta", "2"]


def words(ids: list[int]) -> str:
    return " ".join(f"w{i}" for i in ids)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer that has one id for each word."""
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"), VOCABULARY)


def make_tokenizer(folder: Path, size: int) -> Path:
    made = Tokenizer(models.WordLevel({f"w{i}": i for i in range(size)}, unk_token="w0"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    folder.mkdir(exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def answers() -> list[list[int]]:
    """Three answers of a model of about three nats that vLLM's Gumbel marked under key 7."""
    found = []
    for seed in range(3):
        table = np.random.default_rng(seed).normal(0, 2, (LENGTH, VOCABULARY)).astype(np.float32)
        found.append(generated(gumbel, KEY, 4, table.__getitem__, LENGTH))
    return found


@pytest.fixture
def vllm_key(tmp_path: Path) -> Path:
    return private(tmp_path / "key.json", json.dumps({"algorithm": "gumbel", "key": KEY}))


@pytest.fixture
def own_key(cli: CliRunner, tmp_path: Path) -> Path:
    path = tmp_path / "own.key"
    assert run(cli, "keygen", path).exit_code == 0
    return path


def private(path: Path, content: str) -> Path:
    path.write_text(content)
    path.chmod(0o600)
    return path


def rows_file(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def chat(question: str, answer: str | None) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    return {"messages": messages}


def run(cli: CliRunner, *arguments: object, stdin: str | None = None) -> Result:
    return cli.invoke(app, ["watermark", *map(str, arguments)], input=stdin)


def found(cli: CliRunner, *arguments: object, stdin: str | None = None) -> dict[str, Any]:
    result = run(cli, "detect", *arguments, "--json", stdin=stdin)
    assert result.exit_code == 0, result.output
    value: dict[str, Any] = json.loads(result.stdout)
    return value


# --- keys ---


@pytest.mark.parametrize("scheme", [None, "vllm-gumbel", "vllm-dual-key", "vllm-sbw"])
def test_a_key_is_its_owner_s_alone_and_printed_as_a_digest(
    cli: CliRunner, tmp_path: Path, scheme: str | None
) -> None:
    path = tmp_path / "new.key"
    result = run(cli, "keygen", path, *([] if scheme is None else ["--scheme", scheme]))
    assert result.exit_code == 0
    if os.name != "nt":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = path.read_text().strip()
    secret = content.split()[-1] if scheme is None else str(json.loads(content)["key"])
    assert secret not in result.output
    assert "blake3:" in result.stdout
    assert ("--watermark-config" in result.stdout) is (scheme is not None)
    assert ("no release" in result.stderr) is (scheme == "vllm-sbw")
    again = run(cli, "keygen", path, *([] if scheme is None else ["--scheme", scheme]))
    assert again.exit_code == 2
    assert "there already" in again.stderr
    assert path.read_text().strip() == content


def test_an_epoch_s_key_is_that_of_its_master(cli: CliRunner, own_key: Path) -> None:
    epoch = own_key.with_name("epoch.key")
    result = run(cli, "keygen", epoch, "--from", own_key, "--epoch", "2026-12", "--json")
    made = json.loads(result.stdout)
    text = private(own_key.with_name("t.jsonl"), json.dumps({"token_ids": list(range(50))}))
    by_master = found(cli, text, "--key", own_key, "--epoch", "2026-12", *GREEN)
    by_epoch = found(cli, text, "--key", epoch, *GREEN)
    assert by_master == by_epoch
    assert by_epoch["tests"][0]["key_id"] == made["key_id"]


def test_an_epoch_s_key_marks_with_what_its_master_does(
    cli: CliRunner, tmp_path: Path, tokenizer: Path
) -> None:
    master, epoch = tmp_path / "m", tmp_path / "e"
    assert run(cli, "keygen", master, *GREEN, "--tokenizer", tokenizer).exit_code == 0
    of_master = ("--from", master, "--epoch", "2026-12")
    result = run(cli, "keygen", epoch, *of_master, "--json")
    assert json.loads(result.stdout)["scheme"] == "green"
    whole, part = (
        json.loads(path.with_name(f"{path.name}.record.json").read_text())
        for path in (master, epoch)
    )
    assert part.pop("key_id") != whole.pop("key_id")
    assert part == whole
    text = private(tmp_path / "t.txt", words(list(range(50))))
    value = found(cli, text, "--key", epoch, "--tokenizer", tokenizer)
    assert value["tests"][0]["parameters"] == {"window": 1, "gamma": 0.5, "delta": 2}
    for option, other in (("--window", 2), ("--gamma", 0.4), ("--scheme", "gumbel")):
        result = run(cli, "keygen", tmp_path / "other", *of_master, option, other)
        assert result.exit_code == 2
        assert f"{option} is {other}, and the record beside the key says" in result.stderr
    (tmp_path / "m.record.json").write_bytes((tmp_path / "e.record.json").read_bytes())
    assert "is of another key" in run(cli, "keygen", tmp_path / "other", *of_master).stderr
    assert not (tmp_path / "other").exists()


def test_what_is_known_of_a_key_s_marks_is_kept_beside_it(
    cli: CliRunner, tmp_path: Path, tokenizer: Path
) -> None:
    key = tmp_path / "k"
    assert run(cli, "keygen", key, *GREEN, "--tokenizer", tokenizer).exit_code == 0
    record = json.loads((tmp_path / "k.record.json").read_text())
    assert record["tokenizer"] == tokenizer_id_of(tokenizer)
    assert (record["scheme"], record["gamma"], record["vocabulary"]) == ("green", 0.5, VOCABULARY)
    text = private(tmp_path / "t.txt", words(list(range(50))))
    value = found(cli, text, "--key", key, "--epoch", "a", "--tokenizer", tokenizer)
    assert value["scheme"] == "green"
    assert value["tests"][0]["parameters"] == {"window": 1, "gamma": 0.5, "delta": 2}
    other = make_tokenizer(tmp_path / "other", VOCABULARY + 1)
    result = run(cli, "detect", text, "--key", key, "--epoch", "a", "--tokenizer", other)
    assert result.exit_code == 2
    assert "give the marked model's tokenizer" in result.stderr


# --- marks ---


def test_marked_answers_are_found_and_prompts_are_not_scored(
    cli: CliRunner, tmp_path: Path, vllm_key: Path, tokenizer: Path, answers: list[list[int]]
) -> None:
    log = rows_file(tmp_path / "log.jsonl", [chat("w1 w2", words(ids)) for ids in answers])
    value = found(cli, log, "--key", vllm_key, "--tokenizer", tokenizer)
    (test,) = value["tests"]
    assert value["p"] < 1e-30
    assert (test["texts"], test["tokens"]) == (3, 3 * LENGTH)
    # Marked text in prompts alone is nobody's answer.
    plain = words(list(range(100, 190)))
    quoted = [chat(words(ids), plain) for ids in answers]
    value = found(cli, rows_file(log, quoted), "--key", vllm_key, "--tokenizer", tokenizer)
    assert value["p"] > 1e-3
    # An answer that repeats what it was shown is left out.
    echo = [chat(words(ids), words(ids)) for ids in answers]
    value = found(cli, rows_file(log, echo), "--key", vllm_key, "--tokenizer", tokenizer)
    assert value["tests"][0]["scored"] == 0
    assert value["p"] == 1


def test_another_key_finds_nothing(
    cli: CliRunner, tmp_path: Path, answers: list[list[int]]
) -> None:
    other = private(tmp_path / "other.json", '{"key": 8}')
    ids = rows_file(tmp_path / "ids.jsonl", [{"token_ids": one} for one in answers])
    value = found(cli, ids, "--key", other)
    assert value["scheme"] == "vllm-gumbel"
    assert value["p"] > 1e-3
    needed = value["tests"][0]["needed"]
    assert needed["expected"] < 100
    # Scores that are as high as by chance say nothing of how much text would do.
    assert value["p"] > 0.05
    assert needed["observed"] is None
    assert run(cli, "detect", ids, "--key", other).stdout.count("would do") == 1


def test_the_two_keys_of_dual_key_are_three_tests(
    cli: CliRunner, tmp_path: Path, answers: list[list[int]]
) -> None:
    key = private(tmp_path / "dual.json", '{"key": 7, "algorithm": "dual_key_gumbel"}')
    ids = rows_file(tmp_path / "ids.jsonl", [{"token_ids": one} for one in answers])
    value = found(cli, ids, "--key", key, "--per-document", "--scheme", "vllm-dual-key")
    assert len(value["tests"]) == 3
    assert value["p"] == pytest.approx(min(1, 3 * min(test["p"] for test in value["tests"])))
    assert "least of 3 tests times 3" in run(cli, "detect", ids, "--key", key).stdout


def test_sbw_says_that_no_release_writes_it(cli: CliRunner, tmp_path: Path) -> None:
    key = private(tmp_path / "sbw.json", '{"key": 7, "algorithm": "sbw"}')
    ids = rows_file(tmp_path / "ids.jsonl", [{"token_ids": list(range(50))}])
    result = run(cli, "detect", ids, "--key", key, "--decoys", 1000)
    assert result.exit_code == 0
    assert "no release" in result.stderr
    assert "1,000 decoy keys" in result.stdout


def test_every_document_alone(
    cli: CliRunner, tmp_path: Path, vllm_key: Path, tokenizer: Path, answers: list[list[int]]
) -> None:
    """A marked text among human ones: theirs lower the power over all, and no one's validity."""
    folder = tmp_path / "texts"
    (folder / "more").mkdir(parents=True)
    (folder / "marked.txt").write_text(words(answers[0]))
    rng = np.random.default_rng(5)
    for i in range(4):
        plain = rng.integers(0, VOCABULARY, 300).tolist()
        (folder / "more" / f"human-{i}.md").write_text(words(plain))
    (folder / "picture.png").write_bytes(b"\x89PNG")
    arguments = (folder, "--key", vllm_key, "--tokenizer", tokenizer, "--per-document")
    value = found(cli, *arguments)
    by_name = {text["place"]: text for text in value["texts"]}
    assert by_name["marked.txt"]["adjusted_p"] < 1e-8
    assert all(by_name[f"human-{i}.md"]["p"] > 1e-4 for i in range(4))
    assert by_name["marked.txt"]["p"] < value["p"]
    assert value["passed_over"] == ["picture.png"]
    printed = run(cli, "detect", *arguments).stdout
    assert "marked.txt: 86" in printed
    assert "1 other file" in printed


@pytest.mark.parametrize("as_rows", [True, False])
def test_from_stdin(
    cli: CliRunner, vllm_key: Path, tokenizer: Path, answers: list[list[int]], as_rows: bool
) -> None:
    text = words(answers[0])
    content = json.dumps(chat("w1", text)) + "\n" if as_rows else text
    value = found(cli, "-", "--key", vllm_key, "--tokenizer", tokenizer, stdin=content)
    assert value["p"] < 1e-10


def test_stored_ids_need_no_tokenizer_and_are_held_against_the_record(
    cli: CliRunner, tmp_path: Path, vllm_key: Path, tokenizer: Path, answers: list[list[int]]
) -> None:
    table = pa.table(
        {"response_token_ids": answers, "tokenizer": [tokenizer_id_of(tokenizer)] * len(answers)}
    )
    shard = tmp_path / "answers.parquet"
    pq.write_table(table, shard)
    assert found(cli, shard, "--key", vllm_key)["p"] < 1e-30
    record = {"tokenizer": tokenizer_id_of(tokenizer), "vocabulary": VOCABULARY}
    beside = vllm_key.with_name("key.json.record.json")
    beside.write_text(json.dumps({"schema": "potstill/watermark-record/1", **record}))
    assert found(cli, shard, "--key", vllm_key)["p"] < 1e-30
    beside.write_text(json.dumps({"schema": "potstill/watermark-record/1", "tokenizer": "b"}))
    assert "marked model's tokenizer" in run(cli, "detect", shard, "--key", vllm_key).stderr
    beside.write_text(json.dumps({"schema": "potstill/watermark-record/1", "vocabulary": 9}))
    assert "vocabulary" in run(cli, "detect", shard, "--key", vllm_key).stderr


def test_a_key_that_others_can_read_is_warned_of(
    cli: CliRunner, tmp_path: Path, vllm_key: Path
) -> None:
    ids = rows_file(tmp_path / "ids.jsonl", [{"token_ids": list(range(50))}])
    vllm_key.chmod(0o644)
    result = run(cli, "detect", ids, "--key", vllm_key)
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: others on this machine may read")


# --- faults ---

IDS = {"token_ids": list(range(50))}


@pytest.mark.parametrize(
    ("rows", "arguments", "said"),
    [
        ([IDS], ["--key", "none.key"], "none.key does not exist"),
        ([IDS], ["--key", "."], "is a directory"),
        ([IDS], ["--key", "none.key", *GREEN], "make one with potstill watermark keygen"),
        ([IDS], ["--key", "text.jsonl", *GREEN], "holds no watermark key"),
        ([IDS], ["--key", "own.key", *GREEN], "name the epoch"),
        ([IDS], ["--key", "own.key", "--epoch", "a"], "state --scheme"),
        ([IDS], ["--key", "own.key", "--epoch", "a", "--scheme", "green"], "needs its window"),
        (
            [IDS],
            ["--key", "own.key", "--epoch", "a", "--scheme", "green", "--window", "1"],
            "needs its gamma",
        ),
        ([IDS], ["--key", "own.key", "--epoch", "a", "--scheme", "gren"], "did you mean green"),
        ([IDS], ["--key", "own.key", "--scheme", "sglang"], "the marks of SGLang are not scored"),
        ([IDS], ["--key", "own.key", "--scheme", "tensorrt-llm"], "TensorRT-LLM are not scored"),
        ([IDS], ["--key", "own.key", "--scheme", "vllm-gumbel"], "holds no JSON"),
        ([IDS], ["--key", "no-key.json", "--scheme", "vllm-sbw"], "states no key"),
        ([IDS], ["--key", "key.json", "--scheme", "vllm-sbw"], "give --scheme vllm-gumbel"),
        ([IDS], ["--key", "key.json", "--scheme", "green"], "holds no watermark key"),
        ([IDS], ["--key", "key.json", "--window", "3"], "--window is not for vllm-gumbel"),
        ([IDS], ["--key", "key.json", "--p", "2"], "--p lies between 0 and 1"),
        ([IDS], ["--key", "key.json", "--decoys", "5"], "1,000 keys at the least"),
        ([IDS], ["--key", "key.json", "--tokenizer", "nowhere"], "the model nowhere"),
        ([{"text": "w1 w2 w3"}], ["--key", "key.json"], "--tokenizer"),
        ([{"token_ids": [1, 2, 3]}], ["--key", "key.json"], "window of 4 tokens"),
        ([{"text": "w1 w2 w3", "more": 1}], ["--key", "key.json", "T"], "window of 4 tokens"),
        ([{"text": ""}], ["--key", "key.json"], "holds no answer"),
        ([chat("Hello?", None)], ["--key", "key.json"], "holds no answer"),
        ([{"title": "x"}], ["--key", "key.json"], "neither calls of a known form nor a column"),
        ([], ["--key", "key.json"], "is empty"),
    ],
)
def test_faults_are_one_sentence(
    cli: CliRunner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own_key: Path,
    vllm_key: Path,
    tokenizer: Path,
    rows: list[Any],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    private(tmp_path / "no-key.json", '{"algorithm": "sbw"}')
    rows_file(tmp_path / "text.jsonl", rows)
    stated = [
        part for a in arguments for part in (["--tokenizer", str(tokenizer)] if a == "T" else [a])
    ]
    result = run(cli, "detect", "text.jsonl", *stated)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert "collect.calls" not in result.stderr


def test_texts_that_are_none(
    cli: CliRunner, tmp_path: Path, vllm_key: Path, tokenizer: Path
) -> None:
    empty = private(tmp_path / "empty.txt", "")
    rest = ("--key", vllm_key, "--tokenizer", tokenizer)
    assert "there is no text" in run(cli, "detect", empty, *rest).stderr
    assert "does not exist" in run(cli, "detect", tmp_path / "none.txt", *rest).stderr
    (tmp_path / "folder").mkdir()
    assert "holds no texts" in run(cli, "detect", tmp_path / "folder", *rest).stderr
    (tmp_path / "latin.txt").write_bytes("für".encode("latin-1"))
    assert "not UTF-8" in run(cli, "detect", tmp_path / "latin.txt", *rest).stderr


def test_a_record_that_disagrees_or_is_damaged(
    cli: CliRunner, tmp_path: Path, own_key: Path
) -> None:
    ids = rows_file(tmp_path / "ids.jsonl", [IDS])
    record = tmp_path / "own.key.record.json"
    arguments = ("detect", ids, "--key", own_key, "--epoch", "a", *GREEN)
    record.write_text('{"schema": "potstill/watermark-record/1", "window": 2}')
    assert "--window is 1, and the record beside the key says 2" in run(cli, *arguments).stderr
    record.write_text('{"schema": "potstill/watermark-record/1", "key_id": "blake3:0"}')
    assert "is of another key" in run(cli, *arguments).stderr
    record.write_text('{"schema": "potstill/watermark-record/1", "scheme": "gumbel"}')
    assert "--scheme is green, and the record beside" in run(cli, *arguments).stderr
    for damaged in ("{", '{"window": 0}', '{"depth": 3}'):
        record.write_text(damaged)
        result = run(cli, *arguments)
        assert result.exit_code == 2
        assert "take it away and state what it held" in result.stderr


# --- calibration ---


def test_p_values_are_tried_on_an_owner_s_vocabulary_and_text(
    cli: CliRunner, tmp_path: Path, tokenizer: Path
) -> None:
    own = private(
        tmp_path / "own.txt", words(np.random.default_rng(0).integers(0, 200, 900).tolist())
    )
    arguments = ("calibrate", own, "--tokenizer", tokenizer, "--scheme", "gumbel", "--window", 2)
    result = run(cli, *arguments, "--trials", 100, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert [row["text"] for row in value["rows"]] == ["even", "zipf", "loops", "boilerplate", "own"]
    assert {row["trials"] for row in value["rows"]} == {100}
    printed = run(cli, *arguments, "--trials", 100, "--quiet").stdout
    assert "gumbel, window 2, own text:" in printed
    assert "p-values hold" in printed


@pytest.mark.parametrize("scheme", ["vllm-dual-key", "vllm-sbw"])
def test_vllm_s_marks_are_tried_too(cli: CliRunner, tokenizer: Path, scheme: str) -> None:
    arguments = ("calibrate", "--tokenizer", tokenizer, "--scheme", scheme, "--trials", 100)
    result = run(cli, *arguments, "--quiet")
    assert result.exit_code == 0, result.output
    assert "p-values hold" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--trials", "5"], "--trials is 100 or more"),
        (["--scheme", "sglang"], "SGLang are not scored"),
        (["--scheme", "gren"], "did you mean green"),
        (["--window", "99"], "window"),
        (["--gamma", "2"], "gamma"),
        (["--gamma", "0.3", "--scheme", "gumbel"], "--gamma and --delta are for --scheme green"),
        (["--window", "2", "--scheme", "vllm-gumbel"], "--window is not for vllm-gumbel"),
        (["--gamma", "0.3", "--scheme", "vllm-sbw"], "--gamma is not for vllm-sbw"),
        (["short.txt"], "to calibrate on"),
    ],
)
def test_what_cannot_be_tried(
    cli: CliRunner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tokenizer: Path,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    private(tmp_path / "short.txt", "w1 w2")
    result = run(cli, "calibrate", *arguments, "--tokenizer", tokenizer, "--quiet")
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    assert said in result.stderr


def test_prompts_beside_token_ids_are_left_out_and_said_where_they_cannot_be(
    cli: CliRunner, own_key: Path, tokenizer: Path, tmp_path: Path
) -> None:
    ids = list(range(50))
    row = {"messages": [{"role": "user", "content": words(ids)}], "token_ids": ids}
    path = rows_file(tmp_path / "quoted.jsonl", [row])
    own = ["--key", own_key, "--epoch", "2026-12", *GREEN]
    blind = run(cli, "detect", path, *own)
    assert blind.exit_code == 0
    assert "warning: the rows have prompts" in blind.stderr and "--tokenizer" in blind.stderr
    seen = run(cli, "detect", path, *own, "--tokenizer", tokenizer, "--json")
    assert seen.exit_code == 0
    assert "warning: more than half of the tokens" in seen.stderr
    (test,) = json.loads(seen.stdout)["tests"]
    assert (test["scored"], test["left_out"], test["p"]) == (0, 49, 1.0)
