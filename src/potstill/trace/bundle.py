"""A bundle: the folder of a trace that is handed over, or the same as a .zip file.

    plan.json           what was fixed before anything was asked
    chain.jsonl         the teacher's chain of plans, up to this run
    raw/*.jsonl         what was asked and what came, one chain a test
    tokens/             timestamps (*.tsr) and their authority's certificates (*.pem)
    disclosed/          what the owner discloses beside it: a retired key, marked texts
    verdict.json        what follows
    report.html, notice.md, notice.html

Nothing else of a trace belongs in it: not its settings, not the salts of served text.
"""

from __future__ import annotations

import errno
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from potstill.canonical import digest_of_file, parsed
from potstill.durable import no_file, os_reason, temporary_folder, write_bytes
from potstill.errors import PotstillError
from potstill.trace.chain import DIGEST_BYTES, custody_digest
from potstill.trace.plan import PLAN_FILE, FixedPlan
from potstill.trace.timestamps import Stamp, can_check, check_token, require_certificates
from potstill.trace.verdict import PLAN_SUBJECT, VERDICT_FILE, Verdict

CHAIN_FILE = "chain.jsonl"
TOKENS, DISCLOSED = "tokens", "disclosed"
# What a name in a .zip can be refused for, and no folder for temporary files is to blame.
_NAMES = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL}
# Beyond these a .zip is none of ours.
_MOST_FILES, _MOST_BYTES = 10_000, 4 << 30
_REMEDY = "get the bundle as it was from whoever made it"


@contextmanager
def opened_bundle(path: Path) -> Iterator[Path]:
    """Give the folder of a bundle: of a trace's directory, of the bundle itself, or of a .zip file.

    Raises PotstillError for what is none of these.
    """
    if (found := _folder_of(path)) is not None:
        yield found
        return
    with temporary_folder() as folder:
        yield _unzipped(path, folder)


def _folder_of(path: Path) -> Path | None:
    """Return the folder of a bundle that lies in a folder; None where `path` is a file.

    Raises PotstillError for what is neither, and for a folder without a bundle.
    """
    try:
        if path.is_dir():
            inside = path / "bundle"
            folder = inside if (inside / PLAN_FILE).is_file() else path
            if (folder / PLAN_FILE).is_file():
                return folder
            raise PotstillError(
                f"{path} is no bundle of a trace: it holds no {PLAN_FILE}; give the folder that "
                "potstill trace run made, or its bundle"
            )
        # What is no plain file may never end.
        fault = no_file(path) or (None if path.is_file() else "is no plain file")
    except OSError as error:
        fault = f"cannot be read ({os_reason(error) or 'it does not open'})"
    if fault is not None:
        raise PotstillError(f"{path} {fault}; give a bundle's folder or its .zip file")
    return None


def files_in(bundle: Path) -> list[str]:
    """Return the names of a bundle's files, but for its chain: with slashes, in order."""
    found = []
    for folder, _, names in os.walk(bundle):
        found += [(Path(folder) / name).relative_to(bundle).as_posix() for name in names]
    return sorted(name for name in found if name != CHAIN_FILE)


def digests_in(bundle: Path) -> dict[str, str]:
    """Return the digests of a bundle's files, but for its chain's, by their names.

    Raises PotstillError as `require_plain_files` does.
    """
    require_plain_files(bundle)
    return {name: digest_of_file(bundle / name, DIGEST_BYTES) for name in files_in(bundle)}


def require_plain_files(bundle: Path) -> None:
    """Raise PotstillError for a link or a device in a bundle, which may stand for anything, and
    for a name that does not print.
    """
    folders = [
        (Path(folder) / name).relative_to(bundle).as_posix()
        for folder, names, _ in os.walk(bundle)
        for name in names
        if (Path(folder) / name).is_symlink()
    ]
    if folders:
        raise PotstillError(
            f"{folders[0]} in the bundle is a link to a folder; put the folder itself there"
        )
    for name in (*files_in(bundle), CHAIN_FILE):
        path = bundle / name
        if not name.isprintable():
            # It would stand among the lines of what was checked, and could pass for one.
            raise PotstillError(
                f"a file in the bundle has a name with letters that do not print, {name!a}; "
                "take it out"
            )
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise PotstillError(f"{name} in the bundle is no plain file; put the file itself there")


