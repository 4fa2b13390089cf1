#!/usr/bin/env bash
# transformers 5.24.0 and 4.57.6 (Python 3.11 or newer, no torch needed)
#
# Assumed: a model directory that transformers 5 saved either loads in 4.57 as the same model, or
#   4.57 refuses it or warns.
# Seen: 5.24 writes the rotary base as rope_parameters.rope_theta alone. 4.57 reads rope_theta at the
#   top, does not find it, and takes its default: a Llama of base 500000 becomes one of base 10000,
#   with no error and no warning. The weights fit, so the model loads and answers differently. So does
#   the rotated share of GPT-NeoX: 0.5 becomes 0.25.
# Output:
#   saved by 5.24.0: llama base 500000.0, neox share 0.5
#   read by 4.57.6: llama base 10000.0, neox share 0.25, warnings 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for version in 5.24.0 4.57.6; do
  python3 -m venv "$work/$version"
  "$work/$version/bin/pip" install --quiet "transformers==$version"
done
export HF_HUB_OFFLINE=1
"$work/5.24.0/bin/python" - "$work" 2>/dev/null <<'PY'
import sys
import transformers
from transformers import GPTNeoXConfig, LlamaConfig

base = LlamaConfig(rope_theta=500000.0)
share = GPTNeoXConfig(rotary_pct=0.5)
base.save_pretrained(sys.argv[1] + "/llama")
share.save_pretrained(sys.argv[1] + "/neox")
print(
    f"saved by {transformers.__version__}: llama base {base.rope_parameters['rope_theta']}, "
    f"neox share {share.rope_parameters['partial_rotary_factor']}"
)
PY
"$work/4.57.6/bin/python" - "$work" 2>/dev/null <<'PY'
import logging
import sys
import warnings

seen = []


class Count(logging.Handler):
    def emit(self, record):
        seen.append(record.getMessage())


import transformers
from transformers import AutoConfig

logging.getLogger("transformers").addHandler(Count(level=logging.WARNING))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    base = AutoConfig.from_pretrained(sys.argv[1] + "/llama")
    share = AutoConfig.from_pretrained(sys.argv[1] + "/neox")
print(
    f"read by {transformers.__version__}: llama base {base.rope_theta}, neox share "
    f"{share.rotary_pct}, warnings {len(seen) + len(caught)}"
)
same = (base.rope_theta, share.rotary_pct, len(seen) + len(caught)) == (10000.0, 0.25, 0)
sys.exit(0 if same else 1)
PY
