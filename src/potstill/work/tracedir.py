"""The directory of a trace: its settings, what of it is done, and the bundle that is handed over.

What lies beside the bundle (settings, records, salts of served text) stays with the owner.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from potstill.recipe.stages import REACHES
from potstill.recipe.trace import TraceConfig
from potstill.work.header import Header
from potstill.work.workdir import WorkDir, WorkRecord

TRACE_FILE = "trace.yaml"
TRACE: Header[TraceConfig] = Header(
    config=TraceConfig, file=TRACE_FILE, settings="trace settings", work="trace"
)

# How a server is reached, what may be spent on it and where a key's file lies decides nothing about
# a plan, which knows the key by its digest: what was set too low is raised without another plan.
DECIDES_NOTHING = frozenset(
    (
        "watermark.key",
        *(f"suspect.endpoint.{name}" for name in (*REACHES, "price_in", "price_out")),
    )
)


class TracePlanned(WorkRecord):
    """The plan that was fixed: its digest, and the chain that it was added to.

    Identity: it is how a plan that was edited afterwards is known.
    """

    name: ClassVar[str] = "planned"
    begun_with: ClassVar[bool] = True

    plan: str
    chain: str


class TraceRun(WorkRecord):
    """A run that came to a verdict: the digest of the verdict's file."""

    name: ClassVar[str] = "run"
    made_again: ClassVar[str] = "the verdict is made again from the raw logs"

    verdict: str


class TraceDir(WorkDir[TraceConfig]):
    """An open directory of a trace; use it as a context manager, or `close` it."""

    records = (TracePlanned, TraceRun)

    @classmethod
    def header(cls) -> Header[TraceConfig]:
        """Return the header of a trace: its settings."""
        return TRACE

    def _go_on(self) -> None:
        """Take over settings that change nothing of a plan; raise PotstillError for others."""
        if self.has(TracePlanned):
            self.header().refuse_other(self.root, self.config, but=DECIDES_NOTHING)
        # Where no plan was fixed, what was refused has been put right since.
        self.header().write(self.root, self.config)

    @property
    def bundle(self) -> Path:
        """The folder that is handed over."""
        return self.root / "bundle"

    @property
    def own(self) -> Path:
        """The folder of what the run needs again and nobody else gets: texts with their salts."""
        return self.root / "own"
