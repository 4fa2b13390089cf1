"""Talking to a nano student beside its teacher."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer
from typer.testing import CliRunner

from potstill.cli.app import app
from potstill.cli.common import nothing_said
from potstill.models import chat as chat_messages
from potstill.models.chat import prompt_ids, reply_of
from potstill.models.generate import Request, decode
from potstill.models.load import load
from potstill.models.sampling import Sampling
from potstill.recipe import Recipe
from potstill.work.rundir import RunDir


@pytest.fixture
def run(tmp_path: Path, nano_llama: Path) -> Path:
    recipe = Recipe.model_validate(
        {"name": "mine", "teacher": {"model": str(nano_llama)}, "precision": "fp32"}
    )
    with RunDir.open(tmp_path / "run", recipe) as opened:
        shutil.copytree(nano_llama, opened.student)
        return opened.root


def test_student_and_teacher_answer_the_same_message(cli: CliRunner, run: Path) -> None:
    result = cli.invoke(app, ["chat", str(run), "--once", "Name a colour.", "--max-tokens", "8"])
    assert result.exit_code == 0, result.output
    student, teacher = result.stdout.splitlines()
    assert student.startswith("student: ")
    # The student is a copy here, and greedy answers are the same every time.
    assert teacher == student.replace("student", "teacher", 1)


def test_a_model_answers_alone(cli: CliRunner, nano_neox: Path) -> None:
    result = cli.invoke(app, ["chat", str(nano_neox), "--once", "Hello", "--max-tokens", "4"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("model: ")


def test_a_talk_remembers_until_new(cli: CliRunner, run: Path) -> None:
    typed = "Name a colour.\n\nName a colour.\n/new\nName a colour.\n/quit\nnever read\n"
    result = cli.invoke(
        app, ["chat", str(run), "--no-teacher", "--max-tokens", "6", "--quiet"], input=typed
    )
    assert result.exit_code == 0, result.output
    answers = [line for line in result.stdout.splitlines() if line.startswith("student:")]
    assert len(answers) == 3
    assert answers[0] == answers[2]


@pytest.mark.parametrize("system", [None, "Be brief."])
def test_each_answer_is_to_the_whole_talk_so_far(
    cli: CliRunner, run: Path, nano_llama: Path, system: str | None
) -> None:
    """The oracle asks with all messages and answers before, the system message first."""
    model = load(str(nano_llama), precision="fp32")
    questions = ["Name a colour.", "And another one?", "Name a colour."]
    talk = [{"role": "system", "content": system}] if system else []
    expected = []
    for question in questions:
        talk = [*talk, {"role": "user", "content": question}]
        request = Request(key="oracle", prompt_ids=tuple(prompt_ids(model, talk)))
        greedy = Sampling(temperature=0.0, max_tokens=8)
        (done,) = [c for batch in decode(model, [request], greedy, slots=1) for c in batch]
        reply = reply_of(model, done.token_ids).text
        talk = [*talk, {"role": "assistant", "content": reply}]
        expected.append(f"student: {reply.strip()}")
    options = ["--no-teacher", "--max-tokens", "8", "--quiet"]
    options += ["--system", system] if system else []
    result = cli.invoke(app, ["chat", str(run), *options], input="\n".join(questions) + "\n")
    assert result.stdout.splitlines() == expected
    assert expected[0] != expected[2], "the same question twice must tell whether talks are kept"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (" ", '(white space alone: " ")'),
        ("\n\n\t", r'(white space alone: "\n\n\t")'),
        ("\u3000", r'(white space alone: "\u3000")'),
        ("", "(no text)"),
        (" blue ", ""),
    ],
)
def test_an_answer_that_shows_nothing_is_shown_as_such(
    cli: CliRunner, run: Path, monkeypatch: pytest.MonkeyPatch, said: str, shown: str
) -> None:
    """No nano model answers so; the stand-in for decoding does."""
    assert nothing_said(said) == shown
    monkeypatch.setattr("potstill.cli.chat.answer", lambda *_: said)
    result = cli.invoke(app, ["chat", str(run), "--no-teacher", "--once", "Hello", "--quiet"])
    assert result.stdout == f"student: {shown or 'blue'}\n"


def test_a_talk_that_outgrows_the_context_says_so_and_goes_on(cli: CliRunner, run: Path) -> None:
    result = cli.invoke(
        app,
        ["chat", str(run), "--no-teacher", "--max-tokens", "4", "--quiet"],
        input=f"{'word ' * 5000}\nName a colour.\n",
    )
    assert "no longer fits into the student's context" in result.stderr
    assert "student: " in result.stdout


def room(run: Path) -> int:
    """Return how many words, a token each at least, take more than half of the student's room."""
    config = json.loads((run / "student" / "config.json").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(run / "student")
    each = len(tokenizer(" cat" * 100)["input_ids"]) / 100
    return int(0.6 * config["max_position_embeddings"] / each)


@pytest.mark.parametrize("between", ["", "/new"])
def test_a_message_stays_in_the_talk_until_new(cli: CliRunner, run: Path, between: str) -> None:
    """Each of two long messages fits the student; both together do not."""
    message = ("cat " * room(run)).strip()
    result = cli.invoke(
        app,
        ["chat", str(run), "--no-teacher", "--max-tokens", "2", "--quiet"],
        input=f"{message}\n{between}\n{message}\n",
    )
    assert result.exit_code == 0, result.output
    answers = [line for line in result.stdout.splitlines() if line.startswith("student:")]
    full = "no longer fits into the student's context" in result.stderr
    assert (len(answers), full) == ((2, False) if between else (1, True))


def test_answers_stay_in_the_talk_as_messages_do(
    cli: CliRunner, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the student is asked next holds everything that was said before."""
    asked: list[list[dict[str, str]]] = []
    plain = chat_messages.prompt_ids

    def noted(model: Any, messages: Any, *more: Any) -> list[int]:
        asked.append([dict(message) for message in messages])
        return plain(model, messages, *more)

    monkeypatch.setattr(chat_messages, "prompt_ids", noted)
    cli.invoke(
        app,
        ["chat", str(run), "--no-teacher", "--max-tokens", "3", "--quiet"],
        input="One.\nTwo.\n/new\nThree.\n",
    )
    first, second, third = asked
    assert first == [{"role": "user", "content": "One."}]
    assert [m["role"] for m in second] == ["user", "assistant", "user"]
    assert (second[0], second[2]["content"]) == (first[0], "Two.")
    assert third == [{"role": "user", "content": "Three."}]


def test_a_run_without_a_student_and_an_empty_message_are_refused(
    cli: CliRunner, run: Path
) -> None:
    assert cli.invoke(app, ["chat", str(run), "--once", " ", "--no-teacher"]).exit_code == 2
    shutil.rmtree(run / "student")
    result = cli.invoke(app, ["chat", str(run), "--once", "x"])
    assert result.exit_code == 2
    assert "has no finished student yet" in result.stderr


@pytest.mark.parametrize("text", ["\udcff", "Hi \ud83d", "\udc80\udc81"])
def test_bytes_that_are_no_text_are_refused(cli: CliRunner, nano_llama: Path, text: str) -> None:
    result = cli.invoke(app, ["chat", str(nano_llama), "--once", text])
    assert result.exit_code == 2
    assert "bytes that are no text in the terminal's encoding" in result.output
