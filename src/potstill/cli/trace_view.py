"""Plans, verdicts and checks of traces, printed and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from potstill.cli.common import echo_json
from potstill.cli.verify_view import print_checks
from potstill.errors import PotstillError

if TYPE_CHECKING:
    from potstill.runs.demo_trace import DemoVerdict
    from potstill.runs.verdict import TraceFixed
    from potstill.runs.verified_trace import Given
    from potstill.trace.verdict import Verdict
    from potstill.watermark.keys import EpochKey


def folder_of(trace: Path) -> Path:
    """Return a trace's directory, also by its name in runs/. Raises PotstillError for none."""
    for folder in (trace, Path("runs") / trace):
        if folder.is_dir():
            return folder
    raise PotstillError(
        f"there is no trace {trace}; check the name, or make one with potstill trace plan"
    )


def plan_as_json(fixed: TraceFixed) -> dict[str, Any]:
    """Return what is told of a plan that is fixed."""
    plan = fixed.plan.plan
    return {
        "trace": str(fixed.root),
        "plan": str(fixed.root / "bundle" / "plan.json"),
        "digest": fixed.plan.digest,
        "new": fixed.new,
        "alpha": plan.alpha,
        "tests": [{"test": one.test, "configuration": one.configuration} for one in plan.planned],
        "tried": plan.chain.tried.model_dump(),
    }


def print_plan(fixed: TraceFixed) -> None:
    """Print what was fixed, what was tried before, and what to do next."""
    from potstill.trace.wording import tried_sentence

    plan = fixed.plan.plan
    path = fixed.root / "bundle" / "plan.json"
    state = "fixed" if fixed.new else "was fixed before, and stays as it is"
    typer.echo(f"{path}: the plan {state}")
    typer.echo(f"digest: {fixed.plan.digest}")
    for one in plan.planned:
        typer.echo(f"  {one.test} ({one.configuration})")
    typer.echo(tried_sentence(plan.chain.tried))
    typer.echo(
        f"have it dated: openssl ts -query -data {path} -sha256 -cert -out plan.tsq, and send that "
        "to a timestamp authority"
    )
    typer.echo(f"then: potstill trace run {fixed.root} --token plan.tsr --authority authority.pem")


def print_verdict(verdict: Verdict, folder: Path) -> None:
    """Print the claim, its strength, each test, and what to hand over."""
    from potstill.trace.wording import p_text

    typer.echo(verdict.headline)
    typer.echo(verdict.strength)
    for claim in verdict.claims:
        typer.echo(
            f"  {claim.test} ({claim.configuration}), {claim.tier}: {claim.outcome}, "
            f"p = {p_text(claim.log10_p)} after all that was tried"
        )
    for limit in verdict.limits:
        typer.echo(f"  {limit}")
    typer.echo(verdict.order_of_events)
    typer.echo(f"{folder / 'bundle'}: what to hand over; report.html and notice.md are in it")


def print_demo(found: Sequence[DemoVerdict]) -> None:
    """Print what the demo's suspects came to, where the pages are, and how to go on."""
    from potstill.trace.wording import p_text

    for one in found:
        verdict, bundle = one.verdict, one.folder / "bundle"
        typer.echo(f"\n{verdict.suspect.name}: {verdict.headline}")
        for claim in verdict.claims:
            typer.echo(
                f"  {claim.test}: {claim.outcome}, p = {p_text(claim.log10_p)} after all that was "
                "tried"
            )
        for left in one.left:
            typer.echo(f"  not checked, {left}")
        typer.echo(f"  page: {bundle / 'report.html'}")
        typer.echo(f"  notice, for whoever knows no statistics: {bundle / 'notice.html'}")
    typer.echo(f"\ncheck one yourself: potstill trace verify {found[0].folder / 'bundle'}")
    typer.echo(f"all of it lies in {found[0].folder.parent}: recipes, runs, settings and bundles")


def verified_as_json(bundle: Path, given: Given) -> dict[str, Any]:
    """Return every check of a bundle that holds as a whole; raises PotstillError else."""
    from potstill.runs.verified_trace import checks_with
    from potstill.trace.bundle import opened_bundle, read_verdict

    with opened_bundle(bundle) as folder:
        checks = [asdict(check) for check in checks_with(folder, given)]
        verdict = read_verdict(folder)
    return {"checks": checks, "accused": verdict.accused, "headline": verdict.headline}


def print_verified(bundle: Path, given: Given) -> None:
    """Print each check as it is done, then the claim that holds."""
    from potstill.runs.verified_trace import checks_with
    from potstill.trace.bundle import opened_bundle, read_verdict

    with opened_bundle(bundle) as folder:
        print_checks(checks_with(folder, given))
        verdict = read_verdict(folder)
    typer.echo(f"what was checked holds. {verdict.headline}")


def print_notice(trace: Path, disclose: Path | None, epoch: str | None, *, as_json: bool) -> None:
    """Print the notice of a trace or a bundle, after a key was disclosed if one is."""
    from potstill.report.verdict.notice import notice_markdown, notice_of
    from potstill.trace.bundle import opened_bundle, read_verdict

    if disclose is not None:
        from potstill.runs.verdict import disclose_key

        path = disclose_key(folder_of(trace), _key(disclose, epoch))
        typer.echo(f"{path}: the key, retired; mark with another from now on", err=True)
    where = trace if trace.exists() else folder_of(trace)
    with opened_bundle(where) as folder:
        verdict = read_verdict(folder)
    if as_json:
        echo_json(asdict(notice_of(verdict)))
    else:
        typer.echo(notice_markdown(verdict))


def _key(path: Path, epoch: str | None) -> EpochKey:
    from potstill.watermark.keys import read_key

    return read_key(path).epoch(epoch)
