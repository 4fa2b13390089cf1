"""What is checked of a run, a student or a bundle, printed and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from potstill.cli.common import echo_json
from potstill.errors import PotstillError

if TYPE_CHECKING:
    from potstill.lineage.verifying import ExpectedSigner
    from potstill.work.check_result import CheckResult


def print_checks(checks: Iterable[CheckResult]) -> None:
    """Print each check as it is done, and those that could not be done at the end."""
    left = []
    for check in checks:
        if check.state == "holds":
            typer.echo(f"{check.what}: {check.detail}")
        else:
            left.append(check)
    for check in left:
        typer.echo(f"NOT CHECKED, {check.what}: {check.detail}")


def print_lineage(
    root: Path,
    kind: str,
    expected: ExpectedSigner,
    ancestors: Sequence[Path],
    *,
    as_json: bool,
) -> None:
    """Print what was checked of a run or a student, then that it holds."""
    from potstill.runs.verified_lineage import checks_of_lineage

    checks = checks_of_lineage(root, expected, ancestors)
    if as_json:
        echo_json({"kind": kind, "checks": [asdict(check) for check in checks]})
        return
    print_checks(checks)
    typer.echo(f"what was checked of this {kind} holds.")


def verify_bundle(bundle: Path, *, given: bool, as_json: bool) -> None:
    """Check a bundle without what its owner discloses, as `potstill trace verify` does."""
    from potstill.cli.trace_view import print_verified, verified_as_json
    from potstill.runs.verified_trace import Given

    if given:
        raise PotstillError(
            f"{bundle} is the bundle of a trace, which nobody signs; what its owner discloses is "
            "for potstill trace verify"
        )
    if as_json:
        echo_json({"kind": "bundle", **verified_as_json(bundle, Given())})
    else:
        print_verified(bundle, Given())
