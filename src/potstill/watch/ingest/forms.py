"""The forms that potstill brings, in the order in which they are looked for."""

from __future__ import annotations

from functools import cache

from potstill.watch.ingest import form, form_litellm, form_openai, form_otel, form_own


@cache
def ready() -> None:
    """Register potstill's own forms, once."""
    for found in (form_own.OWN, form_litellm.LITELLM, *form_otel.OTEL, form_openai.OPENAI):
        form.register(found)
