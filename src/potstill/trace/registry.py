"""Which tests there are: how each is planned, what an item of it is, and what finds.

A plan is read, a raw log is read and a bundle is verified through this table alone. It is light:
what asks a suspect is elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from potstill.trace.finding import Finding, TestName, Tier, TraceRecord
from potstill.trace.suspect import Capability
from potstill.watermark.keys import EpochKey
from potstill.work.order_secret import OrderSecret


@runtime_checkable
class PlannedTest(Protocol):
    """What every planned test says of itself."""

    @property
    def needs(self) -> frozenset[Capability]:
        """What a suspect has to give."""
        ...

    @property
    def test(self) -> TestName:
        """Its name."""
        ...

    @property
    def configuration(self) -> str:
        """What tells it apart from others of its name in one plan."""
        ...


@dataclass(frozen=True)
class Disclosed:
    """What is disclosed beside a bundle: the key of an epoch, marked texts as they were served.

    Without the key a finding takes the scores that are stored; with it they are made again, behind
    the windows of `texts` (by a test's configuration) where it reads some. `secret` is that of a
    training's order.
    """

    key: EpochKey | None = None
    texts: Mapping[str, Sequence[TraceRecord]] | None = None
    secret: OrderSecret | None = None


NOTHING = Disclosed()
Find = Callable[[Any, Sequence[Any], str, Disclosed], Finding]


@dataclass(frozen=True)
class TestKind:
    """One kind of test: its classes, the strongest tier of its findings, and what finds.

    `find` takes what was planned, the items in plan order, the plan's digest and what is disclosed.
    `with_controls` gives a finding back after a look at the same test's findings on models that are
    known to be clean, void where these say so; None where a test has no such rule. `key_id` gives
    the digest of the key that a test is about.
    """

    # pytest takes every class of that name for a test.
    __test__ = False

    test: TestName
    planned: type[TraceRecord]
    item: type[TraceRecord]
    tier: Tier
    find: Find
    with_controls: Callable[[Finding, Sequence[Finding]], Finding] | None = None
    key_id: Callable[[Any], str] | None = None
