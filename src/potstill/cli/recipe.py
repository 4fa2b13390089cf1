"""`potstill recipe`: recipes printed, checked and explained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.common import Debug, Overrides, echo_json, handled, shows_all_letters
from potstill.errors import PotstillError


@handled
def recipe(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="[RECIPE]", help="Check this recipe and print it with defaults."),
    ] = None,
    overrides: Overrides = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print every field with type, default and meaning.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Print a recipe to start from; or check one, or explain the fields."""
    if schema and explain:
        raise PotstillError("--schema and --explain print different things; choose one")
    if schema:
        from potstill.recipe_docs import schema as json_schema

        echo_json(json_schema())
    elif explain:
        _explain()
    elif path is None and not overrides:
        from potstill.recipe_io import packaged_text

        typer.echo(packaged_text("demo"), nl=False)
    else:
        from potstill.recipe_io import dump_recipe, packaged_recipe, read_recipe

        changes = overrides or []
        read = packaged_recipe("demo", changes) if path is None else read_recipe(path, changes)
        typer.echo(dump_recipe(read, escaped=not shows_all_letters()), nl=False)


def _explain() -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from potstill.recipe_docs import rows

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Field", no_wrap=True, style="cyan")
    for head in ("Type", "Default", "What it does"):
        table.add_column(head)
    for row in rows():
        table.add_row(*(Text(t) for t in (row.path, row.kind, row.default, row.description)))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160
    console.print(table)
