"""`verify`, `sign` and `notice`: told apart by what lies there, and every refusal is a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import bundles
import pytest
from lineage_parts import lineage
from typer.testing import CliRunner, Result

from potstill.cli.app import app
from potstill.lineage import manifest
from potstill.lineage.keys import SigningKey, make_key, read_signing_key
from potstill.recipe import Recipe
from potstill.work.rundir import RunDir

RECIPE = Recipe.model_validate({"name": "mine", "teacher": {"model": "big/teacher"}})
NOT_CHECKED = "NOT CHECKED, signature of manifest.json: integrity only, signer unknown: the key "


def said(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def refused(*words: str | Path) -> str:
    result = said(*words)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SigningKey:
    """One's own key, and the folder that its file would be made in."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    make_key(tmp_path / "data" / "potstill" / "signing.key")
    return read_signing_key(tmp_path / "data" / "potstill" / "signing.key")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run that nobody has signed; it has no figures, which are not looked at here."""
    root = tmp_path / "runs" / "mine"
    facts = lineage(figures=None, overlap=None)
    with RunDir.open(root, RECIPE) as run:
        run.write_text("student/config.json", "{}")
        manifest.write_student(run.student, RECIPE, facts)
        manifest.write(run, facts)
    return root


def test_a_run_is_signed_and_verified_by_its_name(
    root: Path, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parents[1])
    before = said("verify", "mine")
    assert before.exit_code == 0, before.output
    assert "nobody has signed it" in before.stdout
    assert before.stdout.endswith("what was checked of this run holds.\n")
    assert "is missing: nobody has signed manifest.json" in refused(
        "verify", "mine", "--key", f"{key.path}.pub"
    )
    signed = said("sign", "mine")
    assert key.public.fingerprint in signed.stdout and f"{key.path}.pub" in signed.stdout
    for place in ("mine", "runs/mine/student"):
        assert NOT_CHECKED + key.public.fingerprint in said("verify", place).stdout
        held = said("verify", place, "--key", f"{key.path}.pub")
        assert held.exit_code == 0 and "NOT CHECKED, signature" not in held.stdout
    told = json.loads(said("verify", "mine/student", "--json").stdout)
    assert told["kind"] == "student"
    assert {"what": "files", "state": "holds"}.items() <= told["checks"][1].items()
    (root / "student" / "config.json").write_text("{ }")
    assert refused("verify", "mine", "--key", f"{key.path}.pub") == (
        "error: student/config.json has changed; get the directory as it was from whoever made it\n"
    )
    assert "student/config.json has changed, and a signature would" in refused("sign", "mine")


def test_an_addition_by_another_key_needs_that_key(root: Path, key: SigningKey) -> None:
    manifest.sign(root, key)
    make_key(root.parent / "other")
    other = read_signing_key(root.parent / "other")
    (root / "student.gguf").write_text("GGUF")
    manifest.add(root, root / "student.gguf", other)
    own, theirs = f"{key.path}.pub", f"{other.path}.pub"
    assert "manifest.1.json.sig is by another key" in refused("verify", root, "--key", own)
    assert said("verify", root, "--key", own, "--key", theirs).exit_code == 0
    (root / "manifest.1.json.sig").unlink()
    assert "manifest.1.json.sig is missing" in refused("verify", root)


def test_what_a_bundle_s_owner_discloses_is_for_the_traces_verb(tmp_path: Path) -> None:
    bundle = bundles.finished(tmp_path / "trace", marked=0.9).bundle
    held = said("verify", bundle)
    assert held.exit_code == 0 and "arithmetic: " in held.stdout
    assert json.loads(said("verify", bundle, "--json").stdout)["kind"] == "bundle"
    assert "is for potstill trace verify" in refused("verify", bundle, "--key", "x")
    told = said("notice", bundle.parent).stdout
    assert told == said("trace", "notice", bundle).stdout and "potstill trace verify" in told


def test_a_notice_is_of_a_run_and_of_its_student(root: Path) -> None:
    for place in (root, root / "student"):
        told = said("notice", place)
        assert told.exit_code == 0 and "It learnt the answers of big/teacher" in told.stdout
    parts = json.loads(said("notice", root, "--json").stdout)["parts"]
    assert parts[0]["heading"] == "What was made of what"


def test_what_cannot_be_verified_is_one_sentence(
    root: Path, key: SigningKey, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert "is no run, no student and no bundle" in refused("verify", tmp_path / "empty")
    assert "is no run, no student and no bundle" in refused("verify", tmp_path / "absent")
    assert "does not exist" in refused("verify", root, "--key", tmp_path / "absent.pub")
    assert "holds a private key" in refused("verify", root, "--key", key.path)
    assert "give both --identity and --issuer" in refused("verify", root, "--identity", "me")
    both = ("--identity", "me", "--issuer", "x")
    assert "give one of them" in refused("verify", root, "--key", f"{key.path}.pub", *both)
    assert "give --key, or both" in refused("sign", root, "--key", key.path, *both)
    assert "is missing" in refused("sign", tmp_path / "empty")
    assert "lies in a run, whose manifest" in refused("sign", root / "student")
    assert "holds no private key" in refused("sign", root, "--key", f"{key.path}.pub")
    manifest.sign(root, key)
    assert "by a key" in refused("verify", root, *both)
    assert "manifest.json is missing" in refused("verify", root, "--ancestor", tmp_path / "empty")
    path = root / "manifest.json"
    path.write_text(path.read_text().replace("manifest/2", "manifest/7"))
    assert "verify with the version that wrote it" in refused("verify", root)
    path.unlink()
    assert "the run has not finished" in refused("verify", root)
