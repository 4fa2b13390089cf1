"""`potstill watermark`: make keys for marks, and look for marks in texts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.common import AsJson, Debug, Quiet, echo_json, handled, progress_for

app = typer.Typer(help="Mark what a model writes, and find the mark.", no_args_is_help=True)

KeyPath = Annotated[
    Path, typer.Option("--key", metavar="KEY", help="File of the key, as keygen wrote it.")
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        metavar="T",
        help="The marked model, or a folder with its tokenizer.json. Stored token ids need none.",
    ),
]
SchemeName = Annotated[
    str | None,
    typer.Option(
        "--scheme",
        metavar="SCHEME",
        help="green, gumbel, vllm-gumbel, vllm-dual-key or vllm-sbw; without it what the key's "
        "file or its record says.",
    ),
]
Window = Annotated[
    int | None, typer.Option("--window", metavar="K", help="Tokens in a window of the scheme.")
]
Gamma = Annotated[
    float | None, typer.Option("--gamma", metavar="SHARE", help="Share of green tokens.")
]
Delta = Annotated[
    float | None,
    typer.Option("--delta", metavar="NATS", help="What marking adds to the logit of green tokens."),
]


@app.callback()
def root() -> None:
    """Mark what a model writes, and find the mark."""


@app.command()
@handled
def keygen(
    key: Annotated[Path, typer.Argument(metavar="KEY", help="The new file.")],
    scheme: SchemeName = None,
    master: Annotated[
        Path | None,
        typer.Option("--from", metavar="MASTER", help="Take the key of an epoch of this master."),
    ] = None,
    epoch: Annotated[
        str | None, typer.Option("--epoch", metavar="NAME", help="The epoch, for example 2026-12.")
    ] = None,
    window: Window = None,
    gamma: Gamma = None,
    delta: Delta = None,
    tokenizer: Tokenizer = None,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write a new key into a file of your own (mode 0600), and print its digest.

    What is known of its marks (--scheme with its parameters, --tokenizer) is kept beside it.
    """
    from potstill.cli import watermark_view
    from potstill.runs.mark_keys import KeyWanted, make_key

    made = make_key(KeyWanted(key, scheme, master, epoch, window, gamma, delta, tokenizer))
    if made.warning is not None:
        typer.echo(f"warning: {made.warning}", err=True)
    if json:
        echo_json(watermark_view.key_as_json(made))
    else:
        watermark_view.print_key(made)


@app.command()
@handled
def detect(
    texts: Annotated[
        list[str],
        typer.Argument(
            metavar="TEXTS...",
            help="Files of text, logs of calls, tables of texts or token ids, folders of these; - "
            "reads from stdin.",
        ),
    ],
    key: KeyPath,
    tokenizer: Tokenizer = None,
    scheme: SchemeName = None,
    epoch: Annotated[
        str | None,
        typer.Option(
            "--epoch", metavar="NAME", help="Which epoch of a master key marked the text."
        ),
    ] = None,
    window: Window = None,
    gamma: Gamma = None,
    delta: Delta = None,
    per_document: Annotated[
        bool, typer.Option("--per-document", help="Give a p-value of every text, too.")
    ] = False,
    decoys: Annotated[
        int,
        typer.Option(
            metavar="N", help="Check with N (1,000 or more) other keys that p-values are uniform."
        ),
    ] = 0,
    wanted: Annotated[
        float,
        typer.Option("--p", metavar="P", help="The p-value that a text's length is named for."),
    ] = 1e-6,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Look for a key's marks in texts, with an exact p-value over all of them.

    Of calls the answers are scored, never the prompts.
    """
    from potstill.cli import watermark_view
    from potstill.runs.marks import MarkQuery, find_marks, looking_for

    with watermark_view.with_stdin(texts, sys.stdin) as paths:
        query = MarkQuery(
            paths=tuple(paths),
            key=key,
            scheme=scheme,
            epoch=epoch,
            window=window,
            gamma=gamma,
            delta=delta,
            tokenizer=tokenizer,
            looking=looking_for(p=wanted, each=per_document, decoys=decoys),
        )
        found = find_marks(query)
    for warning in found.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if json:
        echo_json(watermark_view.as_json(found))
    else:
        watermark_view.print_found(found)


@app.command()
@handled
def calibrate(
    tokenizer: Annotated[
        str,
        typer.Option("--tokenizer", metavar="T", help="Whose vocabulary: a model, or a folder."),
    ],
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXTS...]", help="Text of your own without a mark, in what detect reads."
        ),
    ] = None,
    scheme: SchemeName = None,
    window: Window = None,
    gamma: Annotated[
        float | None,
        typer.Option(
            "--gamma", metavar="SHARE", help="Share of green tokens; 0.5 where none is stated."
        ),
    ] = None,
    trials: Annotated[
        int, typer.Option("--trials", metavar="N", help="Sets of texts for each scheme and kind.")
    ] = 2_000,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Draws other texts.")] = 0,
    quiet: Quiet = False,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Try the p-values on text without a mark: drawn from a vocabulary, and your own."""
    from potstill.cli import watermark_view
    from potstill.runs.mark_calibration import CalibrationWanted, calibrate_marks

    wanted = CalibrationWanted(
        tokenizer=tokenizer,
        paths=tuple(texts or ()),
        scheme=scheme,
        window=window,
        gamma=gamma,
        trials=trials,
        seed=seed,
    )
    found = calibrate_marks(wanted, progress_for(quiet))
    if json:
        echo_json({"schema": "potstill/watermark-calibration/1", **found.as_dict()})
    else:
        watermark_view.print_calibration(found)
