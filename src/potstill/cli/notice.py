"""`potstill notice`: what was made of what, in plain words, of a run, a student or a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.common import AsJson, Debug, echo_json, handled


@handled
def notice(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_OR_VERDICT",
            help="A run's directory or name, a student's directory, a trace or its bundle.",
        ),
    ],
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Print what was made of what, by whose leave, what was measured, and how to check it.

    In plain words, as Markdown; the same page is notice.html in a run or a bundle.
    """
    from dataclasses import asdict

    from potstill.runs.verified_any import kind_of

    where = next((at for at in (path, Path("runs") / path) if at.exists()), path)
    if kind_of(where) == "bundle":
        from potstill.cli.trace_view import print_notice

        print_notice(where, None, None, as_json=json)
        return
    from potstill.lineage.document import MANIFEST_FILE, read_manifest
    from potstill.lineage.notice import notice_of_lineage
    from potstill.report.notice import markdown_of

    manifest = read_manifest(where / MANIFEST_FILE)
    found = notice_of_lineage(manifest, manifest.run)
    if json:
        echo_json(asdict(found))
    else:
        typer.echo(markdown_of(manifest.run, manifest.created_at, found))
