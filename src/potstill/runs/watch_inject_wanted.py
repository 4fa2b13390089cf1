"""What is asked of `potstill watch inject`, and what of it no campaign can be made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from potstill.errors import PotstillError

_LEAST_ACCOUNTS, _MOST_ACCOUNTS = 4, 20_000
_MOST_A_DAY = 500_000  # requests, whose texts are held together


@dataclass(frozen=True)
class InjectWanted:
    """Campaigns to inject, one of each mechanism, and where to.

    Without a `rate` (requests an account and day) each account asks as much as its lender. Without
    `first` and `last` they last all days; `products` are those of the traffic that they use.
    `work` is an awkward kind of the simulator, whose prompts they write; drawn where it is None.
    """

    store: Path
    into: Path
    mechanisms: tuple[str, ...] = ("sharded",)
    accounts: int = 100
    rate: float | None = None
    mix: float = 0.25
    work: str | None = None
    first: str | None = None
    last: str | None = None
    products: tuple[str, ...] = ()
    seed: int = 0
    level: float = 0.05
    key: Path | None = None


def mechanisms() -> dict[str, str]:
    """Return the mechanisms that can be injected, each with what it does.

    A pivot to a new model is none: models are borrowed from the traffic.
    """
    from potstill.simulator.grid import HELD_OUT, OPEN

    every = {**OPEN, **HELD_OUT}
    return {
        name: (made.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        for name, made in every.items()
        if name != "pivot"
    }


def require_injectable(wanted: InjectWanted) -> None:
    """Raise PotstillError for what no campaign can be made of, and for a place that is taken."""
    from potstill.simulator.spec import AWKWARD

    known = mechanisms()
    for name in wanted.mechanisms:
        if name not in known:
            raise PotstillError(f"--mechanism is one of {', '.join(known)}")
    if wanted.work not in (None, *AWKWARD):
        raise PotstillError(f"--work is one of {', '.join(AWKWARD)}")
    if not _LEAST_ACCOUNTS <= wanted.accounts <= _MOST_ACCOUNTS:
        raise PotstillError(
            f"--accounts is {_LEAST_ACCOUNTS} to {_MOST_ACCOUNTS:,}: fewer are never a campaign"
        )
    if not 0 <= wanted.mix < 1:
        raise PotstillError("--mix is a share of requests, from 0 to below 1; try 0.25")
    if wanted.rate is not None and not 0 < wanted.rate <= 100_000:
        raise PotstillError("--rate is a number of requests an account and day, above 0; try 26")
    if wanted.accounts * (wanted.rate or 0) > _MOST_A_DAY:
        raise PotstillError(
            f"a campaign of more than {_MOST_A_DAY:,} requests a day is not injected; take fewer "
            "--accounts or a lower --rate"
        )
    if wanted.seed < 0:
        raise PotstillError("--seed is a whole number from 0 on")
    one, other = wanted.store.resolve(), wanted.into.resolve()
    if one == other or one in other.parents or other in one.parents:
        raise PotstillError(
            f"{wanted.into} and {wanted.store} lie in one another; --into names a new directory, "
            "and the store itself is never changed"
        )
    for option, day in (("--first-day", wanted.first), ("--last-day", wanted.last)):
        if day is not None:
            _require_date(option, day)
    require_free(wanted.into)


def require_free(into: Path) -> None:
    """Raise PotstillError where something lies in the place of the copy."""
    if into.exists() and not (into.is_dir() and not any(into.iterdir())):
        raise PotstillError(f"{into} is there already; --into names a new directory")


def _require_date(option: str, day: str) -> None:
    try:
        date.fromisoformat(day)
    except ValueError:
        raise PotstillError(f"{option} takes a date, for example 2026-03-01") from None
