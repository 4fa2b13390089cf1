"""A run and its student, verified by whoever gets them: what is changed anywhere is named."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import ModelCard

import pipeline_runs
from potstill.errors import PotstillError
from potstill.lineage import remaking
from potstill.lineage.document import MANIFEST_FILE, SIGNATURE_FILE, Manifest, read_manifest
from potstill.lineage.files import entries_under
from potstill.lineage.keys import SigningKey, local_key, make_key, read_signing_key
from potstill.lineage.signing import sign_file
from potstill.runs.verified_any import verify_lineage

# Fixed before the first run.
SEED = 20261130
OWN = frozenset((MANIFEST_FILE, SIGNATURE_FILE))
Verify = Callable[[], object]


@pytest.fixture(scope="module")
def made(
    nano_model: Callable[[str], Path], nano_prompts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    values = pipeline_runs.recipe_values(nano_model("llama"), nano_prompts)
    run, _ = pipeline_runs.run(values, tmp_path_factory.mktemp("lineage") / "run")
    return run.root


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "owner.pub"
    path.write_text(local_key().public.pem)
    return path


@pytest.fixture(params=["run", "student"])
def root(request: pytest.FixtureRequest, made: Path, tmp_path: Path) -> Path:
    """A copy of the run, or of its student alone, at another place."""
    source = made if request.param == "run" else made / "student"
    return Path(shutil.copytree(source, tmp_path / "elsewhere" / "copy"))


def files_of(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def refused(root: Path, public: Path) -> str:
    with pytest.raises(PotstillError) as found:
        verify_lineage(root, key=public)
    return str(found.value)


def test_unedited_it_holds_elsewhere_and_for_another_user(
    root: Path, public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "another"))
    found = verify_lineage(root, key=public)
    held = {check.what: check.detail for check in found.checks if check.state == "holds"}
    assert "12 held-out prompts" in held["figures"]
    assert local_key().public.fingerprint not in held["signature of manifest.json"]
    if found.kind == "run":
        assert not found.not_checked
        assert {"files", "student", "evaluation.json", "data", "overlap"} <= held.keys()
    else:
        assert [check.what for check in found.not_checked] == ["data and overlap"]
    # Without a key it says no more than that nothing was changed since somebody signed.
    unknown = verify_lineage(root).not_checked[0]
    assert "integrity only, signer unknown" in unknown.detail


def test_no_byte_can_be_another(root: Path, public: Path) -> None:
    draw, names, missed = random.Random(SEED), files_of(root), []
    names = [name for name in names if (root / name).stat().st_size]
    # The manifest's and the signature's too, whatever is drawn.
    chosen = [MANIFEST_FILE, SIGNATURE_FILE] * 20
    chosen += [draw.choice(names) for _ in range(200 - len(chosen))]
    for name in chosen:
        path = root / name
        content = path.read_bytes()
        edited, place = bytearray(content), draw.randrange(len(content))
        edited[place] ^= draw.randrange(1, 256)
        path.write_bytes(bytes(edited))
        try:
            verify_lineage(root, key=public)
            missed.append((name, place))
        except PotstillError as error:
            if name not in str(error):
                missed.append((name, place))
        path.write_bytes(content)
    assert len(chosen) == 200 and missed == []
    verify_lineage(root, key=public)


def test_nothing_can_be_added_removed_renamed_or_linked(
    root: Path, public: Path, tmp_path: Path
) -> None:
    draw, names = random.Random(SEED + 1), files_of(root)
    folders = sorted({path.parent for path in root.rglob("*")})
    for number in range(20):
        added = draw.choice(folders) / draw.choice(
            (f"more-{number}", f".hidden-{number}", f"manifest.{number + 2}.json")
        )
        added.write_bytes(draw.randbytes(number))
        assert added.relative_to(root).as_posix() in refused(root, public)
        added.unlink()
    for number in range(20):
        name = draw.choice(names)
        path, aside = root / name, tmp_path / "aside"
        path.rename(aside)
        assert name in refused(root, public)
        # Also where a link to the very same content stands in its place.
        path.symlink_to(aside)
        assert name in refused(root, public)
        path.unlink()
        other = path.with_name(f"{path.name}-{number}")
        aside.rename(other)
        assert name in refused(root, public)
        other.rename(path)
    verify_lineage(root, key=public)


def test_swapped_rows_are_named(root: Path, public: Path) -> None:
    student = root / "student" if (root / "student").is_dir() else root
    path = student / "items.json"
    items = json.loads(path.read_text())
    kl = items["sampled"]["students"]["student"]["kl"]
    kl[0], kl[1] = kl[1], kl[0]
    content = path.read_bytes()
    path.write_text(json.dumps(items, indent=2) + "\n")
    assert "items.json" in refused(root, public)
    path.write_bytes(content)
    if student != root:
        metrics = root / "metrics.jsonl"
        lines = metrics.read_bytes().splitlines(keepends=True)
        metrics.write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))
        assert "metrics.jsonl" in refused(root, public)


@pytest.fixture
def forger(tmp_path: Path) -> SigningKey:
    make_key(tmp_path / "forger")
    return read_signing_key(tmp_path / "forger")


def forged(root: Path, key: SigningKey, **facts: Any) -> None:
    """Have whoever holds `key` list a directory as it lies now, with other facts, and sign that."""
    signer = {"signer": {"public_key": key.public.pem}}
    inner = [root / "student"] if (root / "student" / MANIFEST_FILE).is_file() else []
    for place in (*inner, root):
        values = read_manifest(place / MANIFEST_FILE).model_dump(by_alias=True)
        made = Manifest.model_validate({**values, **facts, **signer})
        files = {"files": entries_under(place, OWN)}
        (place / MANIFEST_FILE).write_bytes(made.model_copy(update=files).as_bytes())
        sign_file(place / MANIFEST_FILE, key)


def test_who_has_no_key_may_sign_anew_and_a_key_tells(
    root: Path, public: Path, forger: SigningKey
) -> None:
    student = root / "student" if (root / "student").is_dir() else root
    (student / "README.md").write_text("A better model.\n")
    forged(root, forger)
    found = verify_lineage(root)
    assert forger.public.fingerprint in found.not_checked[0].detail
    assert "manifest.json.sig is by another key" in refused(root, public)
    # Taking the signature away helps nobody.
    (root / SIGNATURE_FILE).unlink()
    assert "manifest.json.sig is missing" in refused(root, public)


def test_figures_that_do_not_follow_are_named_even_without_a_key(
    root: Path, forger: SigningKey
) -> None:
    figures = read_manifest(root / MANIFEST_FILE).figures
    assert figures is not None
    better = json.loads(json.dumps(figures))
    better["models"]["student"]["kl_per_token"]["value"] *= 0.999
    forged(root, forger, figures=better)
    with pytest.raises(PotstillError, match=r"its models\.student\.kl_per_token\.value"):
        verify_lineage(root)


def test_another_numpy_may_draw_other_intervals_and_no_other_figures(
    root: Path, forger: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remaking, "version", lambda _: "9.9")
    assert verify_lineage(root).checks
    figures = read_manifest(root / MANIFEST_FILE).figures
    assert figures is not None
    other = json.loads(json.dumps(figures))
    other["models"]["student"]["kl_per_token"]["ci95"][1] *= 1.1
    inner = root / "student"
    if inner.is_dir():
        root = inner
    forged(root, forger, figures=other)
    assert "intervals" in [check.what for check in verify_lineage(root).not_checked]
    other["models"]["student"]["kl_per_token"]["value"] *= 1.1
    forged(root, forger, figures=other)
    with pytest.raises(PotstillError, match=r"kl_per_token\.value"):
        verify_lineage(root)


Edit = Callable[[dict[str, Any]], object]


def of_student(items: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = items["sampled"]["students"]["student"]
    return found


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda items: items.update(resamples=0), "asks for 0 resamples"),
        (lambda items: items.update(seed=-1), "by the seed -1"),
        (lambda items: of_student(items)["kl"].pop(), "no figures follow"),
        (lambda items: of_student(items).update(tokens=[0.0] * 12), "no figures follow"),
        (lambda items: items["sampled"].update(students={}), "no figures follow"),
        (lambda items: items["sampled"].update(bytes=[]), "no figures follow"),
    ],
)
def test_items_that_come_to_nothing_are_one_sentence(
    made: Path, tmp_path: Path, forger: SigningKey, edit: Edit, sentence: str
) -> None:
    root = Path(shutil.copytree(made / "student", tmp_path / "copy"))
    path = root / "items.json"
    items = json.loads(path.read_text())
    edit(items)
    path.write_text(json.dumps(items))
    forged(root, forger)
    with pytest.raises(PotstillError, match=sentence):
        verify_lineage(root)


def test_who_asks_for_endless_resamples_keeps_nobody_busy(
    made: Path, tmp_path: Path, forger: SigningKey
) -> None:
    root = Path(shutil.copytree(made / "student", tmp_path / "copy"))
    path = root / "items.json"
    items = json.loads(path.read_text())
    path.write_text(json.dumps(items | {"resamples": 10**12}))
    forged(root, forger)
    assert "intervals" in [check.what for check in verify_lineage(root).not_checked]
    of_student(items)["kl"][0] *= 2
    path.write_text(json.dumps(items | {"resamples": 10**12}))
    forged(root, forger)
    with pytest.raises(PotstillError, match=r"does not come to the figures .*\.value"):
        verify_lineage(root)


def test_a_run_without_its_student_s_manifest_says_so(
    made: Path, tmp_path: Path, forger: SigningKey
) -> None:
    root = Path(shutil.copytree(made, tmp_path / "copy"))
    for name in OWN:
        (root / "student" / name).unlink()
    forged(root, forger)
    assert "student" in [check.what for check in verify_lineage(root).not_checked]


def rows_of(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


def rewritten(path: Path, rows: list[dict[str, Any]]) -> None:
    schema = pq.read_schema(path)
    pq.write_table(pa.Table.from_pylist(rows, schema), path)


def test_held_out_prompts_that_training_holds_are_found(
    made: Path, tmp_path: Path, forger: SigningKey
) -> None:
    root = Path(shutil.copytree(made, tmp_path / "copy"))
    paths = sorted((root / "exchanges").glob("part-*.parquet"))
    stored = [(path, rows_of(path)) for path in paths]
    held_out = next(row for _, rows in stored for row in rows if row["split"] == "held_out")
    path, rows = next((p, rows) for p, rows in stored if any(r["split"] == "train" for r in rows))
    learnt = next(row for row in rows if row["split"] == "train")
    learnt["messages"] = held_out["messages"]
    rewritten(path, rows)
    forged(root, forger)
    with pytest.raises(PotstillError, match=r"the overlap .* is another .* \(its exact\)"):
        verify_lineage(root)
    learnt["prompt_id"] = held_out["prompt_id"]
    rewritten(path, rows)
    forged(root, forger)
    with pytest.raises(PotstillError, match=r"answers in exchanges/ are not those"):
        verify_lineage(root)


def test_a_reader_of_the_card_alone_learns_where_it_is_from(made: Path) -> None:
    card = ModelCard.load(made / "student" / "README.md")
    manifest = read_manifest(made / MANIFEST_FILE)
    assert "distilled-from:llama" in card.data.tags and "Distilled from: llama" in card.text
    assert manifest.data is not None and manifest.data.exchanges in card.text
    results = {one.metric_type: one for one in card.data.eval_results}
    assert manifest.figures is not None
    stated = manifest.figures["models"]["student"]["kl_per_token"]
    kl = results["kl_per_token"]
    assert (kl.metric_value, kl.metric_args["ci95"]) == (stated["value"], stated["ci95"])
    assert "no legal advice" in card.text and "unknown" in card.text


@pytest.fixture(scope="module")
def grandchild(made: Path, nano_prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The student of a copy of that run's student."""
    place = tmp_path_factory.mktemp("grandchild")
    teacher = shutil.copytree(made / "student", place / "first")
    values = pipeline_runs.recipe_values(teacher, nano_prompts, name="second")
    run, _ = pipeline_runs.run(values, place / "run")
    shutil.copytree(run.student, place / "second")
    return place


