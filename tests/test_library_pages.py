"""The pages of docs/library, and the README's lines of Python, do what they say.

A page's blocks run in their order in one namespace, in a folder with what the pages name. A block
of text behind one is what it prints, word for word.
"""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import bundles
import nano_text
import pytest
from bundles import KEY

import potstill
from potstill import logs
from potstill.curate.registry import unregister
from potstill.losses import unregister_divergence
from potstill.watermark.keys import write_key
from printed_pages import write_own_files

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs/library").glob("*.md"))
READ_RUNS = ("distil.md", "figures.md", "verify.md")
OTHERS = [page for page in PAGES if page.name not in READ_RUNS]
_BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, heading: str = "") -> list[tuple[str, str | None]]:
    """Return each block of Python with what the page says that it prints, if it does."""
    text = page.read_text(encoding="utf-8")
    if heading:
        text = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found: list[tuple[str, str | None]] = []
    for language, body in _BLOCK.findall(text):
        if language == "python":
            found.append((body, None))
        else:
            assert found and found[-1][1] is None, f"{page.name}: nothing prints {body!r}"
            found[-1] = (found[-1][0], body)
    return found


def walk(page: Path, folder: Path, heading: str = "") -> None:
    """Run a page's blocks in a folder, and compare what they print."""
    before, named = Path.cwd(), {"__name__": page.stem}
    os.chdir(folder)
    try:
        for number, (code, shown) in enumerate(blocks(page, heading), 1):
            said = StringIO()
            with redirect_stdout(said):
                exec(compile(code, f"{page.name}, block {number}", "exec"), named)
            if shown is not None:
                assert said.getvalue() == shown, f"{page.name}, block {number}"
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, nano_llama: Path) -> Path:
    """What the pages name: a teacher, prompts, and a log of a form that nobody knows."""
    made = tmp_path_factory.mktemp("library")
    write_own_files(made)
    (made / "some").mkdir()
    for name in ("my-teacher", "some/teacher"):
        (made / name).symlink_to(nano_llama)
    rows = [{"question": text, "reply": "Yes.", "by": "big"} for text in nano_text.prompts()[:48]]
    (made / "helpdesk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_key(bundles.finished(made / "theirs", marked=0.9).bundle.parent / "2026-12.key", KEY)
    return made


@pytest.fixture(scope="module")
def distilled(folder: Path) -> Path:
    """The folder after the page that makes the runs which the others read."""
    walk(ROOT / "docs/library/distil.md", folder)
    return folder


@pytest.fixture
def as_before() -> Iterator[None]:
    """Take out what a page registers, and how it sets logging."""
    root, own = logging.getLogger(), logging.getLogger("potstill")
    handlers, level, own_level = list(root.handlers), root.level, own.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    own.setLevel(own_level)
    unregister_divergence("hellinger")
    unregister("too_many_words")
    logs.unregister("helpdesk")


def test_distil_and_figures(distilled: Path) -> None:
    walk(ROOT / "docs/library/figures.md", distilled)
    kept = sorted(path.name for path in (distilled / "runs/first-given").iterdir())
    assert [name.partition("-")[0] for name in kept] == ["prompts", "teacher"]
    assert not (distilled / "runs/second-given").exists()


def test_verify(distilled: Path) -> None:
    walk(ROOT / "docs/library/verify.md", distilled)


@pytest.mark.parametrize("page", OTHERS, ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page: Path, folder: Path, as_before: None) -> None:
    walk(page, folder)


def test_the_readmes_lines_do_what_they_say(folder: Path, tmp_path: Path) -> None:
    assert len(blocks(ROOT / "README.md", "As a library")) == 1
    for name in ("some", "prompts.jsonl"):
        (tmp_path / name).symlink_to(folder / name)
    walk(ROOT / "README.md", tmp_path, "As a library")


def test_the_index_names_all_that_is_public() -> None:
    page = (ROOT / "docs/library/index.md").read_text(encoding="utf-8")
    rows = "\n".join(line for line in page.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)", rows.replace("`, `", "` `"))) >= set(potstill.__all__)
    linked = set(re.findall(r"\((\w+)\.md\)", page))
    assert linked == {page.stem for page in PAGES} - {"index"}
    for name in potstill.__all__:
        assert getattr(potstill, name) is not None


@pytest.mark.slow
def test_a_users_strict_mypy_passes(tmp_path: Path) -> None:
    """Functions without types are the pages', and may stand in a program that is checked."""
    files = []
    for page in (*PAGES, ROOT / "README.md"):
        heading = "As a library" if page.name == "README.md" else ""
        code = "\n".join(body for body, _ in blocks(page, heading))
        files.append(f"{page.stem.lower()}_page.py")
        (tmp_path / files[-1]).write_text(code, encoding="utf-8")
    own = ("--allow-untyped-defs", "--allow-incomplete-defs", "--allow-untyped-calls")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", *own, "--config-file=", *files],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
