"""What a directory is listed as: its manifest, and what was added since that was signed.

A signed manifest stays as it is. A file that is made later is listed in `manifest.1.json`, which
holds the digest of `manifest.json`; the next in `manifest.2.json`, which holds that of the first;
each has a signature beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from potstill.errors import PotstillError
from potstill.lineage.document import (
    MANIFEST_FILE,
    Manifest,
    SignerFacts,
    bytes_of,
    manifest_digest,
    manifest_in,
)
from potstill.lineage.files import FileEntry, shown

_SIG = ".sig"


@dataclass(frozen=True)
class ListedBy:
    """A manifest as it lies in a directory: its name, its bytes and what they say."""

    name: str
    content: bytes
    manifest: Manifest

    @property
    def signature(self) -> str:
        """The name of its signature's file."""
        return f"{self.name}{_SIG}"


@dataclass(frozen=True)
class Listing:
    """A directory's manifest, what was added to it in order, and the files of all of them."""

    documents: tuple[ListedBy, ...]
    files: dict[str, FileEntry]

    @property
    def manifest(self) -> Manifest:
        """The directory's own manifest."""
        return self.documents[0].manifest

    @property
    def left_out(self) -> frozenset[str]:
        """The names of the files that no manifest lists: manifests and their signatures."""
        return frozenset(name for one in self.documents for name in (one.name, one.signature))


def listing_of(root: Path) -> Listing:
    """Return what a directory is listed as.

    Raises PotstillError, naming the file, where a manifest is missing or cannot be read, or is no
    addition to the one before it.
    """
    documents = [_document(root, MANIFEST_FILE)]
    files = dict(documents[0].manifest.files)
    while (root / _addition(len(documents))).is_file():
        one = _document(root, _addition(len(documents)))
        before = documents[-1]
        if one.manifest.added_to != manifest_digest(before.content):
            raise PotstillError(
                f"{one.name} is no addition to {before.name} as it is now: one of them has "
                "changed; get the directory as it was from whoever made it"
            )
        again = documents[0].manifest.files.keys() & one.manifest.files.keys()
        if again:
            raise PotstillError(
                f"{one.name} lists {shown(min(again))} once more, which {MANIFEST_FILE} lists; get "
                "the directory as it was from whoever made it"
            )
        files |= one.manifest.files
        documents.append(one)
    return Listing(tuple(documents), files)


def next_addition(
    listing: Listing, files: dict[str, FileEntry], signer: SignerFacts | None
) -> tuple[str, Manifest]:
    """Return the name and the content of a manifest that adds files to what is listed."""
    first, last = listing.manifest, listing.documents[-1]
    return _addition(len(listing.documents)), Manifest(
        kind="addition",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        run=first.run,
        recipe=first.recipe,
        added_to=manifest_digest(last.content),
        signer=signer,
        files=files,
    )


def _addition(number: int) -> str:
    return f"manifest.{number}.json"


def _document(root: Path, name: str) -> ListedBy:
    content = bytes_of(root / name)
    return ListedBy(name, content, manifest_in(name, content))