def test_a_student_s_student_is_verified_up_its_chain(
    grandchild: Path, public: Path, tmp_path: Path
) -> None:
    second = Path(shutil.copytree(grandchild / "second", tmp_path / "copy"))
    found = {check.what: check for check in verify_lineage(second, key=public).checks}
    ancestor = found["teacher of the student"]
    assert ancestor.state == "holds" and local_key().public.fingerprint in ancestor.detail
    # With its own directory its files and figures are checked, too.
    more = verify_lineage(second, key=public, ancestors=grandchild / "first").checks
    names = [check.what for check in more]
    assert "files of teacher of the student" in names
    assert "figures of teacher of the student" in names
    with pytest.raises(PotstillError, match="is no ancestor of this student"):
        verify_lineage(second, key=public, ancestors=second)
    harmed = Path(shutil.copytree(grandchild / "first", tmp_path / "harmed"))
    (harmed / "config.json").write_text("{}")
    with pytest.raises(PotstillError, match=r"config\.json has changed"):
        verify_lineage(second, key=public, ancestors=harmed)


def test_an_ancestor_s_manifest_that_is_missing_or_another_is_said(
    grandchild: Path, public: Path, forger: SigningKey, tmp_path: Path
) -> None:
    second = Path(shutil.copytree(grandchild / "second", tmp_path / "copy"))
    (kept,) = (second / "ancestors").iterdir()
    content = (kept / MANIFEST_FILE).read_bytes()
    # Whoever made the student leaves it out, or writes another, and signs that.
    (kept / MANIFEST_FILE).write_bytes(content.replace(b'"run": "nano"', b'"run": "mano"'))
    forged(second, forger)
    with pytest.raises(PotstillError, match=r"manifest\.json has changed: it is not the one that"):
        verify_lineage(second)
    shutil.rmtree(second / "ancestors")
    forged(second, forger)
    left = {check.what: check.detail for check in verify_lineage(second).not_checked}
    assert "is not at hand; give its directory with --ancestor" in left["teacher of the student"]
    assert verify_lineage(second, ancestors=grandchild / "first").checks
    teacher = read_manifest(second / MANIFEST_FILE).teacher
    assert teacher is not None
    other = teacher.model_copy(update={"identity": "blake3:" + "0" * 32})
    forged(second, forger, teacher=other.model_dump())
    with pytest.raises(PotstillError, match="is about another model"):
        verify_lineage(second, ancestors=grandchild / "first")


