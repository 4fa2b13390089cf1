"""The list beside a store's copy: which accounts in it were injected. No search reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from potstill.work.workdir import Recorded, WorkRecord

if TYPE_CHECKING:
    from potstill.watch.evidence import CampaignsFound
    from potstill.watch.ingest.store import TrafficStore

NOTE = (
    "SIMULATED: this store is a copy into which `potstill watch inject` put simulated campaigns; "
    "act on nothing that is found in it."
)


class InjectedCampaign(Recorded):
    """One campaign: how it was drawn, and its accounts by keyed hash, each with its requests."""

    mechanism: str
    seed: int
    accounts: dict[str, int]


class InjectedCampaigns(WorkRecord):
    """All campaigns that were put into a copy, by name."""

    name: ClassVar[str] = "injected"
    begun_with: ClassVar[bool] = True

    campaigns: dict[str, InjectedCampaign] = Field(default_factory=dict)


def injected_notes(store: TrafficStore) -> tuple[str, ...]:
    """Return a note where a store is a copy with simulated campaigns, else nothing."""
    return (NOTE,) if store.has(InjectedCampaigns) else ()


def with_injected_note(store: TrafficStore, found: CampaignsFound) -> CampaignsFound:
    """Return what was found in a store, with a note where it is a copy with simulated campaigns."""
    return found.model_copy(update={"notes": (*injected_notes(store), *found.notes)})
