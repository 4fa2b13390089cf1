"""A made-up language, and untrained networks that can learn it: models without a hub.

The language is a Markov chain over words of made-up syllables. Words are of classes, small ones
(the, of, and) and large ones (nouns); a class says which classes may follow, and how the words of
these are ranked depends on the word before. So some tokens are all but certain and others open,
as in text by people.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

# Words of a response at the most, and tokens that a network reads at once.
LONGEST = 128
_CONTEXT = 256
_VOCABULARY = 2048
_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_TOKEN_NAMES = ("eos_token_id", "pad_token_id", "bos_token_id")
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
            for _ in range(LONGEST):
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
        vocab_size=_VOCABULARY,
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


def untrained_network(tokenizer: Any, seed: int) -> LlamaForCausalLM:
    """Return a small Llama of random weights; the global random state is left as it was."""
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
        **{name: getattr(tokenizer, name) for name in _TOKEN_NAMES},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LlamaForCausalLM(config)
    network.generation_config = GenerationConfig(
        **{name: getattr(tokenizer, name) for name in _TOKEN_NAMES}
    )
    return network
