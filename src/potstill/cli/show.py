"""`potstill show`: where a run stands and what came of it."""

from __future__ import annotations

from potstill.cli.common import AsJson, Debug, RunPath, echo_json, handled


@handled
def show(run: RunPath, json: AsJson = False, debug: Debug = False) -> None:
    """Print a run's headline, fidelity, cost and collection; or where it stands."""
    from potstill.cli import run_view

    standing = run_view.read(run)
    if json:
        echo_json(run_view.as_json(standing))
    else:
        run_view.print_run(standing)
