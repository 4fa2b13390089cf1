"""Which conversations become the same ids."""

from __future__ import annotations

from potstill.canonical import canonical_text, digest_of
from potstill.models.conversation.conversation import Conversation


def fingerprint_of(spoken: Conversation) -> str:
    """Return a digest of all that decides which ids a conversation becomes."""
    template = spoken.template
    how = None if template is None else [template.source(), template.today.isoformat()]
    arguments = canonical_text(dict(spoken.arguments))
    tokens = spoken.tokenizer.backend_tokenizer.to_str()
    return digest_of([tokens, how, arguments, spoken.end, list(spoken.stop_ids)])
