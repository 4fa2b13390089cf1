"""The command line: one module a verb. Nothing heavy is imported before a verb runs."""

from __future__ import annotations


def main() -> None:
    """Run `potstill`; exits with 0, 2 for an error the user can put right, 130 after Ctrl-C."""
    from potstill.cli.app import run

    run()
