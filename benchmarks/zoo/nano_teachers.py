"""Nano teachers: small Llama-like networks that write text of a stated entropy.

How easily a mark shows depends on how sure the model is that writes it. A nano teacher is sure to
a degree that is stated: the mean entropy of its next-token distribution over text that it drew
itself, at temperature 1 without truncation, is 1, 2 or 3 nats within a tenth. It comes to that by
learning a language of that entropy, never by a temperature.

The languages are made up (potstill.runs.made_up).

    python benchmarks/zoo/nano_teachers.py FOLDER [--seed 0] [--language 0]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from potstill.models.generate import Request, completions
from potstill.models.load import head_of, load
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling
from potstill.runs.made_up import LONGEST, Language, tokenizer_of, untrained_network

# The entropies that are made, and those of the languages that are taught for them: a network that
# learns for half a minute is less sure than its language.
TAUGHT = {1.0: 0.85, 2.0: 1.8, 3.0: 2.7}
# How far from what is stated the measured entropy may lie.
WITHIN = 0.1
MAX_TOKENS = LONGEST
_CARD = (
    "---\nlicense: apache-2.0\nlibrary_name: transformers\n---\n\n"
    "A nano model that speaks a made-up language of a stated entropy.\n"
)


def prompt_ids(tokenizer: Any, prompt: str) -> tuple[int, ...]:
    """Return the ids of a prompt as the chat template puts it."""
    head = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    return tuple(tokenizer(head, add_special_tokens=False)["input_ids"])


@dataclass(frozen=True)
class Training:
    """How a nano network learns rows of ids: cross-entropy on what follows each row's prompt."""

    steps: int = 300
    rows: int = 16
    learning_rate: float = 6e-3


def train(
    network: Any,
    rows: Sequence[tuple[Sequence[int], Sequence[int]]],
    how: Training,
    draws: Sequence[torch.Tensor] | None = None,
) -> float:
    """Train in place on rows of (prompt ids, response ids) in their order, round and round.

    `draws` are for each row K tokens at each response position, draws_RK, which are learnt in
    place of the text's own. Returns the mean loss of the last tenth of the steps, in nats a
    response token.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=how.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, how.learning_rate, how.steps, pct_start=0.1
    )
    losses = []
    network.train()
    for step in range(how.steps):
        at = [(step * how.rows + i) % len(rows) for i in range(how.rows)]
        ids_BT, labels_BT = _batch([rows[i] for i in at])
        hidden_BTD = network.model(input_ids=ids_BT, use_cache=False).last_hidden_state
        taught_BT = labels_BT != -100
        logits_NV = network.lm_head(hidden_BTD[taught_BT])
        if draws is None:
            loss = F.cross_entropy(logits_NV, labels_BT[taught_BT])
        else:
            drawn_NK = torch.cat([draws[i] for i in at]).long()
            loss = -logits_NV.log_softmax(-1).gather(1, drawn_NK).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    network.eval()
    return float(np.mean(losses[-max(1, how.steps // 10) :]))


def _batch(
    rows: Sequence[tuple[Sequence[int], Sequence[int]]],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids_BT and labels_BT, the response token that follows each, -100 where none does."""
    width = max(len(prompt) + len(response) for prompt, response in rows) - 1
    ids_BT = torch.zeros(len(rows), width, dtype=torch.long)
    labels_BT = torch.full((len(rows), width), -100)
    for b, (prompt, response) in enumerate(rows):
        whole = torch.tensor([*prompt, *response])
        ids_BT[b, : len(whole) - 1] = whole[:-1]
        labels_BT[b, len(prompt) - 1 : len(whole) - 1] = whole[len(prompt) :]
    return ids_BT, labels_BT


@dataclass(frozen=True)
class Made:
    """A nano teacher in `directory`; `entropy` is what was measured, on `tokens` of its own."""

    directory: Path
    nats: float
    seed: int
    language: int
    entropy: float
    tokens: int
    language_nats: float
    loss: float
    parameters: int
    seconds: float

    def language_of(self) -> Language:
        """Return the language that it was taught, which has prompts as well."""
        return Language(self.language_nats, self.language)


