"""What a directory of models gives in the transformers that runs this: logits, ids and texts.

Run by `test_saved_form_slow.py` in an environment of its own; it needs nothing but transformers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = ("The fox sings,\n\nHello  12 x", "naïve ☂ <|im_start|>user", "x = y;\n\treturn 12345")
CHAT = [{"role": "user", "content": "What is a fox?"}]
POSITIONS = 60


def given(directory: Path) -> dict[str, Any]:
    """Return what one saved model says, as plain JSON values and one tensor (`logits`)."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    network = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    ids = torch.tensor([[(7 * i * i + 3 * i) % 300 for i in range(POSITIONS)]])
    read = tokenizer(TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        logits = network(ids).logits[0]
        said = network.generate(**read, max_new_tokens=8, do_sample=False)[0].tolist()
    chat = None
    if tokenizer.chat_template:
        chat = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    encoded = [tokenizer(text)["input_ids"] for text in TEXTS]
    return {
        "logits": logits,
        "ids": encoded,
        "texts": [tokenizer.decode(row) for row in encoded],
        "inputs": sorted(read),
        "chat": chat,
        "ends": network.generation_config.eos_token_id,
        "specials": dict(tokenizer.special_tokens_map),
        "said": said,
    }


def main(models: Path, out: Path) -> None:
    """Write `NAME.json` and `NAME.pt` to `out` for every directory in `models`."""
    for directory in sorted(models.iterdir()):
        found = given(directory)
        torch.save(found.pop("logits"), out / f"{directory.name}.pt")
        (out / f"{directory.name}.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
