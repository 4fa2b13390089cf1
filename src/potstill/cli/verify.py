"""`potstill verify`: a run, a student or a trace's bundle, checked by whoever gets it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.common import AsJson, Debug, handled


@handled
def verify(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_OR_STUDENT", help="A run's or a student's directory, or a trace's bundle."
        ),
    ],
    key: Annotated[
        list[Path] | None,
        typer.Option(
            "--key",
            metavar="PUB",
            help="The public key of whoever has to have signed. May be repeated for ancestors.",
        ),
    ] = None,
    identity: Annotated[
        str | None,
        typer.Option(
            "--identity", metavar="NAME", help="The account that has to have signed (Sigstore)."
        ),
    ] = None,
    issuer: Annotated[
        str | None,
        typer.Option("--issuer", metavar="URL", help="Who vouches for that account."),
    ] = None,
    ancestor: Annotated[
        list[Path] | None,
        typer.Option(
            "--ancestor",
            metavar="DIR",
            help="The directory of a model that it was made of. May be repeated.",
        ),
    ] = None,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Check files, signature, figures, overlap and ancestors; loads no model, asks nobody.

    Without --key or --identity anybody may have signed: then it says no more than that nothing
    was changed since.
    """
    from potstill.cli.verify_view import print_lineage, verify_bundle

    where = next((at for at in (path, Path("runs") / path) if at.exists()), path)
    from potstill.runs.verified_any import expected_signer, kind_of

    kind = kind_of(where)
    if kind == "bundle":
        verify_bundle(where, given=bool(key or identity or issuer or ancestor), as_json=json)
        return
    expected = expected_signer(key or (), identity, issuer)
    print_lineage(where, kind, expected, ancestor or (), as_json=json)
