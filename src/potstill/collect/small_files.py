"""How to divide a file with few prompts, where a recipe's counts leave none to train on."""

from __future__ import annotations

# Of a small file two fifths are held out and a twelfth is for validation; the rest is trained on.
_HELD_OUT = 2 / 5
_VALIDATION = 1 / 12


def fitting_counts(prompts: int) -> tuple[int, int]:
    """Return how many of so many prompts (at least 3) to hold out, and how many for validation."""
    return max(1, int(prompts * _HELD_OUT)), max(1, int(prompts * _VALIDATION))


def way_out(prompts: int, *, own_held_out: bool, taken: int | None = None) -> str:
    """Return what to do where a source of so many prompts leaves none to train on.

    `own_held_out`: held-out prompts come from another source, so that none of these are needed.
    `taken`: how many are held out or for validation; where others were left, other counts would
    not help: those were too like the held-out ones.
    """
    if taken is not None and taken < prompts:
        return (
            "its prompts are too alike to be told apart from held-out ones; give more prompts, or "
            "others that differ in more words"
        )
    if prompts < (2 if own_held_out else 3):
        least = "2 prompts" if own_held_out else "3 prompts: one to hold out, one for validation"
        return f"give at least {least}, and better hundreds"
    held_out, validation = fitting_counts(prompts)
    counts = [] if own_held_out else [f"prompts.held_out_count to {held_out}"]
    counts.append(f"prompts.validation_count to {validation}")
    return f"give more prompts, or set {' and '.join(counts)}, which fit {prompts} prompts"
