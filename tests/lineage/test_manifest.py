"""The manifest: missing, changed and extra files are found; nothing private is in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from potstill.errors import PotstillError
from potstill.lineage import manifest
from potstill.recipe import Recipe
from potstill.work.run_recipe import recipe_digest
from potstill.work.rundir import RunDir

RECIPE = Recipe.model_validate({"name": "run", "teacher": {"model": "x"}})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "run"
    with RunDir.open(root, RECIPE) as run:
        run.write_text("student/config.json", "{}")
        run.write_text("report.html", "<p>")
        run.write_text("student/empty", "")
        manifest.write(run, {"teacher": {"identity": "blake3:t"}, "terms": "allow"})
    return root


def test_it_lists_every_file_and_where_the_run_came_from(root: Path) -> None:
    written = json.loads((root / "manifest.json").read_text())
    assert set(written["files"]) == {
        "recipe.yaml",
        "report.html",
        "student/config.json",
        "student/empty",
    }
    assert written["files"]["student/config.json"]["bytes"] == 2
    assert written["recipe"] == recipe_digest(RECIPE)
    assert written["teacher"] == {"identity": "blake3:t"} and written["terms"] == "allow"
    assert written["packages"]["torch"] and written["hardware"]["cores"]
    assert manifest.verify(root) == []


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (lambda r: (r / "report.html").write_text("<q>"), "report.html has changed"),
        (lambda r: (r / "report.html").write_text("longer"), "report.html has changed"),
        (lambda r: (r / "student" / "empty").unlink(), "student/empty is missing"),
        (lambda r: (r / "student" / "x").write_text(""), "student/x is not listed"),
        (lambda r: (r / ".hidden").write_text(""), ".hidden is not listed"),
        (lambda r: (r / "manifest.json").write_text("{"), "manifest.json cannot be read"),
        (lambda r: (r / "manifest.json").write_text("[]"), "manifest.json cannot be read"),
    ],
)
def test_harm_is_named(root: Path, harm: Callable[[Path], object], problem: str) -> None:
    harm(root)
    assert manifest.verify(root) == [problem]


def test_a_missing_manifest_and_another_schema_are_named(root: Path) -> None:
    path = root / "manifest.json"
    path.write_text(path.read_text().replace("manifest/1", "manifest/9"))
    assert "has schema potstill/manifest/9" in manifest.verify(root)[0]
    path.unlink()
    assert "manifest.json is missing" in manifest.verify(root)[0]


def test_links_are_refused_and_found(root: Path, tmp_path: Path) -> None:
    (root / "report.html").unlink()
    (tmp_path / "elsewhere").write_text("<p>")
    (root / "report.html").symlink_to(tmp_path / "elsewhere")
    assert manifest.verify(root) == ["report.html is a link"]
    (tmp_path / "folder").mkdir()
    (root / "more").symlink_to(tmp_path / "folder")
    assert "more is not listed" in manifest.verify(root)
    with (
        RunDir.open(root, RECIPE) as run,
        pytest.raises(PotstillError, match=r"more in .* is a link"),
    ):
        manifest.write(run, {})


def test_the_signature_is_not_listed(root: Path) -> None:
    (root / manifest.SIGNATURE_FILE).write_text("sig")
    assert manifest.verify(root) == []


def test_no_environment_and_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POTSTILL_TEST_SECRET", "hunter2-environment")
    with RunDir.open(tmp_path / "run", RECIPE) as run:
        path = manifest.write(
            run, {"teacher": {"source": ["https://me:hunter2@example.org/model"]}}
        )
    text = path.read_text()
    assert "hunter2" not in text and str(tmp_path) not in text
    assert "https://example.org/model" in text


def test_a_file_made_afterwards_can_be_listed_until_the_manifest_is_signed(root: Path) -> None:
    before = json.loads((root / "manifest.json").read_text())
    new, outside = root / "student.gguf", root.parent / "other.gguf"
    for path in (new, outside):
        path.write_text("GGUF")
        manifest.add(root, path)
    assert manifest.verify(root) == []
    after = json.loads((root / "manifest.json").read_text())
    assert after.pop("files").keys() - before.pop("files").keys() == {"student.gguf"}
    assert after == before
    new.write_text("changed")
    assert manifest.verify(root) == ["student.gguf has changed"]
    (root / manifest.SIGNATURE_FILE).write_text("signed")
    with pytest.raises(PotstillError, match="would break the signature"):
        manifest.add(root, new)


def test_a_run_that_has_not_finished_needs_no_entry(tmp_path: Path) -> None:
    path = tmp_path / "student.gguf"
    path.write_text("GGUF")
    manifest.add(tmp_path, path)
    assert [file.name for file in tmp_path.iterdir()] == ["student.gguf"]
