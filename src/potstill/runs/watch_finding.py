"""Campaigns found in a store of traffic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from potstill.errors import PotstillError
from potstill.extras import extra_package
from potstill.runs.watch_engines import EngineWanted, finding_engine
from potstill.runs.watch_injected import with_injected_note
from potstill.runs.watching import open_store, told_damage

if TYPE_CHECKING:
    from potstill.watch.evidence import CampaignsFound


def find_in(
    into: Path,
    level: float,
    key: Path | None = None,
    engine: EngineWanted | None = None,
    *,
    whole: bool = False,
) -> CampaignsFound:
    """Return the campaigns in a store at a false discovery rate of `level`.

    They are found on an `engine`, else on DuckDB. What is on the allow-list is left out. With
    `whole` everything is tried about every group. Raises PotstillError where there is no store,
    nothing in it, or for a level outside (0, 1).
    """
    require_level(level)
    extra_package("networkx", "the watch", "watch")
    with finding_engine(engine or EngineWanted()) as backend:
        from potstill.watch.case.register import CaseRegister
        from potstill.watch.cases import allowed_accounts
        from potstill.watch.find import find_campaigns

        with open_store(into, None, key, there=True) as store:
            register = store.done(CaseRegister) or CaseRegister()
            with told_damage(store):
                allowed = allowed_accounts(store, register)
                found = find_campaigns(store, backend, level, allowed, whole=whole)
            return with_injected_note(store, found)


def require_level(level: float) -> None:
    """Raise PotstillError for a level that is no rate."""
    if not 0 < level < 1:
        raise PotstillError("--level is a false discovery rate, between 0 and 1; try 0.05")
