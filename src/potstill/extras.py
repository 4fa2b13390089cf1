"""Packages that only some of what potstill does needs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from potstill.errors import PotstillError


def extra_package(name: str, needed_by: str, extra: str = "curate") -> Any:
    """Return a module of a package of an extra; raises PotstillError where it is not installed.

    `needed_by` begins the sentence: a field of the recipe, or what is done with the package.
    """
    try:
        return import_module(name)
    except ImportError:
        raise PotstillError(
            f"{needed_by} needs the package {name.partition('.')[0]}; "
            f"run `pip install potstill[{extra}]`"
        ) from None
