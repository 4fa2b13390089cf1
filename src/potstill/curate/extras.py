"""Packages that only some filters need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from potstill.errors import PotstillError


def extra_package(name: str, setting: str) -> Any:
    """Return a package of the extra `curate`; raises PotstillError where it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        raise PotstillError(
            f"{setting} needs the package {name.partition('.')[0]}; "
            "run `pip install potstill[curate]`"
        ) from None
