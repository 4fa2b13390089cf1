#!/usr/bin/env bash
# The benchmarks of loss, training step and packed rows on a CUDA GPU, in bf16, and the tests that
# need one: give it thirteen minutes (FlexAttention compiles), or name the parts that are to run.
#
#   benchmarks/gpu.sh [OUT [tests|loss|train|packing]...]
#
# Needs potstill with extras `bench` and `dev`, liger-kernel and PyTorch for CUDA in the python that
# is called (PYTHON=... names another). Vocabularies of 128k to 262k and 8k to 32k tokens; potstill,
# naive, TRL, Liger and orda-kernel; peak is torch.cuda.max_memory_allocated. JSON goes to
# benchmarks/results/{loss,train,packing}_gpu.json, and what ran longer than its share is cut off.
# A copy of them and the logs goes to OUT (default: benchmarks/results). Where there is no git,
# POTSTILL_COMMIT names the commit.
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
OUT=${1:-benchmarks/results}
mkdir -p "$OUT"
shift || true
parts=" ${*:-tests loss train packing} "
export PYTHONPATH="src${PYTHONPATH:+:$PYTHONPATH}"

"$PYTHON" -c 'import torch; assert torch.cuda.is_available(), "no CUDA GPU is usable here"' || exit 2

failed=0

# Seconds, name of the part, command: goes on to the next where one fails or takes too long.
limited() {
    local seconds=$1 name=$2_gpu
    case $parts in *" $2 "*) ;; *) return ;; esac
    shift 2
    timeout "$seconds" "$@" 2>&1 | tee "$OUT/$name.log"
    local status=${PIPESTATUS[0]}
    if [ "$status" -ne 0 ]; then
        echo "$name stopped with status $status" >&2
        failed=1
    fi
}

limited 120 tests "$PYTHON" -m pytest -q tests/losses/test_part.py tests/train -k gpu

limited 180 loss "$PYTHON" benchmarks/loss.py --device cuda --width 2048 --rows 8192 \
    --vocabularies 128256 151936 262144 --memory-rows 8192 32768 --runs 7

# 16 rows of 512 tokens: 8k tokens a step.
limited 320 train "$PYTHON" benchmarks/train.py --device cuda --vocabulary 151936 \
    --rows 16 --length 512 --steps 6 --rounds 1

limited 160 packing "$PYTHON" benchmarks/packing.py --device cuda --vocabulary 151936 \
    --tokens 16384 --longest 4096 --texts 3000 --rounds 1

for name in loss_gpu train_gpu packing_gpu; do
    result=benchmarks/results/$name.json
    if [ -f "$result" ] && [ "$OUT" != benchmarks/results ]; then cp "$result" "$OUT/"; fi
done
exit "$failed"
