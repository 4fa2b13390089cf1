"""How many requests this process can have in flight: each is an open file."""

from __future__ import annotations

from potstill.endpoint import complaints
from potstill.endpoint.concurrency import affordable, needed_files, open_files
from potstill.progress import Progress
from potstill.recipe import EndpointConfig


def in_flight_allowed(config: EndpointConfig, progress: Progress) -> int:
    """Return how many requests may be in flight, and say where that is fewer than the recipe's.

    Raises PotstillError, before anything is asked, where there is no room for one.
    """
    wanted = config.max_in_flight
    most_open, are_open = open_files()
    allowed = affordable(wanted, most_open, are_open)
    if allowed < 1:
        raise complaints.too_many_files(most_open, needed_files(1, are_open))
    if allowed < wanted:
        progress.note(
            f"at most {allowed} requests in flight in place of {wanted}: this process may have "
            f"{most_open} files open (ulimit -n)"
        )
    return allowed
