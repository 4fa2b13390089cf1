"""What the pages print: fenced blocks and commands, and a way to run them as a reader would."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import nano_text
import yaml
from typer.testing import CliRunner

from potstill.cli.app import app
from potstill.models.serving import free_address

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", *sorted(f"docs/how-to/{p.name}" for p in (ROOT / "docs/how-to").glob("*.md")))
_PROGRAMS = ("potstill ", "make ", "pip ", "uv ", "python ", "vllm ", "llama-server ")
# Verbs that do something without being given anything; of others the name alone is no command.
_ALONE = ("potstill demo", "potstill recipe")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_FILE_NAME = re.compile(r"`([\w-]+\.\w+)`\n\n$")

# A student in seconds in place of one in minutes: these are appended where a step is long.
SMALL = {
    "precision": "fp32",
    "prompts.limit": 24,
    "prompts.held_out_count": 8,
    "prompts.validation_count": 4,
    "collect.max_tokens": 8,
    "collect.slots": 8,
    "shrink.calibration_tokens": 600,
    "shrink.trial_tokens": 256,
    "shrink.candidates": 1,
    "evaluate.max_tokens": 8,
    "evaluate.resamples": 200,
    "evaluate.speed_tokens": 2,
    "evaluate.sample_pairs": 1,
}


@dataclass(frozen=True)
class Step:
    """One thing that a page prints: a command, a recipe (or part of one), a file, Python."""

    kind: str
    text: str
    file: str | None = None


def steps_of(text: str) -> list[Step]:
    """Return what a page prints, in its order; a list of options or of fields is none."""
    found: list[tuple[int, Step]] = []
    for block in _BLOCK.finditer(text):
        language, body = block[1], block[2]
        named = _FILE_NAME.search(text[: block.start()])
        if not language:
            lines = (re.sub(r"\s+# .*", "", line).strip() for line in body.splitlines())
            found += [(block.start(), Step("command", line)) for line in lines if line]
        else:
            kind = "file" if named else language
            found.append((block.start(), Step(kind, body, named[1] if named else None)))
    outside = _BLOCK.sub(lambda block: " " * len(block[0]), text)
    for span in _SPAN.finditer(outside):
        command = " ".join(span[1].split())
        alone = len(command.split()) < 3 and command.startswith("potstill")
        if command.startswith(_PROGRAMS) and (not alone or command in _ALONE):
            found.append((span.start(), Step("command", command)))
    return [step for _, step in sorted(found, key=lambda item: item[0])]


def recipe_commands(path: Path) -> list[str]:
    """Return the commands that a recipe's comments, or a program's first lines, print."""
    text = re.sub(r"^# ?", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    indented = re.findall(r"^ {2,}((?:potstill|python|make) .*)$", text, re.MULTILINE)
    return [re.sub(r"\s+# .*", "", line).strip() for line in indented]


@dataclass
class Reader:
    """Somebody who does what a page says, in a folder of their own.

    `words` replaces words of a command (RUN, a model that is not here); `more` are options that
    are appended to commands with a recipe. `did` holds every command that was run.
    """

    folder: Path
    words: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    did: list[str] = field(default_factory=list)
    servers: list[subprocess.Popen[str]] = field(default_factory=list)

    def do(self, command: str) -> str:
        """Run a printed command and return its standard output; it must end well."""
        self.did.append(command)
        first, _, rest = command.partition(" > ")
        words = [self.words.get(word, word) for word in shlex.split(first)]
        if words[1] == "serve":
            if "--check" not in words:
                return self._started(words)
            words += ["--port", "0"]
        # The demos of a trace and of a watch have no recipe.
        with_recipe = ("distill", "collect", "curate", "train", "evaluate", "demo")
        if words[1] in with_recipe and not {"trace", "watch"} & set(words[1:3]):
            words += [part for key, value in self.more.items() for part in _set(key, value)]
        typed = "Name a colour.\n/quit\n" if words[1] == "chat" else None
        result = CliRunner().invoke(app, words[1:], input=typed)
        assert result.exit_code == 0, f"{command}\n{result.output}\n{result.exception!r}"
        if rest:
            (self.folder / rest).write_text(result.stdout, encoding="utf-8")
        return result.stdout

    def python(self, text: str) -> str:
        """Run printed Python and return what it prints."""
        said = StringIO()
        with redirect_stdout(said):
            exec(compile(text, "page", "exec"), {})
        return said.getvalue()

    def _started(self, words: Sequence[str]) -> str:
        """Start a server as printed, on a port that is free, and return what it prints at first."""
        port = free_address("127.0.0.1", 0).port
        command = [sys.executable, "-c", "from potstill.cli import main; main()", *words[1:]]
        server = subprocess.Popen(
            [*command, "--port", str(port)],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        self.servers.append(server)
        assert server.stdout is not None
        said = server.stdout.readline()
        assert f"http://127.0.0.1:{port}/v1" in said
        self.more = {**self.more, "teacher.endpoint.url": f"http://127.0.0.1:{port}/v1"}
        return said


@contextmanager
def reader(folder: Path, **known: Any) -> Iterator[Reader]:
    """Yield a reader whose working directory is the folder; servers stop at the end."""
    before = Path.cwd()
    os.chdir(folder)
    one = Reader(folder, **known)
    try:
        yield one
    finally:
        os.chdir(before)
        for server in one.servers:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(timeout=20)
            finally:
                server.kill()


def is_whole(recipe: str) -> bool:
    """Tell whether a printed recipe stands alone."""
    values = yaml.safe_load(recipe)
    return {"name", "teacher"} <= set(values) and "model" in values["teacher"]


def joined(base: Any, part: Any) -> Any:
    """Return a recipe's values with those of a printed part in their place."""
    if not (isinstance(base, dict) and isinstance(part, dict)):
        return part
    return base | {key: joined(base.get(key), value) for key, value in part.items()}


def write_own_files(folder: Path) -> None:
    """Write what a reader has: prompts, rows, a log, and a permission."""
    texts = nano_text.prompts()[:48]
    queues = ("billing", "delivery", "returns")
    rows = [
        {"message": text, "queue": queues[n % 3], "country": "elsewhere" if n % 5 == 0 else "here"}
        for n, text in enumerate(texts)
    ]
    lines = {
        "prompts.jsonl": [{"prompt": text} for text in texts],
        "tickets.jsonl": [{"prompt": text} for text in texts],
        "rows.jsonl": rows,
        "labelled.jsonl": rows[:16],
        "logged.jsonl": [{"message": f"{text} Please."} for text in texts],
        "calls.jsonl": [
            {
                "messages": [
                    {"role": "user", "content": text},
                    {"role": "assistant", "content": "Near the harbour."},
                ]
            }
            for text in texts
        ],
    }
    for name, values in lines.items():
        text = "".join(json.dumps(value) + "\n" for value in values)
        (folder / name).write_text(text, encoding="utf-8")
    bodies = "".join(f'"{text}",5\n' for text in texts)
    (folder / "reviews.csv").write_text(f"body,stars\n{bodies}", encoding="utf-8")
    (folder / "permission.txt").write_text("Yes, you may.\n", encoding="utf-8")
    (folder / "first-order.secret").write_text("0f" * 32, encoding="utf-8")


def _set(key: str, value: Any) -> tuple[str, str]:
    return "--set", f"{key}={json.dumps(value)}"
