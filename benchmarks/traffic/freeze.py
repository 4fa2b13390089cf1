"""The simulator's sources as one digest, kept in FROZEN.

    python benchmarks/traffic/freeze.py        # writes FROZEN, after VERSION in spec.py was raised

Figures of a detector mean something only if what it is measured on was there first. So the
sources are frozen: whoever changes one raises VERSION, and results of two versions are never
compared.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
FROZEN = HERE / "FROZEN"


def sources() -> list[Path]:
    """Return the files that decide what a world is, in order; match.py only measures worlds."""
    found = [*HERE.glob("*.py"), *HERE.glob("*.json"), *HERE.glob("words/*.json")]
    return sorted(path for path in found if path.name != "match.py")


def digest() -> str:
    """Return the SHA-256 of all sources, names included."""
    whole = hashlib.sha256()
    for path in sources():
        whole.update(path.relative_to(HERE).as_posix().encode() + b"\0")
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def version() -> int:
    """Return VERSION of spec.py as it is written there."""
    found = re.search(r"^VERSION = (\d+)$", (HERE / "spec.py").read_text(encoding="utf-8"), re.M)
    if found is None:
        raise ValueError("spec.py states no VERSION")
    return int(found.group(1))


def frozen() -> dict[int, str]:
    """Return the digest of each version that was frozen; the last one is today's."""
    lines = FROZEN.read_text(encoding="utf-8").splitlines() if FROZEN.exists() else []
    return {int(line.split()[0]): line.split()[1] for line in lines if line[:1].isdigit()}


def main() -> None:
    known, now = frozen(), digest()
    if known.get(version(), now) != now:
        raise SystemExit(f"version {version()} is frozen with other sources: raise VERSION first")
    known[version()] = now
    lines = [f"{number} {value}" for number, value in sorted(known.items())]
    head = "# version, SHA-256 of the sources (freeze.py); a change of any needs a new version\n"
    FROZEN.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
