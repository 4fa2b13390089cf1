"""`potstill recipe`: recipes printed, checked and explained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.common import Debug, Overrides, echo_json, handled, shows_all_letters
from potstill.errors import PotstillError

_EXPLAINED_WIDTH = 100  # columns


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
        from potstill.recipe.docs import schema as json_schema

        echo_json(json_schema())
    elif explain:
        _explain()
    elif path is None and not overrides:
        from potstill.recipe.io import packaged_text

        typer.echo(packaged_text("start"), nl=False)
    else:
        from potstill.recipe.io import dump_recipe, packaged_recipe, read_recipe

        changes = overrides or []
        read = packaged_recipe("start", changes) if path is None else read_recipe(path, changes)
        typer.echo(dump_recipe(read, escaped=not shows_all_letters()), nl=False)


def _explain() -> None:
    """Print every field, its meaning under it, in at most 100 columns."""
    import shutil
    import textwrap

    from potstill.recipe.docs import rows

    columns = min(shutil.get_terminal_size((_EXPLAINED_WIDTH, 24)).columns, _EXPLAINED_WIDTH)
    for row in rows():
        default = "required" if row.default == "required" else f"default {row.default or 'none'}"
        typer.secho(row.path, bold=True)
        for text, indent in ((f"{row.kind}; {default}", "  "), (row.description, "    ")):
            lines = textwrap.wrap(
                text,
                max(20, columns),
                initial_indent=indent,
                subsequent_indent=indent,
                break_on_hyphens=False,
            )
            typer.echo("\n".join(lines))
        typer.echo("")
