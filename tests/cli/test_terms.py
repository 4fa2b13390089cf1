"""`potstill terms`: the answer, its documents with their dates, once that it is no legal advice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from licence_texts import APACHE, card
from potstill.cli.app import app


def test_a_document_is_shown_with_its_dates(cli: CliRunner) -> None:
    said = cli.invoke(app, ["terms", "deepseek", "--surface", "api"])
    assert said.exit_code == 0
    for words in (
        "for a general model whose use is not stated: allowed",
        "document:   DeepSeek Open Platform terms",
        "effective:  2026-04-29",
        "checked:    2026-11; ",
        "confidence: S: quoted by a dated secondary source",
    ):
        assert words in said.stdout
    assert said.stdout.count("not legal advice") == 1


def test_a_base_is_judged_beside_it_and_advice_is_disclaimed_once(cli: CliRunner) -> None:
    said = cli.invoke(app, ["terms", "deepseek-api", "--base", "gemma", "--intent", "host"])
    assert said.exit_code == 0 and "allowed under conditions" in said.stdout
    assert said.stdout.count("not legal advice") == 1
    refused = cli.invoke(app, ["terms", "deepseek-api", "--base", "qwen"])
    assert refused.exit_code == 2 and "the student's base qwen" in refused.output


def test_what_is_refused_is_explained_and_exits_with_2(cli: CliRunner) -> None:
    said = cli.invoke(app, ["terms", "anthropic"])
    assert said.exit_code == 2
    assert "also:       The provider's help centre" in said.stdout
    assert said.output.count("error: ") == 1 and "--authorisation" in said.output


def test_other_uses_are_told(cli: CliRunner) -> None:
    said = cli.invoke(app, ["terms", "openai-api"])
    assert "a narrow classifier for internal use: surface-openai conditions" in said.stdout
    narrow = ["--student", "classifier", "--intent", "internal"]
    allowed = cli.invoke(app, ["terms", "openai", "--surface", "api", *narrow])
    assert allowed.exit_code == 0 and "neither distributed nor sold" in allowed.stdout


def test_a_directory_is_read(cli: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(card(license="mit"))
    (tmp_path / "LICENSE").write_text(APACHE)
    said = cli.invoke(app, ["terms", str(tmp_path)])
    assert said.exit_code == 2 and "contradict each other" in said.output
    (tmp_path / "README.md").write_text(card(license="apache-2.0"))
    assert cli.invoke(app, ["terms", str(tmp_path)]).exit_code == 0


def test_an_authorisation_is_looked_at(cli: CliRunner, tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("authorisation: 1\nwho: A\nwhat: zai\nuntil: 2999-01-01\n")
    said = cli.invoke(app, ["terms", "zai", "--authorisation", str(letter)])
    assert said.exit_code == 0 and "authorisation: A permits zai until 2999-01-01" in said.stdout
    letter.write_text(letter.read_text().replace("2999", "2020"))
    ended = cli.invoke(app, ["terms", "zai", "--authorisation", str(letter)])
    assert ended.exit_code == 2 and "ended on 2020-01-01" in ended.output


def test_json_holds_all_of_it(cli: CliRunner) -> None:
    said = cli.invoke(app, ["terms", "mistral", "--json"])
    (shown,) = json.loads(said.stdout[: said.stdout.rindex("]") + 1])
    assert (shown["outcome"], shown["permitted"]) == ("unknown", False)
    (document,) = shown["documents"]
    assert document["confidence"] == "U: unverified, and so permits nothing"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody-knows-it"], "potstill knows no model, service or licence"),
        (["openai", "--surface", "phone"], "--surface is phone; it is one of weights, api, app"),
        (["openai", "--intent", "sell"], "--intent is sell"),
        (["openai", "--student", "big"], "--student is big"),
    ],
)
def test_bad_input_is_one_sentence(cli: CliRunner, arguments: list[str], words: str) -> None:
    said = cli.invoke(app, ["terms", *arguments])
    assert said.exit_code == 2 and words in said.output and said.output.startswith("error: ")
