"""Keys that were made and marks that were found, printed and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from json import loads
from typing import Any, TextIO

import typer

from potstill.durable import temporary_folder
from potstill.logs.written import reasons
from potstill.runs.mark_keys import KeyMade
from potstill.runs.marks import MarksFound
from potstill.text.counts import many
from potstill.watermark.calibration import Calibration
from potstill.watermark.detect import Detection

# Texts that are listed; --json has all of them.
_LISTED = 20


@contextmanager
def with_stdin(paths: Sequence[str], stdin: TextIO) -> Iterator[list[str]]:
    """Yield paths with what came on stdin in place of `-`, as a file for as long as it is read."""
    if "-" not in paths:
        yield list(paths)
        return
    content = stdin.read()
    with temporary_folder() as folder:
        name = "stdin.jsonl" if _is_rows(content) else "stdin.txt"
        (folder / name).write_text(content, encoding="utf-8", errors="surrogatepass")
        yield [str(folder / name) if path == "-" else path for path in paths]


def _is_rows(content: str) -> bool:
    """Tell whether text is one JSON object a line."""
    first = content.lstrip().partition("\n")[0]
    try:
        return isinstance(loads(first), dict)
    except ValueError:
        return False


def key_as_json(made: KeyMade) -> dict[str, Any]:
    """Return what is told of a new key: never the key."""
    return {
        "key": str(made.path),
        "key_id": made.key_id,
        "epoch": made.epoch,
        "scheme": made.scheme,
        "record": None if made.record is None else str(made.record),
    }


def print_key(made: KeyMade) -> None:
    """Print what is told of a new key, and what to do with it."""
    what = "an epoch's key" if made.epoch else "a key"
    typer.echo(f"{made.path}: {what}, for your eyes alone (mode 0600)")
    typer.echo(f"digest: {made.key_id}")
    if made.record is not None:
        typer.echo(f"{made.record}: what it marks with, nothing of which is secret")
    if made.scheme is not None and made.scheme.startswith("vllm-"):
        typer.echo(f'vllm serve MODEL --watermark-config "$(cat {made.path})"')
    typer.echo("Keep a copy in a safe place: without the key its marks are never found again.")


def as_json(found: MarksFound) -> dict[str, Any]:
    """Return everything that is known of a detection."""
    return {
        "schema": "potstill/watermark-detection/1",
        "scheme": found.scheme,
        "p": found.p,
        "log10_p": found.log10_p if math.isfinite(found.log10_p) else None,
        "tests": [test.as_dict() for test in found.tests],
        "texts": None if found.each is None else [asdict(each) for each in found.each],
        "left_out": {reason.value: count for reason, count in found.left_out.items()},
        "passed_over": list(found.passed_over),
        "warnings": list(found.warnings),
    }


def print_found(found: MarksFound) -> None:
    """Print the p-value, what it rests on, and how much text would have been needed."""
    typer.echo(f"p = {_p(found.log10_p)}{_tests(found)}")
    for test in found.tests:
        for line in _lines(test, named=len(found.tests) > 1):
            typer.echo(line)
    if found.left_out:
        typer.echo(f"left out: {reasons(found.left_out)}")
    if found.passed_over:
        typer.echo(f"passed over: {many(len(found.passed_over), 'other file')} in the folders")
    if found.each is not None:
        _print_each(found)
    typer.echo(
        "p is the chance of as much in texts that do not depend on the key, not the chance that "
        "these do not."
    )


def _tests(found: MarksFound) -> str:
    count = len(found.tests)
    return "" if count == 1 else f" (the least of {count} tests times {count})"


def _lines(test: Detection, *, named: bool) -> Iterator[str]:
    parameters = ", ".join(f"{name} {value:g}" for name, value in test.parameters.items())
    alone = f": p = {_p(test.log10_p)}" if named else ""
    yield f"{test.scheme} ({parameters}), key {test.key_id}{alone}"
    shown = f", {test.left_out:,} left out that were shown" if test.left_out else ""
    yield (
        f"  {many(test.tokens, 'token')} in {many(test.texts, 'text')}, "
        f"{test.windows:,} with a whole window{shown}, {test.scored:,} distinct and scored"
    )
    yield f"  mean score {test.mean:.4f}, without a mark {test.null_mean:.4f}"
    yield f"  {_needed(test)}"
    if test.decoys is not None:
        check = test.decoys
        yield (
            f"  {check.keys:,} decoy keys: {check.share_at_05:.1%} at p 0.05, "
            f"{check.share_at_01:.1%} at 0.01, uniform with p {check.ks_p:.2g}"
        )


def _needed(test: Detection) -> str:
    needed = test.needed
    expected = (
        "no amount of text would"
        if needed.expected is None
        else f"about {many(needed.expected, 'token')} would"
    )
    line = (
        f"for p {needed.p:g}: where every token is marked at {needed.entropy:g} nats, {expected} do"
    )
    if needed.observed is not None:
        line += f"; at the mean score found, about {needed.observed:,}"
    return line


def _print_each(found: MarksFound) -> None:
    each = sorted(found.each or (), key=lambda text: text.p)
    typer.echo("text: scored tokens, p alone, p over all texts (Holm)")
    for text in each[:_LISTED]:
        typer.echo(f"  {text.place}: {text.scored:,}, {text.p:.3g}, {text.adjusted_p:.3g}")
    if len(each) > _LISTED:
        typer.echo(f"  and {len(each) - _LISTED:,} more with larger p (--json has all)")


def _p(log10: float) -> str:
    """Return a p-value of any size."""
    if log10 == 0:
        return "1"
    if not math.isfinite(log10):
        return "0"
    if log10 > -300:
        return f"{10**log10:.3g}"
    whole = math.floor(log10)
    return f"{10 ** (log10 - whole):.2f}e{whole}"


def print_calibration(found: Calibration) -> None:
    """Print how often p-values were small on text without a mark, and whether that is as often."""
    levels = [rate.level for rate in found.rows[0].levels]
    typer.echo(f"share of p-values at most {', '.join(f'{level:g}' for level in levels)}:")
    for row in found.rows:
        rates = ", ".join(f"{rate.randomised:.4f}" for rate in row.levels)
        outside = [f"{rate.level:g}" for rate in row.levels if not rate.inside]
        said = f"; outside its interval at {', '.join(outside)}" if outside else ""
        window = row.parameters.get("window", 0)
        typer.echo(f"  {row.scheme}, window {window:g}, {row.text} text: {rates}{said}")
    typer.echo(f"uniform (Kolmogorov-Smirnov, Holm): least adjusted p {found.ks_p_min:.3g}")
    typer.echo("the p-values hold" if found.holds else "the p-values do NOT hold on these texts")
