"""The manifest: missing, changed and extra files are found; nothing private is in it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.durable import temporary_folder
from potstill.errors import PotstillError
from potstill.lineage import manifest
from potstill.lineage.document import LineageFacts, ModelFacts, read_manifest
from potstill.lineage.files import differences, entries_under
from potstill.lineage.keys import SigningKey, make_key, read_signing_key
from potstill.recipe import Recipe
from potstill.work.run_recipe import recipe_digest
from potstill.work.rundir import RunDir

RECIPE = Recipe.model_validate({"name": "run", "teacher": {"model": "x"}})
UNREADABLE = "manifest.json cannot be read; get the directory as it was from whoever made it"
FACTS = LineageFacts(
    teacher=ModelFacts(identity="blake3:t"), terms={"outcome": "allow", "authorisation": None}
)


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    make_key(tmp_path / "key")
    return read_signing_key(tmp_path / "key")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "run"
    with RunDir.open(root, RECIPE) as run:
        run.write_text("student/config.json", "{}")
        run.write_text("report.html", "<p>")
        run.write_text("student/empty", "")
        manifest.write(run, FACTS)
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
    assert written["teacher"] == {"identity": "blake3:t"}
    assert written["terms"] == {"outcome": "allow", "authorisation": None}
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
        (lambda r: (r / "manifest.json").write_text("{"), UNREADABLE),
        (lambda r: (r / "manifest.json").write_text("[]"), UNREADABLE),
    ],
)
def test_harm_is_named(root: Path, harm: Callable[[Path], object], problem: str) -> None:
    harm(root)
    assert manifest.verify(root) == [problem]


def test_a_missing_manifest_and_another_schema_are_named(root: Path) -> None:
    path = root / "manifest.json"
    path.write_text(path.read_text().replace("manifest/2", "manifest/9"))
    assert "has schema potstill/manifest/9" in manifest.verify(root)[0]
    assert "verify with the version that wrote it" in manifest.verify(root)[0]
    path.write_text(path.read_text().replace("potstill/manifest/9", "other/1"))
    assert "it is no manifest of potstill" in manifest.verify(root)[0]
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
        manifest.write(run)


def test_the_signature_is_not_listed(root: Path) -> None:
    (root / manifest.SIGNATURE_FILE).write_text("sig")
    assert manifest.verify(root) == []


def test_no_environment_and_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POTSTILL_TEST_SECRET", "hunter2-environment")
    with RunDir.open(tmp_path / "run", RECIPE) as run:
        facts = LineageFacts(terms={"source": ["https://me:hunter2@example.org/model"]})
        path = manifest.write(run, facts)
    text = path.read_text()
    assert "hunter2" not in text and str(tmp_path) not in text
    assert "https://example.org/model" in text


def test_a_file_made_afterwards_is_listed_with_the_others(root: Path) -> None:
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


def test_what_is_added_to_a_signed_manifest_is_countersigned(root: Path, key: SigningKey) -> None:
    manifest.sign(root, key)
    before, new = (root / "manifest.json").read_bytes(), root / "student.gguf"
    new.write_text("GGUF")
    with pytest.raises(PotstillError, match="has to be signed as well"):
        manifest.add(root, new)
    for text, number in (("GGUF", 1), ("another", 2)):
        new.write_text(text)
        manifest.add(root, new, key)
        assert (root / f"manifest.{number}.json.sig").is_file() and manifest.verify(root) == []
    assert (root / "manifest.json").read_bytes() == before
    with pytest.raises(PotstillError, match=r"is signed and lists report.html"):
        manifest.add(root, root / "report.html", key)
    second = root / "manifest.2.json"
    second.rename(root / "manifest.3.json")
    assert "manifest.3.json is not listed" in manifest.verify(root)
    (root / "manifest.3.json").rename(root / "manifest.1.json")
    assert (
        "manifest.1.json is no addition to manifest.json as it is now" in (manifest.verify(root)[0])
    )


def test_an_addition_lists_nothing_that_the_manifest_lists(root: Path, key: SigningKey) -> None:
    manifest.sign(root, key)
    (root / "more").write_text("")
    manifest.add(root, root / "more", key)
    path = root / "manifest.1.json"
    path.write_text(path.read_text().replace('"more"', '"report.html"'))
    assert "manifest.1.json lists report.html once more" in manifest.verify(root)[0]


def test_what_was_added_is_listed_with_the_rest_by_who_signs_anew(
    root: Path, key: SigningKey
) -> None:
    manifest.sign(root, key)
    (root / "more").write_text("")
    manifest.add(root, root / "more", key)
    manifest.sign(root, key)
    assert not (root / "manifest.1.json").exists() and manifest.verify(root) == []
    assert "more" in json.loads((root / "manifest.json").read_text())["files"]
    (root / "more").write_text("x")
    with pytest.raises(PotstillError, match="more has changed, and a signature would vouch"):
        manifest.sign(root, key)


def test_a_run_that_has_not_finished_needs_no_entry(tmp_path: Path) -> None:
    path = tmp_path / "student.gguf"
    path.write_text("GGUF")
    manifest.add(tmp_path, path)
    assert [file.name for file in tmp_path.iterdir()] == ["student.gguf"]


def test_what_is_done_again_is_no_longer_vouched_for(root: Path, key: SigningKey) -> None:
    with RunDir.open(root, RECIPE) as run:
        manifest.write_student(run.student, RECIPE, FACTS, key)
        manifest.write(run, FACTS, key)
        (root / "more").write_text("")
        manifest.add(root, root / "more", key)
        run.forget("evaluate")
    left = [path.name for path in root.rglob("manifest*")]
    assert left == [] and (root / "student" / "config.json").is_file()


def test_a_manifest_of_the_first_schema_is_read(root: Path) -> None:
    path = root / "manifest.json"
    values = json.loads(path.read_text())
    old = {key: values[key] for key in ("created_at", "run", "recipe", "packages", "files")}
    old |= {"schema": "potstill/manifest/1", "teacher": {"identity": "blake3:t"}, "later": 1}
    path.write_text(json.dumps(old))
    assert manifest.verify(root) == []
    assert read_manifest(path).kind == "run" and read_manifest(path).figures is None


@settings(max_examples=40)
@given(
    names=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True), cut=st.data()
)
def test_whatever_is_changed_is_named_and_nothing_else(
    names: list[str], cut: st.DataObject
) -> None:
    """Against a comparison that was built another way: digests by hashing whole contents."""
    with temporary_folder() as folder:
        for name in names:
            (folder / name).write_bytes(name.encode() * cut.draw(st.integers(0, 3)))
        listed = entries_under(folder)
        before = {name: (folder / name).read_bytes() for name in names}
        for name in names:
            match cut.draw(st.sampled_from(("leave", "write", "remove"))):
                case "write":
                    (folder / name).write_bytes(cut.draw(st.binary(max_size=4)))
                case "remove":
                    (folder / name).unlink()
        after = {p.name: p.read_bytes() for p in folder.iterdir()}
        wanted = {name for name in names if before[name] != after.get(name)}
        found = list(differences(folder, listed))
        assert {sentence.split()[0] for sentence in found} == wanted and len(found) == len(wanted)


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace('"run": "run"', '"run": "other", "run": "run"'),
        lambda text: text.replace('"run": "run"', '"run": "run", "cost": {"x": 1e999}'),
        lambda text: text + "{}",
    ],
)
def test_what_two_readers_may_read_otherwise_is_no_manifest(
    root: Path, edit: Callable[[str], str]
) -> None:
    path = root / "manifest.json"
    path.write_text(edit(path.read_text()))
    assert manifest.verify(root) == [UNREADABLE]


def test_a_manifest_that_is_no_plain_file_is_not_waited_for(root: Path, key: SigningKey) -> None:
    path = root / "manifest.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(PotstillError, match=r"manifest\.json is no plain file"):
        manifest.sign(root, key)


def test_where_no_signature_is_to_be_had_all_stays_as_it_was(
    root: Path, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A run with a student of its own, signed, with something added since.
    student = root / "student"
    manifest.write_student(student, RECIPE, FACTS, key)
    with RunDir.open(root, RECIPE) as run:
        manifest.write(run, FACTS, key)
    (root / "model.gguf").write_text("weights")
    manifest.add(root, root / "model.gguf", key)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    real, calls = manifest.signature_of, []

    def fails_the_second_time(*given: Any) -> bytes:
        calls.append(given)
        if len(calls) == 2:
            raise PotstillError("Sigstore did not sign")
        return real(*given)

    monkeypatch.setattr(manifest, "signature_of", fails_the_second_time)
    with pytest.raises(PotstillError, match="did not sign"):
        manifest.sign(root, key)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    manifest.sign(root, key)
    assert manifest.verify(root) == [] and manifest.verify(student) == []
    assert not (root / "manifest.1.json").exists()


def test_a_folder_in_the_place_of_an_addition_costs_no_manifest(
    root: Path, key: SigningKey
) -> None:
    (root / "manifest.1.json").mkdir()
    with pytest.raises(PotstillError, match=r"manifest\.1\.json is a directory"):
        manifest.sign(root, key)
    assert manifest.verify(root) == []
