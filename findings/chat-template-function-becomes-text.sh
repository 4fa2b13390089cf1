#!/usr/bin/env bash
# transformers 5.24.0 and 4.57.6 (Python 3.11 or newer, no torch needed)
#
# Assumed: apply_chat_template hands its further arguments to the template, as its documentation says,
#   so that a function passed as strftime_now stands in for the clock: the way to render a template that
#   writes today's date (Llama 3.2, gpt-oss, SmolLM3) alike on every day, as 4.57 does.
# Seen: 5.24 rebuilds every argument from plain JSON types first. A function arrives in the template as
#   the text "<function>": the template's call of it is an error, and a template that only writes the
#   argument writes that text, without a word.
# Output:
#   4.57.6: called: 'on 2026-01-02', written: 'function'
#   5.24.0: called: TypeError, written: '<function>'
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1
for version in 4.57.6 5.24.0; do
  python3 -m venv "$work/$version"
  "$work/$version/bin/pip" install --quiet "transformers==$version" "jinja2==3.1.6"
  "$work/$version/bin/python" - "$version" 2>/dev/null <<'PY'
import sys

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE({"a": 0}, [])))
messages = [{"role": "user", "content": "a"}]


def fixed(form):
    return "2026-01-02"


def rendered(template):
    try:
        text = tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=False, strftime_now=fixed
        )
    except Exception as error:
        return type(error).__name__
    return repr("function" if text.startswith("<function rendered") or "fixed" in text else text)


called = rendered("{{ 'on ' + strftime_now('%Y-%m-%d') }}")
written = rendered("{{ strftime_now }}")
print(f"{sys.argv[1]}: called: {called}, written: {written}")
expected = {
    "4.57.6": ("'on 2026-01-02'", "'function'"),
    "5.24.0": ("TypeError", "'<function>'"),
}
sys.exit(0 if (called, written) == expected[sys.argv[1]] else 1)
PY
done
