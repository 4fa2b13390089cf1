"""What people decide about cases: closed, opened again, accounts that are let be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from potstill.errors import PotstillError
from potstill.extras import extra_package
from potstill.runs.watching import open_store, told_damage
from potstill.text.forms import is_text
from potstill.watch.case.register import (
    CaseRegister,
    closed_register,
    reopened_register,
)

if TYPE_CHECKING:
    from potstill.watch.ingest.store import TrafficStore


def close_cases(
    store: Path, case_ids: Sequence[str], because: str, key: Path | None = None
) -> CaseRegister:
    """Close cases: they stay closed in later runs. Raises PotstillError for one nobody knows."""
    if not because.strip():
        raise PotstillError("say why, for those who come later: --because TEXT")
    _require_text(because)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return _changed(store, key, lambda known: closed_register(known, case_ids, at, because))


def reopen_cases(store: Path, case_ids: Sequence[str], key: Path | None = None) -> CaseRegister:
    """Open cases again. Raises PotstillError for one that nobody knows."""
    return _changed(store, key, lambda known: reopened_register(known, case_ids))


@dataclass(frozen=True)
class AllowList:
    """Who is let be, each with its reason; `unseen` are those just added that the store does not
    have yet: they are let be when they come."""

    accounts: Mapping[str, str]
    tenants: Mapping[str, str]
    unseen: Mapping[str, tuple[str, ...]]


def allow(
    store: Path,
    accounts: Sequence[str],
    tenants: Sequence[str],
    because: str,
    *,
    remove: bool = False,
    key: Path | None = None,
) -> AllowList:
    """Put accounts and tenants on the allow-list, or take them off; without any return it.

    What is on it is left out of every later search, as if it were not there. Raises PotstillError
    without a reason, and for one to be taken off that is not on it.
    """
    if (accounts or tenants) and not remove and not because.strip():
        raise PotstillError("say why, for those who come later: --because TEXT")
    _require_text(because, *accounts, *tenants)

    extra_package("ibis", "the watch", "watch")
    with open_store(store, None, key, there=True) as held:
        # By the names that the store has: a service's key stands there as a hash.
        named = {"account": [held.key.account(one) for one in accounts], "tenant": list(tenants)}
        known = held.done(CaseRegister) or CaseRegister()
        lists = {"account": dict(known.accounts), "tenant": dict(known.tenants)}
        for kind, names in named.items():
            for name in names:
                if not remove:
                    lists[kind][name] = because
                elif lists[kind].pop(name, None) is None:
                    raise PotstillError(
                        f"one of the {kind}s is not on the allow-list; `potstill watch allow "
                        "STORE` lists it"
                    )
        changed = known.model_copy(
            update={"accounts": lists["account"], "tenants": lists["tenant"]}
        )
        if changed != known:
            held.finish(changed)
        with told_damage(held):
            unseen = {} if remove else {kind: _unseen(held, kind, named[kind]) for kind in named}
    return AllowList(changed.accounts, changed.tenants, unseen)


def _unseen(store: TrafficStore, kind: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the accounts or tenants that no request and no row of the table of accounts has."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from potstill.watch.ingest.store import ACCOUNTS_FILE

    left, column = set(names), "tenant" if kind == "tenant" else "account_id"
    table = store.root / ACCOUNTS_FILE
    files = [table] if table.is_file() else []
    for path in files if kind == "tenant" else (*files, *store.parts()):
        if not left:
            break
        found = pc.unique(pq.read_table(path, columns=[column])[column])
        left -= set(found.to_pylist())
    return tuple(sorted(left))


def _require_text(*texts: str) -> None:
    if not all(map(is_text, texts)):
        raise PotstillError(
            "a name or the reason has bytes that are no UTF-8; state it in UTF-8, as the logs have "
            "it"
        )


def _changed(
    store: Path, key: Path | None, change: Callable[[CaseRegister], CaseRegister]
) -> CaseRegister:
    extra_package("ibis", "the watch", "watch")
    with open_store(store, None, key, there=True) as held:
        known = held.done(CaseRegister) or CaseRegister()
        changed = change(known)
        if changed != known:
            held.finish(changed)
    return changed
