"""Nano teachers: small Llama-like networks that write text of a stated entropy.

How easily a mark shows depends on how sure the model is that writes it. A nano teacher is sure to
a degree that is stated: the mean entropy of its next-token distribution over text that it drew
itself, at temperature 1 without truncation, is 1, 2 or 3 nats within a tenth. It comes to that by
learning a language of that entropy, never by a temperature.

The language is a Markov chain over words of made-up syllables. Words are of classes, small ones
(the, of, and) and large ones (nouns); a class says which classes may follow, and how the words of
these are ranked depends on the word before. So some tokens are all but certain and others open,
as in text by people.

    python benchmarks/zoo/nano_teachers.py FOLDER [--seed 0] [--language 0]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import brentq
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from potstill.models.generate import Request, completions
from potstill.models.load import head_of, load
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling

# The entropies that are made, and those of the languages that are taught for them: a network that
# learns for half a minute is less sure than its language.
TAUGHT = {1.0: 0.85, 2.0: 1.8, 3.0: 2.7}
# How far from what is stated the measured entropy may lie.
WITHIN = 0.1
MAX_TOKENS = 128
_CONTEXT = 256
VOCABULARY = 2048

_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_CARD = (
    "---\nlicense: apache-2.0\nlibrary_name: transformers\n---\n\n"
    "A nano model that speaks a made-up language of a stated entropy.\n"
)
# Sizes of the classes of words; the first holds the full stop alone.
_CLASSES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 48, 96, 96, 144, 144, 192, 192)
# How likely the classes are that may follow one.
_FOLLOWING = (0.5, 0.25, 0.15, 0.1)
# Ways in which the word before ranks the words of a class.
_RANKINGS = 24
# The chance that a response ends after a sentence.
_END = 0.14
_LETTERS = ("bdfgklmnprstvz", "aeiou")


@dataclass(frozen=True)
class Language:
    """A language of `nats` of entropy a word; the same seed has the same words.

    Languages of one seed and other entropies share words, classes and grammar, and differ in how
    sharply likely continuations are preferred.
    """

    nats: float
    seed: int = 0

    @cached_property
    def words(self) -> list[str]:
        """All words, class by class; the full stop is the first."""
        rng = np.random.default_rng([self.seed, 1])
        known: dict[str, None] = {}
        while len(known) < sum(_CLASSES) - 1:
            parts = [[*_LETTERS[i % 2]] for i in range(int(rng.choice([4, 6])))]
            known["".join(str(rng.choice(part)) for part in parts)] = None
        return [".", *known]

    @cached_property
    def class_W(self) -> NDArray[np.int64]:
        """The class of each word."""
        return np.repeat(np.arange(len(_CLASSES)), _CLASSES)

    @cached_property
    def ranking_W(self) -> NDArray[np.int64]:
        """Which of the rankings each word puts on the words after it."""
        return np.random.default_rng([self.seed, 2]).integers(_RANKINGS, size=len(self.words))

    @cached_property
    def next_CC(self) -> NDArray[np.float64]:
        """Chance of each class after each, before it is sharpened.

        It is a sum of permutations, so that every class is as frequent as any other however sharp
        the chances are: text that is nearly certain does not fall into loops of a few words.
        """
        rng = np.random.default_rng([self.seed, 3])
        found = np.zeros((len(_CLASSES), len(_CLASSES)))
        for chance in _FOLLOWING:
            while True:
                next_C = rng.permutation(len(_CLASSES))
                if not found[np.arange(len(_CLASSES)), next_C].any():
                    break
            found[np.arange(len(_CLASSES)), next_C] = chance
        return found

    @cached_property
    def sharpness(self) -> float:
        """The power that all chances are raised to, so that a word has `nats` of entropy."""
        return float(brentq(lambda power: self.entropy_at(power) - self.nats, 0.05, 20))

    def entropy_at(self, power: float) -> float:
        """Return the entropy rate in nats a word where chances are raised to a power."""
        next_CC = _sharpened(self.next_CC, power)
        own_C = np.array([_entropy(_ranked(size, power)) for size in _CLASSES])
        return float((_entropy(next_CC) + next_CC @ own_C).mean())

    def chances(self, word: int) -> NDArray[np.float64]:
        """Return chance_W of each word after a word."""
        next_C = _sharpened(self.next_CC, self.sharpness)[self.class_W[word]]
        parts = []
        for c, size in enumerate(_CLASSES):
            shift = int(self.ranking_W[word]) * size // _RANKINGS
            parts.append(next_C[c] * np.roll(_ranked(size, self.sharpness), shift))
        return np.concatenate(parts)

    def exchanges(self, count: int, seed: int) -> list[tuple[str, str]]:
        """Return pairs of a prompt (three words) and a response that goes on from its last."""
        rng = np.random.default_rng([self.seed, 4, seed])
        upto: dict[int, NDArray[np.float64]] = {}

        def after(word: int) -> int:
            if word not in upto:
                upto[word] = np.cumsum(self.chances(word))
            return int(np.searchsorted(upto[word], rng.random() * upto[word][-1], "right"))

        def response(word: int) -> Iterator[str]:
            for _ in range(MAX_TOKENS):
                word = after(word)
                yield self.words[word]
                if word == 0 and rng.random() < _END:
                    return

        pairs = []
        for _ in range(count):
            first = rng.choice(np.arange(1, len(self.words)), 3, replace=False)
            said = " ".join(self.words[w] for w in first)
            pairs.append((said, " ".join(response(int(first[-1]))).replace(" .", ".")))
        return pairs


def _sharpened(chances: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    raised = np.where(chances > 0, chances, 0.0) ** power * (chances > 0)
    return np.asarray(raised / raised.sum(-1, keepdims=True))


def _ranked(size: int, power: float) -> NDArray[np.float64]:
    """Return chances of the words of a class by rank: Zipf's law with an offset."""
    return _sharpened(1 / (np.arange(size) + 1.5), power)


def _entropy(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    logs = np.log(chances, out=np.zeros_like(chances), where=chances > 0)
    return np.asarray(-(chances * logs).sum(-1))


def tokenizer_of(language: Language) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer of the language, with a chat template.

    It is trained on the words alone, so that languages of one seed have the same.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[*_SPECIALS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([f" {word}" for word in language.words], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=_SPECIALS[2], pad_token=_SPECIALS[0]
    )
    tokenizer.chat_template = _CHATML
    tokenizer.model_max_length = _CONTEXT
    return tokenizer


def prompt_ids(tokenizer: Any, prompt: str) -> tuple[int, ...]:
    """Return the ids of a prompt as the chat template puts it."""
    head = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    return tuple(tokenizer(head, add_special_tokens=False)["input_ids"])


def fresh_network(tokenizer: Any, seed: int) -> LlamaForCausalLM:
    """Return an untrained network; the global random state is left as it was."""
    names = ("eos_token_id", "pad_token_id", "bos_token_id")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=_CONTEXT,
        initializer_range=0.06,
        tie_word_embeddings=True,
        **{name: getattr(tokenizer, name) for name in names},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LlamaForCausalLM(config)
    network.generation_config = GenerationConfig(
        **{name: getattr(tokenizer, name) for name in names}
    )
    return network


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
    network = fresh_network(tokenizer, seed)
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
