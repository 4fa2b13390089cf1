"""Campaigns followed from day to day: what a scheduled run does each morning."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from potstill.errors import PotstillError
from potstill.extras import extra_package
from potstill.progress import Progress, Silent
from potstill.runs.watch_finding import require_level
from potstill.runs.watch_injected import injected_notes
from potstill.runs.watching import open_store, told_damage, traffic_engine
from potstill.watch.case.register import CaseRegister, named_cases

if TYPE_CHECKING:
    from potstill.watch.days.report import DailyReport
    from potstill.watch.days.running import DaysFollowed
    from potstill.watch.ingest.store import TrafficStore


@dataclass(frozen=True)
class DailyWanted:
    """Which store is followed, up to which day (by default the last that is over)."""

    store: Path
    as_of: str | None = None
    level: float = 0.05
    key: Path | None = None
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def until(self) -> str:
        """Return the last day to look at. Raises PotstillError for what is no date."""
        if self.as_of is None:
            return (self.now.astimezone(UTC).date() - timedelta(days=1)).isoformat()
        try:
            return date.fromisoformat(self.as_of).isoformat()
        except ValueError:
            raise PotstillError("--as-of takes a date, for example 2026-03-01") from None


def follow_store(wanted: DailyWanted, progress: Progress | None = None) -> DailyReport:
    """Look at the days of a store that are new or have changed, and return what stands.

    Cases keep their ids in the store's register, and closed ones stay closed. Raises PotstillError
    where there is no store, or no day in it that is over.
    """
    require_level(wanted.level)
    until = wanted.until()
    extra_package("networkx", "the watch", "watch")
    with traffic_engine("UTC") as backend:
        from potstill.watch.cases import allowed_accounts
        from potstill.watch.days.running import follow_days

        with open_store(wanted.store, None, wanted.key, there=True) as store:
            _require_days(store, until)
            register = store.done(CaseRegister) or CaseRegister()
            with told_damage(store):
                allowed = allowed_accounts(store, register)
                found = follow_days(store, backend, until, allowed, progress or Silent())
                return _reported(store, found, register, allowed, wanted, until)


def _require_days(store: TrafficStore, until: str) -> None:
    days = store.days()
    if not days:
        raise PotstillError(
            f"{store.root} holds no requests; take logs in with `potstill watch ingest`"
        )
    if days[0] > until:
        raise PotstillError(
            f"the first day of {store.root} is {days[0]}, and days up to {until} were asked for; a "
            "day is looked at when it is over, or with --as-of DAY"
        )


def _reported(
    store: TrafficStore,
    found: DaysFollowed,
    register: CaseRegister,
    allowed: tuple[str, ...],
    wanted: DailyWanted,
    until: str,
) -> DailyReport:
    from potstill.watch.days.following import Following
    from potstill.watch.days.marks import active_accounts
    from potstill.watch.days.report import (
        DailyReport,
        campaigns_of,
        case_of,
        requests_of,
    )
    from potstill.watch.signals.traffic import accounts_of

    following = Following.of(found.lines, wanted.level)
    days = tuple(line.day for line in found.lines)
    active = active_accounts(store, days)
    table = accounts_of(store).select(["account_id", "tenant"]).to_pylist()
    tenant_of = {row["account_id"]: row["tenant"] for row in table if row["tenant"] is not None}
    campaigns, members = campaigns_of(following, active, tenant_of, allowed)
    named, after = named_cases(register, campaigns, days[-1])
    # Who looks back changes nothing of what is known today.
    if not found.beyond and after != register:
        store.finish(after)
    cases = [case_of(one, members[one.campaign.campaign_id]) for one in named]
    cases.sort(key=lambda one: one.status == "closed")
    return DailyReport(
        days=days,
        computed=found.computed,
        again=found.again,
        left_out=tuple(day for day in store.days() if day > until),
        requests=requests_of(active, allowed),
        level=wanted.level,
        followed=len(following.candidates),
        stand=len(following.named()),
        undeclared=sum(one.is_undeclared for one in following.named()),
        false_expected=wanted.level * len(cases),
        open=sum(one.status == "open" for one in cases),
        cases=tuple(cases),
        not_found=after.open_beside(one.case_id for one in cases),
        allowed=len(allowed),
        off=found.lines[-1].off,
        notes=injected_notes(store),
    )
