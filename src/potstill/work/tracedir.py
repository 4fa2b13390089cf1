"""The directory of a trace: its settings, what of it is done, and the bundle that is handed over.

What lies beside the bundle (settings, records, salts of served text) stays with the owner.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from potstill.recipe.trace import TraceConfig
from potstill.work.header import Header
from potstill.work.workdir import WorkDir, WorkRecord

TRACE_FILE = "trace.yaml"
TRACE: Header[TraceConfig] = Header(
    config=TraceConfig, file=TRACE_FILE, settings="trace settings", work="trace"
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

    @property
    def bundle(self) -> Path:
        """The folder that is handed over."""
        return self.root / "bundle"

    @property
    def own(self) -> Path:
        """The folder of what the run needs again and nobody else gets: texts with their salts."""
        return self.root / "own"
