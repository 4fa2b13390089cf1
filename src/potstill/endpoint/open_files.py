"""How many requests this process can have in flight: each is an open file."""

from __future__ import annotations

import os
from contextlib import suppress
from types import ModuleType

from potstill.endpoint import complaints
from potstill.endpoint.settings import ServerSettings
from potstill.progress import Progress

resource: ModuleType | None
try:
    import resource
except ImportError:  # Windows, which has no such limit
    resource = None

# What a run opens beside its requests: the store, records, an event loop, name look-ups, modules.
_OPEN_BESIDE = 24


def open_files() -> tuple[int | None, int]:
    """Return how many files this process may have open, None for any number, and how many are."""
    if resource is None:
        return None, 0
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return (None if most == resource.RLIM_INFINITY else most), len(os.listdir(folder))
    return (None if most == resource.RLIM_INFINITY else most), _OPEN_BESIDE


def affordable(wanted: int, most_open: int | None, are_open: int) -> int:
    """Return how many of the wanted requests may be in flight: each holds a file open.

    `most_open` files may be open (None: any number), `are_open` are, and some are left for what
    else a run opens. 0 where there is room for none.
    """
    if most_open is None:
        return wanted
    return max(0, min(wanted, most_open - are_open - _OPEN_BESIDE))


def needed_files(wanted: int, are_open: int) -> int:
    """Return how many open files allow so many requests in flight."""
    return wanted + are_open + _OPEN_BESIDE


def in_flight_allowed(settings: ServerSettings, progress: Progress) -> int:
    """Return how many requests may be in flight, and say where that is fewer than wanted.

    Raises PotstillError, before anything is asked, where there is no room for one.
    """
    wanted = settings.max_in_flight
    most_open, are_open = open_files()
    allowed = affordable(wanted, most_open, are_open)
    if allowed < 1:
        raise complaints.too_many_files(settings, most_open, needed_files(1, are_open))
    if allowed < wanted:
        progress.note(
            f"at most {allowed} requests in flight in place of {wanted}: this process may have "
            f"{most_open} files open (ulimit -n)"
        )
    return allowed
