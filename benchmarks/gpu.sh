#!/usr/bin/env bash
# The benchmarks of loss and training step on a CUDA GPU, in bf16: one call, under ten minutes.
# NOT RUN YET: no GPU was at hand when this was written, so no result of it is quoted anywhere.
#
#   benchmarks/gpu.sh [OUT]
#
# Needs potstill with extra `bench`, liger-kernel and PyTorch for CUDA in the python that is called
# (PYTHON=... names another). Vocabularies of 128k to 262k and 8k to 32k tokens; potstill, naive,
# TRL, Liger and orda-kernel; peak is torch.cuda.max_memory_allocated. JSON goes to
# benchmarks/results/loss_gpu.json and train_gpu.json, and what ran longer than its share is cut off.
# A copy of both and the logs goes to OUT (default: benchmarks/results).
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
OUT=${1:-benchmarks/results}
mkdir -p "$OUT"
export PYTHONPATH="src${PYTHONPATH:+:$PYTHONPATH}"

"$PYTHON" -c 'import torch; assert torch.cuda.is_available(), "no CUDA GPU is usable here"' || exit 2

failed=0

# Seconds, name of the log, command: goes on to the next where one fails or takes too long.
limited() {
    local seconds=$1 name=$2
    shift 2
    timeout "$seconds" "$@" 2>&1 | tee "$OUT/$name.log"
    local status=${PIPESTATUS[0]}
    if [ "$status" -ne 0 ]; then
        echo "$name stopped with status $status" >&2
        failed=1
    fi
}

limited 330 loss_gpu "$PYTHON" benchmarks/loss.py --device cuda --width 2048 --rows 8192 \
    --vocabularies 128256 151936 262144 --memory-rows 8192 16384 32768 --runs 7

# 16 rows of 512 tokens: 8k tokens a step.
limited 240 train_gpu "$PYTHON" benchmarks/train.py --device cuda --vocabulary 151936 \
    --rows 16 --length 512 --steps 6 --rounds 1

for name in loss_gpu train_gpu; do
    result=benchmarks/results/$name.json
    if [ -f "$result" ] && [ "$OUT" != benchmarks/results ]; then cp "$result" "$OUT/"; fi
done
exit "$failed"
