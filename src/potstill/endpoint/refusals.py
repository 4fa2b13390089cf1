"""What a response that is no success means: for this try, this prompt, or the whole run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from potstill.endpoint import complaints
from potstill.endpoint.labels import tells_a_key
from potstill.endpoint.retry import Verdict, retry_after_s, verdict_of
from potstill.endpoint.wire import error_fields
from potstill.recipe import EndpointConfig

TOO_LONG = "the prompt does not fit the server's context"

_CONTEXT = re.compile(
    r"context.?(length|size|window)|exceed.?context|maximum.?context|max_model_len|too.?long|"
    r"above_max_length|input.?length",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(r"model.?not.?(found|exist)|no such model|unknown model", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")


@dataclass(frozen=True)
class Setback:
    """A try that brought no answer, in fixed words.

    `asked_wait_s` is what the server asked to wait. `billed` tells whether it may have generated
    text for it all the same.
    """

    reason: str
    verdict: Verdict
    asked_wait_s: float | None = None
    billed: bool = False


def setback_of(
    path: str,
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    *,
    config: EndpointConfig,
    model: str,
    offered: Sequence[str] | None,
    key: str | None,
    answered_before: bool,
) -> Setback:
    """Return what a status other than 200, of what is at `path`, means for the prompt.

    Raises PotstillError where it means that every other prompt will fare alike: a key, model or
    address that is wrong, no credit. A 403 does so only while nothing was answered yet: later it
    is a judgement of that prompt.
    """
    error = error_fields(content)
    words = " ".join(str(error.get(name) or "") for name in ("code", "type", "message"))
    if 300 <= status < 400:
        raise complaints.redirected(config, status)
    if status == 401 or (status == 403 and not answered_before):
        raise complaints.key_refused(config, status)
    if status == 402 or "insufficient_quota" in words:
        raise complaints.out_of_credit(config, status)
    if path == "completions" and status in (404, 405, 410, 501) and not _NO_MODEL.search(words):
        raise complaints.reads_no_text(config, status)
    if status == 404 or (status == 400 and _NO_MODEL.search(words)):
        raise (
            complaints.unknown_model(config, model, offered)
            if error
            else _nothing(config, path, status)
        )
    if status in (405, 410):
        raise _nothing(config, path, status)
    verdict = verdict_of(status)
    if verdict == "final":
        too_long = _CONTEXT.search(words) or status == 413
        return Setback(TOO_LONG if too_long else _named(status, error, key), verdict)
    wait = retry_after_s(headers, datetime.now(UTC))
    return Setback("rate limited" if verdict == "rate_limit" else f"status {status}", verdict, wait)


def _nothing(config: EndpointConfig, path: str, status: int) -> Exception:
    return complaints.no_openai_server(config, f"{path} gave status {status}")


def _named(status: int, error: Mapping[str, object], key: str | None) -> str:
    """Return a status with the server's own word for the trouble, where it is a mere word."""
    for name in ("param", "code", "type"):
        word = error.get(name)
        if isinstance(word, str) and _WORD.fullmatch(word) and not tells_a_key(word, key):
            return f"status {status} ({word})"
    return f"status {status}"
