"""Null trials of reading mode with a network: a nano model marks, and reads what it marked."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from potstill.models.chat import prompt_ids
from potstill.models.generate import Request, completions
from potstill.models.likelihood import likelihood_of
from potstill.models.load import load
from potstill.models.sampling import Sampling
from potstill.trace.marks_in_choices import MarkedText
from potstill.watermark.marking import marking
from potstill.watermark.schemes import GreenList, Gumbel

_NANO = Path(__file__).parents[1] / "tests" / "nano"
TEXTS, LENGTH, POSITIONS = 8, 32, 120
# Nano models are sure of themselves: a higher temperature gives texts that differ.
TEMPERATURE = 1.5

Reader = Callable[..., tuple[float, float]]


def nano_p_values(scheme: GreenList | Gumbel, trials: int, seed: int, read: Reader) -> list[float]:
    """Return the randomised p of each trial: fresh key, text marked under it, the teacher reads.

    `read` is given scheme, texts, choices, positions, the trial's number and the vocabulary.
    """
    sys.path.append(str(_NANO))
    from nano_models import build
    from nano_text import prompts

    with tempfile.TemporaryDirectory() as folder:
        model = load(str(build("llama", Path(folder) / "llama")), device="cpu", precision="fp32")
        asked = [tuple(prompt_ids(model, ({"role": "user", "content": p},))) for p in prompts()]
        vocabulary = len(model.tokenizer)
        found = []
        for trial in range(trials):
            keyed = scheme.decoy(10**7 + trial)
            some = [asked[(trial * TEXTS + i) % len(asked)] for i in range(TEXTS)]
            requests = [Request(f"{seed}-{trial}-{i}", ids) for i, ids in enumerate(some)]
            sampling = Sampling(temperature=TEMPERATURE, max_tokens=LENGTH)
            written = completions(model, requests, sampling, choose=marking(keyed))
            texts = [
                MarkedText(salt="0" * 16, prompt_ids=ids, ids=one.token_ids)
                for ids, one in zip(some, written, strict=True)
            ]
            answers = likelihood_of(model, [(text.prompt_ids, text.ids) for text in texts])
            chosen = [one.likeliest_T.tolist() for one in answers.by_text()]
            found.append(read(keyed, texts, chosen, POSITIONS, trial, vocabulary)[0])
    return found
