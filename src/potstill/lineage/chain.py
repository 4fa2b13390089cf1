"""Up a lineage: the manifests of the models that a student was made of, as far as at hand.

A student whose teacher or base carried a manifest keeps copies of it and of those that that one
carried, in `ancestors/DIGEST/`, each named by the digest that the student's manifest states. So a
copied student tells where all of it comes from, and whoever has an ancestor's own directory can
check that one too.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from potstill.durable import write_bytes
from potstill.errors import PotstillError
from potstill.lineage.document import (
    MANIFEST_FILE,
    SIGNATURE_FILE,
    Manifest,
    ModelFacts,
    bytes_of,
    manifest_digest,
    manifest_in,
)
from potstill.lineage.files import shown
from potstill.lineage.listing import ListedBy, listing_of
from potstill.lineage.remaking import check_figures
from potstill.lineage.signatures import read_bundle
from potstill.lineage.verifying import ExpectedSigner, check_files, check_signature
from potstill.work.check_result import CheckResult

ANCESTORS = "ancestors"
_DIGITS = 32  # of a digest, in a folder's name
_REMEDY = "get the directory as it was from whoever made it"


def manifest_of_model(directory: Path | None, identity: str | None) -> bytes | None:
    """Return the manifest that a model carries beside its weights; None where it carries none.

    One that is about other weights says nothing of this model, and neither does one that cannot be
    read.
    """
    if directory is None or not (directory / MANIFEST_FILE).is_file():
        return None
    content = (directory / MANIFEST_FILE).read_bytes()
    try:
        found = manifest_in(MANIFEST_FILE, content)
    except PotstillError:
        return None
    made = None if found.student is None else found.student.identity
    return content if found.kind == "student" and made == identity else None


def keep_ancestors(student: Path, models: Sequence[Path]) -> None:
    """Copy the manifests of models, and of all that they carry, into a student's directory.

    What was kept there before goes.
    """
    shutil.rmtree(student / ANCESTORS, ignore_errors=True)
    for model in models:
        _keep(student, model)
        carried = model / ANCESTORS
        for folder in sorted(carried.iterdir()) if carried.is_dir() else ():
            if (folder / MANIFEST_FILE).is_file():
                _keep(student, folder)


def _keep(student: Path, model: Path) -> None:
    content = (model / MANIFEST_FILE).read_bytes()
    folder = student / ANCESTORS / _folder(manifest_digest(content))
    write_bytes(folder / MANIFEST_FILE, content)
    if (model / SIGNATURE_FILE).is_file():
        write_bytes(folder / SIGNATURE_FILE, (model / SIGNATURE_FILE).read_bytes())


def check_ancestors(
    student: Path, manifest: Manifest, expected: ExpectedSigner, at_hand: Sequence[Path] = ()
) -> Iterator[CheckResult]:
    """Yield, up the lineage, that each manifest is the one that is named, and about that model.

    `at_hand` are ancestors' own directories, whose files are checked as well. Raises PotstillError
    where a manifest is another than the one that is named, and where a directory is nobody's.
    """
    own = {manifest_digest(bytes_of(path / MANIFEST_FILE)): path for path in at_hand}
    waiting, met = [("the student", manifest)], set[str]()
    while waiting:
        whose, of = waiting.pop(0)
        for role, model in (("teacher", of.teacher), ("base", of.base)):
            if model is None or model.manifest is None or model.manifest in met:
                continue
            met.add(model.manifest)
            what = f"{role} of {whose}"
            folder = own.get(model.manifest, student / ANCESTORS / _folder(model.manifest))
            if not (folder / MANIFEST_FILE).is_file():
                yield CheckResult(what, "not checked", _not_at_hand(model.manifest))
                continue
            found = _named(folder, model)
            yield _signed(folder, found, what, expected)
            if model.manifest in own:
                yield from (replace(one, what=f"{one.what} of {what}") for one in _files(folder))
            waiting.append((model.model or what, found.manifest))
    strange = next((path for digest, path in own.items() if digest not in met), None)
    if strange is not None:
        raise PotstillError(
            f"{strange} is no ancestor of this student: no manifest of its lineage names it; leave "
            "it out, or give the directory that the student was made of"
        )


def _named(folder: Path, model: ModelFacts) -> ListedBy:
    """Return an ancestor's manifest, which has to be the one that is named, of that model."""
    content = bytes_of(folder / MANIFEST_FILE)
    place = f"{folder.parent.name}/{folder.name}/{MANIFEST_FILE}"
    if manifest_digest(content) != model.manifest:
        raise PotstillError(f"{place} has changed: it is not the one that is named; {_REMEDY}")
    manifest = manifest_in(place, content)
    if manifest.student is None or manifest.student.identity != model.identity:
        raise PotstillError(
            f"{place} is about another model ({shown(manifest.run)}) than the one that was learnt "
            f"from; {_REMEDY}"
        )
    return ListedBy(MANIFEST_FILE, content, manifest)


def _signed(folder: Path, found: ListedBy, what: str, expected: ExpectedSigner) -> CheckResult:
    """Return who has signed an ancestor's manifest: by one of the keys that are given, or not."""
    detail = f"manifest of {shown(found.manifest.run)}, as it is named and of that model"
    signature = folder / found.signature
    if not signature.is_file():
        return CheckResult(what, "holds", f"{detail}; nobody has signed it")
    by = read_bundle(signature.read_bytes(), signature.name).fingerprint
    known = tuple(key for key in expected.keys if key.fingerprint == by)
    result = check_signature(found, signature, ExpectedSigner(known))
    return CheckResult(what, "holds", f"{detail}; {result.detail}")


def _files(folder: Path) -> Iterator[CheckResult]:
    found = listing_of(folder)
    yield check_files(folder, found)
    yield from check_figures(folder, found.manifest)


def _not_at_hand(digest: str) -> str:
    return f"its manifest {digest} is not at hand; give its directory with --ancestor"


def _folder(digest: str) -> str:
    return digest.removeprefix("blake3:")[:_DIGITS]