def test_the_run_s_pages_and_bills_say_it_too(made: Path) -> None:
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    manifest = read_manifest(made / MANIFEST_FILE)
    assert manifest.data is not None and manifest.student is not None
    for name, of in (("1.6", schema.SchemaVersion.V1_6), ("1.7", schema.SchemaVersion.V1_7)):
        text = (made / "student" / f"bom-{name}.cdx.json").read_text()
        assert validation.JsonStrictValidator(of).validate_str(text) is None
        assert manifest.data.splits["train"].exchanges in text
        listed = {one["name"]: one for one in json.loads(text)["components"]}
        (weights,) = listed["model.safetensors"]["hashes"]
        assert weights["content"] == manifest.files["student/model.safetensors"].blake3
    assert "no legal advice" in (made / "report.html").read_text()
    notice = (made / "notice.html").read_text()
    assert "It learnt the answers of llama" in notice and str(manifest.student.identity) in notice


def texts_of(root: Path) -> Iterator[str]:
    for name in files_of(root):
        if name != "model.safetensors":
            yield (root / name).read_bytes().decode("utf-8", "replace")


def test_no_prompt_and_no_path_is_in_a_copied_student(made: Path) -> None:
    prompts = json.loads((made / "state" / "prompts.json").read_text())["prompts"]
    asked = [message["content"] for prompt in prompts for message in prompt["messages"]]
    assert len(asked) > 50
    student = "\n".join(texts_of(made / "student"))
    assert not [text for text in asked if text in student]
    assert str(made) not in student and str(made.parent) not in student
    assert not [p for p in prompts if p["prompt_id"] in student]
