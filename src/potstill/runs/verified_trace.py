"""A bundle checked by whoever gets it, with what the owner discloses, from files of theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from potstill.durable import no_file
from potstill.errors import PotstillError
from potstill.report.verdict.pages import check_pages
from potstill.trace.bundle import opened_bundle, read_verdict
from potstill.trace.finding import TraceRecord
from potstill.trace.marked_texts import read_texts
from potstill.trace.marks_in_choices import MarksInChoicesPlanned
from potstill.trace.plan import PLAN_FILE, FixedPlan, read_plan
from potstill.trace.registry import Disclosed
from potstill.trace.timestamps import require_certificates
from potstill.trace.verdict import Verdict
from potstill.trace.verify import Trust, checks_of
from potstill.watermark.keys import read_key
from potstill.work.check_result import CheckResult
from potstill.work.order_secret import read_order_secret

AnyPath = str | Path


@dataclass(frozen=True)
class Given:
    """What whoever verifies gives beside the bundle."""

    key: Path | None = None
    epoch: str | None = None
    texts: Sequence[Path] = ()
    authorities: Sequence[Path] = ()
    order_secret: Path | None = None


@dataclass(frozen=True)
class VerifiedTrace:
    """A bundle in which nothing differs: its verdict, and each thing that was looked at."""

    verdict: Verdict
    checks: tuple[CheckResult, ...]

    @property
    def not_checked(self) -> tuple[CheckResult, ...]:
        """What could not be checked, each with the reason."""
        return tuple(check for check in self.checks if check.state != "holds")


def verify_trace(
    bundle: AnyPath,
    *,
    key: AnyPath | None = None,
    epoch: str | None = None,
    texts: AnyPath | Sequence[AnyPath] = (),
    order_secret: AnyPath | None = None,
    authorities: AnyPath | Sequence[AnyPath] = (),
) -> VerifiedTrace:
    """Check a trace's bundle, as `potstill trace verify` does; return its verdict and the checks.

    `bundle` is a folder or a .zip file. With the file of the epoch's `key` (`epoch` names that of a
    master key) every score of a mark is made again; one that was read also needs the marked
    `texts`. `order_secret` is the file of a training's secret, `authorities` are certificates (PEM)
    that are trusted for timestamps; of texts and authorities a single file may be given as it is.
    No model is loaded, and nobody is asked. Raises PotstillError, which names the record or the
    file, at the first thing that differs.
    """
    given = Given(
        key=None if key is None else Path(key),
        epoch=epoch,
        texts=_paths(texts),
        authorities=_paths(authorities),
        order_secret=None if order_secret is None else Path(order_secret),
    )
    with opened_bundle(Path(bundle)) as folder:
        checks = tuple(checks_with(folder, given))
        return VerifiedTrace(read_verdict(folder), checks)


def _paths(given: AnyPath | Sequence[AnyPath]) -> tuple[Path, ...]:
    """Return paths of what is given: one by itself is no row of letters."""
    return tuple(map(Path, [given] if isinstance(given, str | Path) else given))


def checks_with(bundle: Path, given: Given) -> Iterator[CheckResult]:
    """Yield the checks of a bundle's folder, and whether its pages say what its verdict says."""
    fixed = read_plan(bundle / PLAN_FILE)
    yield from checks_of(bundle, trust_of(fixed, given))
    yield check_pages(bundle, fixed, read_verdict(bundle), version("potstill"))


def trust_of(fixed: FixedPlan, given: Given) -> Trust:
    """Return what a verifier gives, read. Raises PotstillError for what the plan is not about."""
    if given.key is None and (given.epoch is not None or given.texts):
        word = "--texts" if given.texts else "--epoch"
        raise PotstillError(f"{word} says nothing without the key that goes with it; add --key")
    certificates = [_content(path) for path in given.authorities] or None
    key = None if given.key is None else read_key(given.key).epoch(given.epoch)
    texts = _texts(fixed, given.texts) if given.texts else None
    secret = None if given.order_secret is None else read_order_secret(given.order_secret)
    return Trust(Disclosed(key=key, texts=texts, secret=secret), certificates)


def _texts(fixed: FixedPlan, paths: Sequence[Path]) -> Mapping[str, Sequence[TraceRecord]]:
    """Return marked texts by the configuration of the test that reads them.

    Raises PotstillError for texts that no test of the plan reads.
    """
    planned = [one for one in fixed.plan.tests if isinstance(one, MarksInChoicesPlanned)]
    found: dict[str, Sequence[TraceRecord]] = {}
    for path in paths:
        texts = read_texts(path)
        digests = [text.digest for text in texts]
        own = [one for one in planned if [r.text for r in one.readings] == digests]
        if not own:
            raise PotstillError(
                f"{path} holds other texts than any test of the plan reads; give the file of "
                "marked texts that the plan was made with"
            )
        found |= {one.configuration: texts for one in own}
    return found


def _content(path: Path) -> bytes:
    if (fault := no_file(path)) is not None:
        raise PotstillError(f"{path} {fault}; give an authority's certificates as a PEM file")
    content = path.read_bytes()
    require_certificates(path, content)
    return content
