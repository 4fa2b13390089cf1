"""Whether what a message says can be learnt: text alone, whole, not taken out of the log."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from potstill.logs.call import Reason
from potstill.text.forms import is_text

_OTHER_MEDIA = {
    *("image", "image_url", "input_image", "audio", "audio_url", "input_audio", "output_audio"),
    *("video", "video_url", "input_video", "file", "file_url", "input_file", "document"),
}
# What LiteLLM's proxy writes in place of text, and into the middle of text that it shortens.
_REDACTED = "redacted-by-litellm"
_CUT = re.compile(r"\(litellm_truncated skipped \d+ chars")


def other_than_text(content: Any) -> Reason | None:
    """Return what a list of parts holds beside text: other media, or a refusal."""
    kinds = kinds_in(content)
    if kinds & _OTHER_MEDIA:
        return Reason.MEDIA
    return Reason.REFUSED if "refusal" in kinds else None


def kinds_in(content: Any) -> set[str]:
    """Return the types of the parts that content is made of."""
    parts = content if isinstance(content, list | tuple) else ()
    found = {part.get("type") for part in parts if isinstance(part, Mapping)}
    return {kind for kind in found if isinstance(kind, str)}


def unusable(*texts: str) -> Reason | None:
    """Return why texts cannot be learnt or asked as they stand, None where they can."""
    for text in texts:
        if not is_text(text):
            return Reason.NOT_TEXT
        if text.strip() == _REDACTED:
            return Reason.REDACTED
        if _CUT.search(text):
            return Reason.CUT
    return None
