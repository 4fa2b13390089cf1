"""Manifests written: every file of a finished run or student, with where it all came from.

It is written last. A file that is missing, changed or extra afterwards fails `verify`.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from potstill.canonical import canonical_text, parsed
from potstill.durable import write_bytes
from potstill.errors import PotstillError
from potstill.lineage.document import (
    MANIFEST_FILE,
    SCHEMA,
    SIGNATURE_FILE,
    STUDENT,
    LineageFacts,
    Manifest,
)
from potstill.lineage.files import differences, entries_under, entry_of, entry_of_bytes
from potstill.lineage.listing import listing_of, next_addition
from potstill.lineage.packages import package_versions
from potstill.lineage.signing import Signer, facts_of, sign_file, signature_of
from potstill.machine import hardware
from potstill.recipe import Recipe
from potstill.work.run_recipe import recipe_digest
from potstill.work.rundir import RunDir
from potstill.work.workdir import manifests_in

__all__ = [
    "MANIFEST_FILE",
    "SCHEMA",
    "SIGNATURE_FILE",
    "STUDENT",
    "add",
    "sign",
    "verify",
    "write",
    "write_student",
]

_OWN = frozenset((MANIFEST_FILE, SIGNATURE_FILE))
# The user:password@ part of an address.
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


def write(run: RunDir, facts: LineageFacts | None = None, signer: Signer | None = None) -> Path:
    """Write manifest.json of a run whose other files are all in place; return its path.

    `facts` are what the caller knows of the run; the files, the recipe's digest, the package
    versions and the machine are added. No environment variable is read, and credentials inside
    addresses are removed. With a `signer` it is signed. Raises `PotstillError` for a link in the
    directory, whose target a digest could not vouch for.
    """
    remove_manifest(run.root)
    made = _manifest_of(run.root, "run", run.recipe, facts or LineageFacts(), signer)
    return _written(run.root, made, signer)


def write_student(
    student: Path, recipe: Recipe, facts: LineageFacts, signer: Signer | None = None
) -> Path:
    """Write the manifest that a student carries wherever it is copied; return its path.

    It holds no text of prompts, and names nothing of the run that it lies in. Raises as `write`.
    """
    remove_manifest(student)
    made = _manifest_of(student, "student", recipe, facts, signer)
    return _written(student, made, signer)


def sign(root: Path, signer: Signer) -> None:
    """Sign a finished run, with its student, or a student that lies by itself.

    Whoever signed before is replaced, and what was added since is listed with the rest. Raises
    PotstillError where anything is not as it was listed: a signature would vouch for that. Where
    no signature is to be had, all stays as it was.
    """
    found = listing_of(root)
    for fault in differences(root, found.files, found.left_out):
        raise PotstillError(
            f"{fault}, and a signature would vouch for it; get {root} as it was, or run it again"
        )
    student, made = root / STUDENT, dict[str, bytes]()
    has_student = found.manifest.kind == "run" and (student / MANIFEST_FILE).is_file()
    gone = {*_additions(root), *(_additions(student, f"{STUDENT}/") if has_student else ())}
    if has_student:
        own = listing_of(student).manifest
        inner = _signed_anew(student, own, frozenset(_additions(student)), {}, signer)
        made = {f"{STUDENT}/{name}": content for name, content in inner.items()}
    made |= _signed_anew(root, found.manifest, frozenset(gone), made, signer)
    # From here on no more than the disk can fail.
    for name in gone:
        (root / name).unlink()
    for name, content in made.items():
        write_bytes(root / name, content)


def _signed_anew(
    root: Path,
    own: Manifest,
    gone: frozenset[str],
    changed: dict[str, bytes],
    signer: Signer,
) -> dict[str, bytes]:
    """Return the signature of a directory's manifest and that, made anew, by their names.

    `gone` and `changed` are the files that will not be there, and what others will hold.
    """
    listed = entries_under(root, _OWN | gone)
    listed |= {name: entry_of_bytes(content) for name, content in changed.items()}
    update = {"signer": facts_of(signer), "files": dict(sorted(listed.items()))}
    content = own.model_copy(update=update).as_bytes()
    return {
        SIGNATURE_FILE: signature_of(content, MANIFEST_FILE, signer),
        MANIFEST_FILE: content,
    }


def _additions(root: Path, within: str = "") -> list[str]:
    """Return the names of what was added to a manifest, and of the signatures.

    Raises PotstillError where a folder stands in the place of one.
    """
    found = [path for path in manifests_in(root) if path.name not in _OWN]
    for path in found:
        if path.is_dir():
            raise PotstillError(f"{path} is a directory and no manifest; remove it, and sign again")
    return [within + path.name for path in found]


def add(root: Path, path: Path, signer: Signer | None = None) -> None:
    """List a file that was made from a finished run, so that `verify` does not find it extra.

    A file outside the run, and a run that has no manifest yet, need nothing. A signed manifest
    stays as it is: what is added is listed in a manifest of its own, countersigned by `signer`.
    Raises PotstillError where that cannot be.
    """
    root = Path(root)
    if not path.resolve().is_relative_to(root.resolve()) or not (root / MANIFEST_FILE).is_file():
        return
    refuse_listed(root, path)
    found, name = listing_of(root), path.resolve().relative_to(root.resolve()).as_posix()
    files = {name: entry_of(path)}
    if not is_signed(root):
        own = found.manifest
        together = dict(sorted({**own.files, **files}.items()))
        write_bytes(root / MANIFEST_FILE, own.model_copy(update={"files": together}).as_bytes())
        return
    if signer is None:
        raise PotstillError(
            f"the manifest of {root} is signed, and what is added to it has to be signed as well; "
            "give a key"
        )
    addition, manifest = next_addition(found, files, facts_of(signer))
    write_bytes(root / addition, manifest.as_bytes())
    sign_file(root / addition, signer)


def is_signed(root: Path) -> bool:
    """Tell whether the manifest of a directory has a signature."""
    return (root / SIGNATURE_FILE).is_file()


def refuse_listed(root: Path, path: Path) -> None:
    """Raise PotstillError where a file would take the place of one that a signature vouches for."""
    if not is_signed(root) or not path.resolve().is_relative_to(root.resolve()):
        return
    name = path.resolve().relative_to(root.resolve()).as_posix()
    if name in listing_of(root).manifest.files:
        raise PotstillError(
            f"the manifest of {root} is signed and lists {name}, which would no longer be as it "
            "was; write the file elsewhere with --out"
        )


def remove_manifest(root: Path) -> None:
    """Remove the manifest of a directory, what was added to it, and all signatures."""
    for path in manifests_in(root):
        path.unlink()


def verify(root: Path) -> list[str]:
    """Return what is wrong with a directory's files, one sentence a problem; empty if nothing is.

    Whether they are those that somebody signed, `verifying` tells.
    """
    try:
        found = listing_of(Path(root))
    except PotstillError as error:
        return [str(error)]
    return list(differences(Path(root), found.files, found.left_out))


def _manifest_of(
    root: Path,
    kind: Literal["run", "student"],
    recipe: Recipe,
    facts: LineageFacts,
    signer: Signer | None,
) -> Manifest:
    known = _without_credentials(facts.model_dump(exclude={"signer"}))
    return Manifest(
        **known,
        kind=kind,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        run=recipe.name,
        recipe=recipe_digest(recipe),
        signer=facts_of(signer),
        packages=package_versions(recipe),
        hardware=_as_json(asdict(hardware())),
        files={},
    )


def _written(root: Path, made: Manifest, signer: Signer | None) -> Path:
    """Write a manifest that lists the files as they lie now, and its signature."""
    path = root / MANIFEST_FILE
    content = made.model_copy(update={"files": entries_under(root, _OWN)}).as_bytes()
    if signer is not None:
        # Before the manifest, which tells that a run has finished.
        write_bytes(root / SIGNATURE_FILE, signature_of(content, MANIFEST_FILE, signer))
    write_bytes(path, content)
    return path


def _as_json(value: Any) -> Any:
    """Return a value as it comes back from JSON: tuples are lists."""
    return parsed(canonical_text(value))


def _without_credentials(value: Any) -> Any:
    if isinstance(value, str):
        return _CREDENTIALS.sub("", value)
    if isinstance(value, dict):
        return {key: _without_credentials(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_credentials(inner) for inner in value]
    return value
