"""A run or a student checked by whoever gets it: files, signatures, figures, overlap, ancestors.

Nothing is asked and no model is loaded. The first thing that differs is a PotstillError that names
the file; what could not be checked is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from potstill.errors import PotstillError
from potstill.lineage.document import MANIFEST_FILE, STUDENT, LineageFacts, Manifest
from potstill.lineage.files import differences, shown
from potstill.lineage.keys import PublicKey
from potstill.lineage.listing import ListedBy, Listing, listing_of
from potstill.lineage.signatures import read_bundle, require_signed
from potstill.lineage.signing import SigstoreIdentity, require_signed_by
from potstill.text.counts import many
from potstill.work.check_result import CheckResult

_REMEDY = "get the directory as it was from whoever made it"


@dataclass(frozen=True)
class ExpectedSigner:
    """Who has to have signed, by what a verifier has from them: keys, or an identity.

    With neither a signature says no more than that its key's owner, whoever that is, signed.
    """

    keys: tuple[PublicKey, ...] = ()
    identity: SigstoreIdentity | None = None

    @property
    def anybody(self) -> bool:
        """Whether nobody is expected."""
        return not self.keys and self.identity is None


ANYBODY = ExpectedSigner()


def check_directory(root: Path, expected: ExpectedSigner = ANYBODY) -> Iterator[CheckResult]:
    """Yield what was checked of a run's or a student's directory, one by one.

    Raises PotstillError, naming the file, at the first thing that differs.
    """
    found = listing_of(root)
    yield from check_signatures(root, found, expected)
    yield check_files(root, found)
    if found.manifest.kind != "run":
        return
    if (root / STUDENT / MANIFEST_FILE).is_file():
        yield check_student_within(root, found)
    else:
        detail = f"{STUDENT}/{MANIFEST_FILE} is not there, which older versions did not write"
        yield CheckResult("student", "not checked", detail)


def check_signatures(root: Path, found: Listing, expected: ExpectedSigner) -> Iterator[CheckResult]:
    """Yield who has signed a directory's manifest, and what was added to it.

    An unsigned addition to a signed manifest is no addition.
    """
    signed = (root / found.documents[0].signature).is_file()
    if not signed and expected.anybody:
        yield CheckResult(
            "signature", "not checked", "nobody has signed it: whoever had it may have changed it"
        )
        return
    for one in found.documents:
        path = root / one.signature
        if path.is_symlink() or not path.is_file():
            raise PotstillError(
                f"{one.signature} is missing: nobody has signed {one.name}; {_REMEDY}"
            )
        yield check_signature(one, path, expected)


def check_signature(one: ListedBy, signature: Path, expected: ExpectedSigner) -> CheckResult:
    """Return who has signed a manifest. Raises PotstillError where that is not whom one expects."""
    bundle = read_bundle(signature.read_bytes(), signature.name)
    what = f"signature of {one.name}"
    if expected.identity is not None:
        if bundle.fingerprint is not None:
            raise PotstillError(
                f"{signature.name} is by a key ({bundle.fingerprint[:64]}), not by an identity; "
                "give --key in place of --identity"
            )
        require_signed_by(signature.with_name(one.name), signature, expected.identity)
        who = expected.identity
        return CheckResult(what, "holds", f"{who.identity} has signed it, as {who.issuer} says")
    if expected.keys:
        key = next(
            (key for key in expected.keys if key.fingerprint == bundle.fingerprint),
            expected.keys[0],
        )
        require_signed(bundle, key, one.content)
        return CheckResult(what, "holds", f"the key {key.fingerprint} has signed it")
    return _by_its_own_word(one, signature, what)


def _by_its_own_word(one: ListedBy, signature: Path, what: str) -> CheckResult:
    """Return that a signature holds under the key that the manifest itself names."""
    bundle, signer = read_bundle(signature.read_bytes(), signature.name), one.manifest.signer
    if bundle.fingerprint is None:
        detail = "by an identity (Sigstore); give --identity and --issuer to check it"
        return CheckResult(what, "not checked", detail)
    if signer is None or signer.public_key is None:
        raise PotstillError(f"{one.name} does not name the key that signed it; {_REMEDY}")
    require_signed(bundle, PublicKey(signer.public_key), one.content)
    return CheckResult(
        what,
        "not checked",
        f"integrity only, signer unknown: the key {bundle.fingerprint} has signed it; give --key "
        "with the public key of whoever you expect to have signed",
    )


def check_files(root: Path, found: Listing) -> CheckResult:
    """Return that every file is as it is listed. Raises PotstillError for the first that is not."""
    for fault in differences(root, found.files, found.left_out):
        raise PotstillError(f"{fault}; {_REMEDY}")
    size = sum(entry.bytes for entry in found.files.values())
    files = many(len(found.files), "file")
    return CheckResult("files", "holds", f"{files}, {size:,} bytes, as they are listed")


def check_student_within(root: Path, found: Listing) -> CheckResult:
    """Return that a run's student lists what the run lists of it."""
    inner = listing_of(root / STUDENT)
    own = {
        name.removeprefix(f"{STUDENT}/"): entry
        for name, entry in found.files.items()
        if name.startswith(f"{STUDENT}/")
    }
    for name in sorted(inner.files.keys() | (own.keys() - inner.left_out)):
        if inner.files.get(name) != own.get(name):
            raise PotstillError(
                f"{STUDENT}/{shown(name)} is not what {STUDENT}/{MANIFEST_FILE} lists; {_REMEDY}"
            )
    _same_lineage(found.manifest, inner.manifest)
    detail = f"{STUDENT}/{MANIFEST_FILE} lists the same files, teacher, terms, data and figures"
    return CheckResult("student", "holds", detail)


# What a run and its student say alike.
_SHARED = (
    "run",
    "recipe",
    *(name for name in LineageFacts.model_fields if name != "signer"),
)


def _same_lineage(run: Manifest, student: Manifest) -> None:
    for name in _SHARED:
        if getattr(run, name) != getattr(student, name):
            raise PotstillError(
                f"{STUDENT}/{MANIFEST_FILE} says another {name} than {MANIFEST_FILE}; {_REMEDY}"
            )
