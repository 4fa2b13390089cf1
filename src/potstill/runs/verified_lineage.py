"""A run or a student verified by whoever gets it: everything in it that can be made again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from potstill.lineage.chain import check_ancestors
from potstill.lineage.document import MANIFEST_FILE, STUDENT
from potstill.lineage.listing import listing_of
from potstill.lineage.remaking import check_data, check_evaluation, check_figures
from potstill.lineage.verifying import ANYBODY, ExpectedSigner, check_directory
from potstill.work.check_result import CheckResult


def checks_of_lineage(
    root: Path, expected: ExpectedSigner = ANYBODY, ancestors: Sequence[Path] = ()
) -> Iterator[CheckResult]:
    """Yield what was checked of a run's or a student's directory, one by one.

    Raises PotstillError, naming the file or the figure, at the first thing that differs.
    """
    yield from check_directory(root, expected)
    manifest = listing_of(root).manifest
    is_run = manifest.kind == "run"
    student = root / STUDENT if is_run else root
    yield from check_figures(student, manifest)
    if is_run:
        yield check_evaluation(root, manifest)
        yield from check_data(root, manifest)
    else:
        detail = "the prompts lie in the run alone; verify its directory for that"
        yield CheckResult("data and overlap", "not checked", detail)
    if (student / MANIFEST_FILE).is_file():
        yield from check_ancestors(student, manifest, expected, ancestors)