def nano_teacher(
    nats: float, folder: Path, *, seed: int = 0, language: int = 0, how: Training | None = None
) -> Made:
    """Return a nano teacher of about `nats` of entropy a token, made in `folder` where it is new.

    `seed` decides its weights and the text that it learns from, `language` the words, grammar and
    tokenizer. Raises ValueError where the measured entropy is not within a tenth of `nats`, or is
    none of those that are known to be reached.
    """
    name = f"nats-{nats:g}-seed-{seed}-language-{language}"
    directory, known = folder / name, folder / name / "nano.json"
    if known.is_file():
        facts = json.loads(known.read_text(encoding="utf-8"))
        return Made(**{**facts, "directory": directory})
    if nats not in TAUGHT:
        raise ValueError(f"nano teachers are made of {', '.join(map(str, TAUGHT))} nats")
    started = time.perf_counter()
    taught = Language(TAUGHT[nats], language)
    tokenizer = tokenizer_of(taught)
    how = how or Training()
    network = untrained_network(tokenizer, seed)
    loss = train(network, rows_of(taught, tokenizer, how.steps * how.rows, 2 * seed), how)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=folder, prefix=f".{name}-"))
    network.save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    (unfinished / "README.md").write_text(_CARD, encoding="utf-8")
    model = load(str(unfinished), device="cpu", precision="fp32")
    entropy, tokens = own_entropy(model, [p for p, _ in taught.exchanges(96, 2 * seed + 1)])
    made = Made(
        directory=directory,
        nats=nats,
        seed=seed,
        language=language,
        entropy=entropy,
        tokens=tokens,
        language_nats=taught.nats,
        loss=loss,
        parameters=sum(p.numel() for p in network.parameters()),
        seconds=round(time.perf_counter() - started, 1),
    )
    if abs(entropy - nats) > WITHIN * nats:
        shutil.rmtree(unfinished)
        raise ValueError(f"a nano teacher came to {entropy:.2f} nats instead of {nats:g}")
    facts = {k: v for k, v in asdict(made).items() if k != "directory"}
    (unfinished / "nano.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    try:
        os.replace(unfinished, directory)
    except OSError:  # another process was faster; its model is the same
        shutil.rmtree(unfinished)
    return made


def rows_of(
    language: Language, tokenizer: Any, count: int, seed: int
) -> list[tuple[tuple[int, ...], list[int]]]:
    """Return exchanges as (prompt ids, response ids), each ended or cut at `MAX_TOKENS`."""
    pairs = language.exchanges(count, seed)
    responses = tokenizer([said for _, said in pairs], add_special_tokens=False)["input_ids"]
    return [
        (prompt_ids(tokenizer, prompt), [*ids, tokenizer.eos_token_id][:MAX_TOKENS])
        for (prompt, _), ids in zip(pairs, responses, strict=True)
    ]


@torch.inference_mode()
def own_entropy(model: LoadedModel, prompts: Sequence[str]) -> tuple[float, int]:
    """Return the mean entropy in nats of a model's next tokens on its own text, and its tokens.

    The text is drawn at temperature 1 without truncation.
    """
    requests = [
        Request(f"entropy {i}", prompt_ids(model.tokenizer, prompt))
        for i, prompt in enumerate(prompts)
    ]
    sampling = Sampling(max_tokens=MAX_TOKENS)
    head, total, tokens = head_of(model), 0.0, 0
    for done in completions(model, requests, sampling, keep_hidden=True):
        assert done.hidden_RD is not None
        logp_RV = head.logits(done.hidden_RD).log_softmax(-1)
        total -= float((logp_RV.exp() * logp_RV).sum())
        tokens += len(done.token_ids)
    return total / tokens, tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--language", type=int, default=0)
    given = parser.parse_args()
    for nats in TAUGHT:
        made = nano_teacher(nats, given.folder, seed=given.seed, language=given.language)
        print(f"{made.directory}: {made.entropy:.3f} nats, made in {made.seconds} s")


if __name__ == "__main__":
    main()
