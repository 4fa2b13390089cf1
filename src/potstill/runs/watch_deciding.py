"""What people decide about cases: closed, opened again, accounts that are let be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from potstill.errors import PotstillError
from potstill.extras import extra_package
from potstill.runs.watching import open_store
from potstill.text.forms import is_text
from potstill.watch.case.register import (
    CaseRegister,
    closed_register,
    reopened_register,
)


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


def allow(
    store: Path,
    accounts: Sequence[str],
    tenants: Sequence[str],
    because: str,
    *,
    remove: bool = False,
    key: Path | None = None,
) -> CaseRegister:
    """Put accounts and tenants on the allow-list, or take them off; without any return it.

    What is on it is left out of every later search, as if it were not there. Raises PotstillError
    without a reason, and for one to be taken off that is not on it.
    """
    if (accounts or tenants) and not remove and not because.strip():
        raise PotstillError("say why, for those who come later: --because TEXT")
    _require_text(because, *accounts, *tenants)

    def change(known: CaseRegister) -> CaseRegister:
        named = {"accounts": dict(known.accounts), "tenants": dict(known.tenants)}
        for kind, names in (("accounts", accounts), ("tenants", tenants)):
            for name in names:
                if not remove:
                    named[kind][name] = because
                elif named[kind].pop(name, None) is None:
                    raise PotstillError(
                        f"one of the {kind} is not on the allow-list; `potstill watch allow "
                        "STORE` lists it"
                    )
        return known.model_copy(update=named)

    return _changed(store, key, change)


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
