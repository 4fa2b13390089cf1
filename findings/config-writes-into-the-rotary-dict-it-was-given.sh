#!/usr/bin/env bash
# transformers 5.24.0 (Python 3.11 or newer, no torch needed)
#
# Assumed: a config copies the rotary settings that it is given, so that one dict may serve for
#   several configs, each with a base of its own.
# Seen: the config keeps the caller's dict and writes its own base (and rotated share) into it. The
#   next config takes those before its own argument: a Llama asked for base 500000 gets the 10000 of
#   the config made before it, and the half rotation of a GLM. No error, no warning.
# Output:
#   the caller's dict: {'factor': 3.0, 'rope_type': 'linear', 'rope_theta': 10000.0}
#   asked for base 500000.0, got 10000.0
#   a Llama made after a GLM rotates 0.5 of each head
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet transformers==5.24.0
HF_HUB_OFFLINE=1 "$work/env/bin/python" - 2>/dev/null <<'PY'
import sys
from transformers import GlmConfig, LlamaConfig

given = {"rope_type": "linear", "factor": 3.0}
LlamaConfig(rope_theta=10000.0, rope_scaling=given)
second = LlamaConfig(rope_theta=500000.0, rope_scaling=given)
print("the caller's dict:", given)
got = second.rope_parameters["rope_theta"]
print(f"asked for base 500000.0, got {got}")
given = {"rope_type": "linear", "factor": 3.0}
GlmConfig(rope_scaling=given)
share = LlamaConfig(rope_scaling=given).rope_parameters.get("partial_rotary_factor", 1.0)
print(f"a Llama made after a GLM rotates {share} of each head")
sys.exit(0 if (got, share) == (10000.0, 0.5) else 1)
PY
