"""`potstill sign`: a finished run's manifest and its student's, signed by a key or an account."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.common import Debug, handled
from potstill.errors import PotstillError


@handled
def sign(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_OR_STUDENT", help="A run's directory or name, or a student's directory."
        ),
    ],
    key: Annotated[
        Path | None,
        typer.Option(
            "--key", metavar="FILE", help="A private key (PEM); without it potstill's own."
        ),
    ] = None,
    identity: Annotated[
        str | None,
        typer.Option(
            "--identity",
            metavar="NAME",
            help="Sign as this account, over the network (Sigstore): the signature is public.",
        ),
    ] = None,
    issuer: Annotated[
        str | None,
        typer.Option("--issuer", metavar="URL", help="Who vouches for that account."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Sign a finished run and its student anew; a run signs itself when it ends.

    Everything has to be as it was listed. What was added since is listed with the rest.
    """
    from potstill.lineage.keys import SigningKey, local_key, read_signing_key
    from potstill.lineage.manifest import MANIFEST_FILE, STUDENT
    from potstill.lineage.manifest import sign as sign_directory
    from potstill.lineage.signing import Signer, SigstoreIdentity

    if (identity is None) != (issuer is None) or (identity and key):
        raise PotstillError(
            "give --key, or both --identity and --issuer, or none of them for potstill's own key"
        )
    where = next((at for at in (path, Path("runs") / path) if at.exists()), path)
    if where.name == STUDENT and (where.parent / MANIFEST_FILE).is_file():
        raise PotstillError(
            f"{where} lies in a run, whose manifest lists its signature; sign {where.parent}, or a "
            "copy of the student elsewhere"
        )
    signer: Signer
    if identity is not None and issuer is not None:
        signer = SigstoreIdentity(identity, issuer)
        by = identity
    else:
        signer = local_key() if key is None else read_signing_key(key)
        by = f"the key {signer.public.fingerprint}"
    sign_directory(where, signer)
    typer.echo(f"{where}: signed by {by}")
    if isinstance(signer, SigningKey) and key is None:
        typer.echo(f"give whoever verifies it the public key {signer.path}.pub")
