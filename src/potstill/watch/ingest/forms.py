"""The forms of log that the watch reads, in the order in which they are looked for."""

from __future__ import annotations

from potstill.watch.ingest.form import TrafficForm
from potstill.watch.ingest.form_litellm import LITELLM
from potstill.watch.ingest.form_openai import OPENAI
from potstill.watch.ingest.form_otel import OTEL
from potstill.watch.ingest.form_own import OWN

FORMS: tuple[TrafficForm, ...] = (OWN, LITELLM, *OTEL, OPENAI)
