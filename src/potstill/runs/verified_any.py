"""What is verified: a trace's bundle, a run or a student, told apart by what lies in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from potstill.errors import PotstillError
from potstill.lineage.document import MANIFEST_FILE, read_manifest
from potstill.lineage.keys import read_public_key
from potstill.lineage.signing import SigstoreIdentity
from potstill.lineage.verifying import ExpectedSigner
from potstill.runs.verified_lineage import checks_of_lineage
from potstill.work.check_result import CheckResult

Kind = Literal["bundle", "run", "student"]
AnyPath = str | Path
_PLAN, _RECIPE = "plan.json", "recipe.yaml"


@dataclass(frozen=True)
class VerifiedLineage:
    """A run or a student in which nothing differs, and each thing that was looked at."""

    kind: Kind
    checks: tuple[CheckResult, ...]

    @property
    def not_checked(self) -> tuple[CheckResult, ...]:
        """What could not be checked, each with the reason."""
        return tuple(check for check in self.checks if check.state != "holds")


def kind_of(path: Path) -> Kind:
    """Return what lies at a path. Raises PotstillError for what is none of these."""
    if path.is_file() or (path / _PLAN).is_file() or (path / "bundle" / _PLAN).is_file():
        return "bundle"
    if (path / MANIFEST_FILE).is_file():
        return "student" if read_manifest(path / MANIFEST_FILE).kind == "student" else "run"
    if (path / _RECIPE).is_file():
        raise PotstillError(
            f"{path} has no {MANIFEST_FILE}: the run has not finished, or the file was removed; "
            "finish it with potstill distill, or get the whole directory"
        )
    raise PotstillError(
        f"{path} is no run, no student and no bundle of a trace (it has no {MANIFEST_FILE} and no "
        f"{_PLAN}); give the directory that potstill distill or potstill trace run made"
    )


def expected_signer(
    keys: Sequence[Path] = (), identity: str | None = None, issuer: str | None = None
) -> ExpectedSigner:
    """Return who has to have signed. Raises PotstillError for what is no key, or half an identity.

    Either keys are given or an identity, which needs whoever vouches for it.
    """
    if (identity is None) != (issuer is None):
        raise PotstillError(
            "an identity counts by who vouches for it; give both --identity and --issuer"
        )
    if identity is None or issuer is None:
        return ExpectedSigner(tuple(map(read_public_key, keys)))
    if keys:
        raise PotstillError("a manifest is signed by a key or by an identity; give one of them")
    return ExpectedSigner(identity=SigstoreIdentity(identity, issuer))


def verify_lineage(
    path: AnyPath,
    *,
    key: AnyPath | Sequence[AnyPath] = (),
    identity: str | None = None,
    issuer: str | None = None,
    ancestors: AnyPath | Sequence[AnyPath] = (),
) -> VerifiedLineage:
    """Check a run's or a student's directory, as `potstill verify` does; return the checks.

    With the public `key` of whoever is expected to have signed, or their `identity` as `issuer`
    vouches for it (Sigstore), the signature counts; without either anybody may have signed.
    `ancestors` are the directories of models that it was made of. No model is loaded, and nobody
    is asked. Raises PotstillError, which names the file or the figure, at the first thing that
    differs.
    """
    root = Path(path)
    kind = kind_of(root)
    if kind == "bundle":
        raise PotstillError(f"{path} is the bundle of a trace; verify it with verify_trace")
    expected = expected_signer(_paths(key), identity, issuer)
    return VerifiedLineage(kind, tuple(checks_of_lineage(root, expected, _paths(ancestors))))


def _paths(given: AnyPath | Sequence[AnyPath]) -> tuple[Path, ...]:
    return tuple(map(Path, [given] if isinstance(given, str | Path) else given))