def read_verdict(bundle: Path) -> Verdict:
    """Return a bundle's verdict. Raises PotstillError where there is none that can be read."""
    path = bundle / VERDICT_FILE
    if not os.path.lexists(path):
        raise PotstillError(
            f"{VERDICT_FILE} does not exist in the bundle: the trace has not come to a verdict, or "
            "the bundle is not whole; finish it with potstill trace run, or get the whole bundle"
        )
    if (fault := no_file(path)) is not None:
        raise PotstillError(f"{VERDICT_FILE} {fault} in the bundle; {_REMEDY}")
    try:
        return Verdict.model_validate(parsed(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        key = ".".join(map(str, first["loc"]))
        what = f"its {key}" if key else "it holds no verdict"
        raise PotstillError(f"{VERDICT_FILE} cannot be used ({what}); {_REMEDY}") from None
    except ValueError:
        raise PotstillError(f"{VERDICT_FILE} cannot be read as JSON; {_REMEDY}") from None


def subjects_of(fixed: FixedPlan) -> dict[str, bytes]:
    """Return, by name, what a timestamp in the bundle may be about, as the bytes that are seen.

    The plan is seen as its file, or by its digest as text; a key or a served log by its digest.
    """
    found = {PLAN_SUBJECT: fixed.plan.as_bytes(), "the plan's digest": fixed.digest.encode()}
    for source in fixed.plan.sources:
        if source.kind in ("key", "served-log"):
            found[f"the digest of the {source.kind} {source.name}"] = source.digest.encode()
    return found


def certificates_in(bundle: Path) -> list[bytes]:
    """Return the certificates that lie beside a bundle's timestamps."""
    return [path.read_bytes() for path in _tokens(bundle, "*.pem")]


def stamps_in(
    bundle: Path, fixed: FixedPlan, certificates: Sequence[bytes] | None = None
) -> tuple[Stamp, ...]:
    """Return a bundle's timestamps, checked where the package that checks them is installed.

    Raises PotstillError for one that does not hold, or is of another digest.
    """
    trusted = certificates_in(bundle) if certificates is None else certificates
    return tuple(_stamp(path, fixed, trusted) for path in _tokens(bundle, "*.tsr"))


def _tokens(bundle: Path, pattern: str) -> list[Path]:
    """Return the files of a bundle's tokens; a folder of such a name is none."""
    return sorted(path for path in (bundle / TOKENS).glob(pattern) if path.is_file())


def add_tokens(
    bundle: Path, fixed: FixedPlan, tokens: Sequence[Path], authorities: Sequence[Path]
) -> None:
    """Put timestamps and certificates into a bundle, once the former are known to hold.

    Raises PotstillError for a file that is not there, and for a timestamp that does not hold or is
    of another digest; then nothing was put in.
    """
    contents = {path: _content(path) for path in (*tokens, *authorities)}
    for path in authorities:
        require_certificates(path, contents[path])
    if can_check():
        certificates = [*certificates_in(bundle), *(contents[path] for path in authorities)]
        for path in tokens:
            check_token(path, contents[path], certificates, subjects_of(fixed))
    for path, suffix in (
        *((path, ".tsr") for path in tokens),
        *((path, ".pem") for path in authorities),
    ):
        digest = custody_digest(contents[path])[:12]
        write_bytes(bundle / TOKENS / f"{digest}{suffix}", contents[path])


def _stamp(path: Path, fixed: FixedPlan, certificates: Sequence[bytes]) -> Stamp:
    token = path.read_bytes()
    name = f"{TOKENS}/{path.name}"
    if not can_check():
        return Stamp(file=name, digest=custody_digest(token), checked=False)
    found = check_token(path, token, certificates, subjects_of(fixed))
    subject = PLAN_SUBJECT if found.subject == "the plan's digest" else found.subject
    return Stamp(
        file=name,
        digest=custody_digest(token),
        checked=True,
        subject=subject,
        time=found.time,
        authority=found.authority,
        root_sha256=found.root_sha256,
    )


def _content(path: Path) -> bytes:
    if (fault := no_file(path)) is not None:
        raise PotstillError(f"{path} {fault}; give a timestamp's .tsr file or a .pem file")
    return path.read_bytes()


def _unzipped(path: Path, folder: Path) -> Path:
    try:
        with zipfile.ZipFile(path) as archive:
            inside = archive.infolist()
            if len(inside) > _MOST_FILES or sum(one.file_size for one in inside) > _MOST_BYTES:
                raise PotstillError(f"{path} holds more than a bundle does; give a bundle's .zip")
            _extract(archive, path, folder)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise PotstillError(
            f"{path} is no .zip file that can be read; give a bundle's folder or its .zip file"
        ) from error
    plans = sorted(folder.rglob(PLAN_FILE), key=lambda found: len(found.parts))
    if not plans:
        raise PotstillError(f"{path} is no bundle of a trace: it holds no {PLAN_FILE}; give one")
    return plans[0].parent


def _extract(archive: zipfile.ZipFile, path: Path, folder: Path) -> None:
    """Unpack an archive. Raises PotstillError for names that cannot all lie in one folder."""
    try:
        archive.extractall(folder)
    except OSError as error:
        # What is left of the system's refusals is about the folder, and said where it is made.
        if error.errno not in _NAMES:
            raise
        reason = os_reason(error) or "the system refuses one"
        raise PotstillError(
            f"{path} holds names that cannot be files here ({reason}); {_REMEDY}"
        ) from error


def same_digest(files: Mapping[str, str], found: Mapping[str, str]) -> str | None:
    """Return the name of a file that was noted and is not as it was; None where all are."""
    return next((name for name in sorted(files) if found.get(name) != files[name]), None)
