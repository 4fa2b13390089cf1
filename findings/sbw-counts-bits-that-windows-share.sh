#!/usr/bin/env bash
# sbw 1.0.0 (torch 2.13.0, transformers 5.24.0, Python 3.11.7, CPU)
#
# Assumed: a detector that scores every distinct window once, as its default ignore_repeated_ngrams
#   says, calls text without a mark marked at z > 4 about 3 times in 100,000.
# Seen: with selfhash, the scheme that its vLLM plugin marks with, the bit of a token depends on the
#   least of a few products, each of the token and one other of the window. Windows that differ in the
#   other tokens share that bit, and each is counted. Python's own help texts, cut into 1,000 words, are
#   called marked under 8 of 200 random keys, into 5,000 words under 21 of 200.
# Output:
#   1000 words: 8 of 200 called marked, sd of z 2.23
#   5000 words: 21 of 200 called marked, sd of z 3.48
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "sbw==1.0.0" "torch==2.13.0" "transformers==5.24.0"
"$work/venv/bin/python" - 2>/dev/null <<'PY'
import random
import re
import statistics
import sys
from pydoc_data.topics import topics

import torch
from sbw import WatermarkDetector
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

words = re.findall(r"\w+|[^\w\s]", " ".join(topics[name] for name in sorted(topics)))
vocabulary = {word: i for i, word in enumerate(sorted(set(words)))}
plain = Tokenizer(models.WordLevel(vocabulary, unk_token=words[0]))
plain.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain)
keys = random.Random(0)
for length in (1000, 5000):
    marked, scores = 0, []
    for i in range(200):
        detector = WatermarkDetector(
            device=torch.device("cpu"),
            tokenizer=tokenizer,
            vocab=list(range(len(vocabulary))),
            seeding_scheme="gpu-fused-selfhash-fullvocab",
            hash_key=keys.randrange(1, 2**31),
            normalizers=[],
        )
        text = words[i * length % (len(words) - length) :][:length]
        found = detector.detect(tokenized_text=torch.tensor([vocabulary[word] for word in text]))
        marked += found["prediction"]
        scores.append(found["z_score"])
    print(
        f"{length} words: {marked} of 200 called marked, sd of z {statistics.pstdev(scores):.2f}"
    )
    if marked < 3 or statistics.pstdev(scores) < 1.5:
        sys.exit("it no longer calls unmarked text marked")
PY
