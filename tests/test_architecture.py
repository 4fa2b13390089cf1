"""The house as docs/architecture.md draws it is the house that stands."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "potstill"
PAGE = ROOT / "docs" / "architecture.md"
STAGES = ("collect", "curate", "shrink", "train", "evaluate")
LONGEST_MODULE, LONGEST_FUNCTION = 400, 60


@cache
def modules() -> dict[Path, ast.Module]:
    return {p: ast.parse(p.read_text(encoding="utf-8")) for p in sorted(SOURCE.rglob("*.py"))}


def section(heading: str) -> str:
    """Return a part of the page, up to the next heading of its level."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    assert found is not None, heading
    return found.group(1)


def contracted_layers() -> list[list[str]]:
    """Return the layers of the import contract, highest first, each sorted."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = [c["layers"] for c in contracts["contracts"] if c["type"] == "layers"]
    return [sorted(re.split(r"\s*[|:]\s*", layer)) for layer in layers]


def drawn_layers() -> list[list[str]]:
    """Return the layers of the page's picture, highest first, each sorted."""
    picture = re.search(r"```text\n(.*?)```", section("The layers"), re.S)
    assert picture is not None
    lines = [line for line in picture.group(1).splitlines() if line.strip()]
    return [sorted(line.split("  ")[0].split()) for line in lines]


def test_the_picture_is_the_contract() -> None:
    assert drawn_layers() == contracted_layers()


def test_every_room_is_drawn_and_described() -> None:
    rooms = {p.stem if p.is_file() else p.name for p in SOURCE.iterdir() if p.suffix in ("", ".py")}
    rooms -= {"__init__", "__pycache__", "data"}
    drawn = {name for layer in drawn_layers() for name in layer}
    assert rooms == drawn


def files_of(row: str) -> list[str]:
    return re.findall(r"`(src/[^`]+|tests/[^`]+|docs/[^`]+)`", row)


def test_a_newcomers_table_names_files_that_are_there() -> None:
    rows = [line for line in section("Where a change goes").splitlines() if line.startswith("| ")]
    changes = rows[2:] if rows[1].startswith("| ---") else rows[1:]
    assert len(changes) >= 12
    for row in changes:
        named = files_of(row)
        assert named, row
        assert len(named) <= 2, row
        for name in named:
            assert (ROOT / name).is_file(), name


def test_the_way_of_an_exchange_names_what_is_there() -> None:
    text = section("The way of one exchange")
    named = re.findall(r"`([a-z_]+(?:/[a-z_]+)*\.py)(?::([A-Za-z_.]+))?`", text)
    assert len(named) > 10
    for file, name in named:
        path = SOURCE / file
        assert path.is_file(), file
        if name:
            assert re.search(
                rf"^\s*(def|class) {re.escape(name.split('.')[-1])}\b", path.read_text(), re.M
            ), (file, name)


def test_no_module_and_no_function_is_too_long() -> None:
    long = {
        str(p.relative_to(SOURCE)): n
        for p in modules()
        if (n := len(p.read_text().splitlines())) > LONGEST_MODULE
    }
    assert long == {}
    for path, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1 - _said(node)
                assert lines <= LONGEST_FUNCTION, (path.name, node.name, lines)


def _said(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function's docstring, which make it no longer."""
    text = ast.get_docstring(node, clean=False)
    return 0 if text is None else text.count("\n") + 1


def public_classes() -> Iterator[tuple[str, Path]]:
    for path, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield node.name, path


def test_no_class_name_means_two_things() -> None:
    where: dict[str, list[str]] = defaultdict(list)
    for name, path in public_classes():
        where[name].append(str(path.relative_to(SOURCE)))
    assert {name: files for name, files in where.items() if len(files) > 1} == {}


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        # Import contracts see outer packages as wholes, and torch is everywhere.
        ("torch.distributed", {"losses/chunked.py", "train/compute.py"}),
        ("accelerate", {"train/loop.py"}),
        ("ray", set()),
    ],
)
def test_what_shares_work_out_is_touched_in_few_places(package: str, allowed: set[str]) -> None:
    found = {
        str(path.relative_to(SOURCE))
        for path, tree in modules().items()
        if any(m == package or m.startswith(f"{package}.") for m in imported_by(tree))
    }
    assert found <= allowed


def imported_by(tree: ast.Module) -> Iterator[str]:
    """Yield every module that is imported anywhere, and every name that is taken out of one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_a_function_of_what_it_needs(stage: str) -> None:
    """It is given no loose values, and gives none; import contracts say what it may not know."""
    tree = modules()[SOURCE / stage / "stage.py"]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            assert "dict[str, Any]" not in ast.unparse(node.args), node.name
            assert node.returns is not None and "dict[str, Any]" not in ast.unparse(node.returns), (
                node.name
            )
