"""The manifest: every file of a finished run with its digest, and where it all came from.

It is written last. A file that is missing, changed or extra afterwards fails `verify`.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blake3 import blake3

from potstill.durable import write_bytes
from potstill.errors import PotstillError
from potstill.lineage.packages import package_versions
from potstill.work.run_recipe import MANIFEST_FILE, recipe_digest
from potstill.work.rundir import RunDir

SCHEMA = "potstill/manifest/1"
SIGNATURE_FILE = "manifest.json.sig"
_NOT_LISTED = {MANIFEST_FILE, SIGNATURE_FILE}
# The user:password@ part of an address.
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


def write(run: RunDir, facts: Mapping[str, Any]) -> Path:
    """Write manifest.json of a run whose other files are all in place; return its path.

    `facts` are what the caller knows of the run (teacher, terms decision, stages); the files,
    the recipe's digest, the package versions and the machine are added. No environment variable
    is read, and credentials inside addresses are removed. Raises `PotstillError` for a link in
    the directory, whose target a digest could not vouch for.
    """
    entries = list(_entries(run.root))
    for name, path in entries:
        if path.is_symlink():
            raise PotstillError(
                f"{name} in {run.root} is a link; replace it by the file it points to, so that "
                "the manifest can vouch for it"
            )
    manifest = {
        "schema": SCHEMA,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": run.recipe.name,
        "recipe": recipe_digest(run.recipe),
        **_without_credentials(dict(facts)),
        "packages": package_versions(run.recipe),
        "hardware": hardware(),
        "files": {name: _entry(path) for name, path in entries},
    }
    return run.write_json(MANIFEST_FILE, manifest)


def add(root: Path, path: Path) -> None:
    """List a file that was made from a finished run, so that `verify` does not find it extra.

    A file outside the run, and a run that has no manifest yet, need nothing. Raises
    `PotstillError` where the manifest is signed, which no entry may be added to.
    """
    listed = Path(root) / MANIFEST_FILE
    if not path.resolve().is_relative_to(root.resolve()) or not listed.is_file():
        return
    refuse_signed(root)
    manifest = json.loads(listed.read_text(encoding="utf-8"))
    name = path.resolve().relative_to(root.resolve()).as_posix()
    files = {**manifest["files"], name: _entry(path)}
    ordered = {**manifest, "files": dict(sorted(files.items()))}
    text = json.dumps(ordered, indent=2, ensure_ascii=False)
    write_bytes(listed, f"{text}\n".encode())


def refuse_signed(root: Path) -> None:
    """Raise `PotstillError` where a run's manifest is signed: no file may be added any more."""
    if (root / SIGNATURE_FILE).is_file():
        raise PotstillError(
            f"the manifest of {root} is signed, and a new file in it would break the signature; "
            "write the file elsewhere with --out"
        )


def verify(root: Path) -> list[str]:
    """Return what is wrong with a run directory, one sentence a problem; empty if nothing is."""
    root = Path(root)
    try:
        manifest = json.loads((root / MANIFEST_FILE).read_text(encoding="utf-8"))
        schema, listed = manifest["schema"], dict(manifest["files"])
    except FileNotFoundError:
        return [f"{MANIFEST_FILE} is missing: the run has not finished, or it was removed"]
    except (ValueError, KeyError, TypeError):
        return [f"{MANIFEST_FILE} cannot be read"]
    if schema != SCHEMA:
        return [f"{MANIFEST_FILE} has schema {schema}, this version of potstill knows {SCHEMA}"]
    found = dict(_entries(root))
    problems = [f"{name} is missing" for name in sorted(listed.keys() - found.keys())]
    problems += [f"{name} is not listed" for name in sorted(found.keys() - listed.keys())]
    for name in sorted(listed.keys() & found.keys()):
        if found[name].is_symlink():
            problems.append(f"{name} is a link")
        elif _entry(found[name]) != listed[name]:
            problems.append(f"{name} has changed")
    return problems


def hardware() -> dict[str, Any]:
    """Return what computed: processor, cores, memory in GB, accelerators; no host name."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gb": _memory_gb(),
        "accelerators": _accelerators(),
    }


def _entries(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name and path of every file and link under `root`, in order of name."""
    found: list[tuple[str, Path]] = []
    for folder, folders, files in os.walk(root, followlinks=False):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in [*files, *links]:
            path = Path(folder) / name
            found.append((path.relative_to(root).as_posix(), path))
    yield from sorted(entry for entry in found if entry[0] not in _NOT_LISTED)


def _entry(path: Path) -> dict[str, Any]:
    hasher = blake3()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            hasher.update(block)
    return {"bytes": path.stat().st_size, "blake3": hasher.hexdigest()}


def _without_credentials(value: Any) -> Any:
    if isinstance(value, str):
        return _CREDENTIALS.sub("", value)
    if isinstance(value, Mapping):
        return {key: _without_credentials(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_credentials(inner) for inner in value]
    return value


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _accelerators() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
