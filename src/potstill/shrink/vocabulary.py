"""Trim a BPE vocabulary to a job's text: the tokenizer, and the rows of embedding and head.

Kept is a set of tokens closed under merges: with a token come the parts of every merge that
makes it. Byte-pair encoding then behaves as before on any text whose old tokens all survive: at
each step the old encoder picks the merge of lowest rank, all merges it picks are kept, so the
lowest of the kept ones is the same. Other text falls into smaller pieces, never into unknowns,
because tokens that no merge makes (bytes, characters, special tokens) are always kept.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from potstill.errors import PotstillError
from potstill.models.vocabulary import VocabularyMap, pieces_of

# Of ranks: the first merges are about equally frequent.
_RANK_OFFSET = 1000


@dataclass(frozen=True)
class Merges:
    """The merge table of a BPE tokenizer, by token id: `parts[t]` are the pairs that make t."""

    parts: dict[int, list[tuple[int, int]]]
    size: int

    def base(self) -> set[int]:
        """Return the tokens that no merge makes."""
        return set(range(self.size)) - self.parts.keys()

    def first_parts(self, width: int) -> Tensor:
        """Return first_V: the left part of each token's merge, itself where no merge makes it."""
        first_V = torch.arange(width)
        for token, pairs in self.parts.items():
            first_V[token] = pairs[0][0]
        return first_V

    def closed(self, tokens: Iterable[int]) -> set[int]:
        """Return the tokens together with the parts of all their merges, and so on."""
        found: set[int] = set()
        waiting = list(tokens)
        while waiting:
            token = waiting.pop()
            if token in found:
                continue
            found.add(token)
            for pair in self.parts.get(token, ()):
                waiting.extend(pair)
        return found


def is_bpe(tokenizer: Any) -> bool:
    """Return whether the tokenizer merges byte pairs: others cannot be trimmed."""
    return bool(json.loads(tokenizer.backend_tokenizer.to_str())["model"]["type"] == "BPE")


def merges_of(tokenizer: Any) -> Merges:
    """Return the merge table; raises PotstillError where the tokenizer is not BPE."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    if model["type"] != "BPE":
        raise PotstillError(
            f"shrink.vocabulary works on BPE tokenizers, and this one is {model['type']}; "
            "remove shrink.vocabulary from the recipe"
        )
    ids = model["vocab"]
    parts: dict[int, list[tuple[int, int]]] = {}
    for merge in model["merges"]:
        left, right = merge if isinstance(merge, list) else merge.split(" ")
        made = ids.get(left + right)
        if made is not None:
            parts.setdefault(made, []).append((ids[left], ids[right]))
    return Merges(parts, len(tokenizer))


def removal_cost(p_NV: Tensor, first_V: Tensor) -> Tensor:
    """Return cost_V in nats, summed over positions: what it takes to lose each token alone.

    A removed token's probability p moves to its first part, which has f: a student that still
    predicts what the teacher predicted would lack p log((f + p) / f) there. So a token that is
    spread thinly, or whose first part is likely anyway, costs little, however much mass it has.
    """
    receiver_NV = p_NV[:, first_V.to(p_NV.device)].clamp_(min=torch.finfo(p_NV.dtype).tiny)
    return torch.log1p(p_NV / receiver_NV).mul_(p_NV).sum(0)


def unseen_counts(merges: Merges, count_V: Tensor) -> Tensor:
    """Return count_V: how often text as long again may hold tokens that the text lacks.

    As many new ones will stand in it as stand in the text only once (Good 1953, equation 9). Which
    ones they are is taken from the merges: byte-pair encoding makes the frequent ones first, so
    they are spread by rank as 1 / (rank + offset) (Zipf 1949; Mandelbrot 1953). Tokens of the text
    and those that no merge makes get 0.
    """
    expected_V = torch.zeros(len(count_V), dtype=torch.float64)
    made = torch.tensor([t for t in merges.parts if t < len(count_V)], dtype=torch.long)
    expected_V[made] = 1 / (torch.arange(len(made), dtype=torch.float64) + _RANK_OFFSET)
    expected_V[count_V > 0] = 0
    total = expected_V.sum()
    return expected_V * (count_V == 1).sum() / total if total > 0 else expected_V


def choose_tokens(merges: Merges, weight_V: Tensor, count: int) -> list[int]:
    """Return the ids of `count` tokens to keep, in order: base tokens, then by weight.

    `weight_V` says how much the job's text needs each token. A token comes with the parts of
    its merges, and is passed over where they no longer fit. Raises PotstillError where `count`
    cannot hold the base tokens.
    """
    kept = merges.base()
    if len(kept) > count:
        raise PotstillError(
            f"shrink.vocabulary is {count}, but {len(kept)} tokens are made by no merge and must "
            "stay; ask for more"
        )
    for token in torch.argsort(weight_V[: merges.size], descending=True, stable=True).tolist():
        if token in kept:
            continue
        needed = merges.closed([token]) - kept
        if len(kept) + len(needed) <= count:
            kept |= needed
        if len(kept) == count:
            break
    return sorted(kept)


def trimmed_tokenizer(tokenizer: Any, kept: Sequence[int]) -> Any:
    """Return a tokenizer of only the kept tokens, numbered anew in the old order."""
    from transformers import AutoTokenizer

    new_ids = {old: new for new, old in enumerate(kept)}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        tokenizer.save_pretrained(directory)
        file = directory / "tokenizer.json"
        description = json.loads(file.read_text(encoding="utf-8"))
        _renumber(description, new_ids)
        file.write_text(json.dumps(description, ensure_ascii=False), encoding="utf-8")
        return AutoTokenizer.from_pretrained(directory)


def _renumber(description: dict[str, Any], new_ids: dict[int, int]) -> None:
    """Rewrite a tokenizer.json in place: vocabulary, merges, added tokens, post-processor."""
    model = description["model"]
    model["vocab"] = {t: new_ids[i] for t, i in model["vocab"].items() if i in new_ids}
    vocabulary = model["vocab"]

    def survives(merge: Any) -> bool:
        left, right = merge if isinstance(merge, list) else merge.split(" ")
        return left in vocabulary and right in vocabulary and left + right in vocabulary

    model["merges"] = [m for m in model["merges"] if survives(m)]
    description["added_tokens"] = [
        token | {"id": new_ids[token["id"]]} for token in description["added_tokens"]
    ]
    for special in _post_processor_tokens(description.get("post_processor")):
        special["ids"] = [new_ids[i] for i in special["ids"]]


def _post_processor_tokens(processor: Any) -> list[dict[str, Any]]:
    """Return the entries of a template post-processor that hold token ids."""
    if not processor:
        return []
    if processor["type"] == "Sequence":
        return [s for p in processor["processors"] for s in _post_processor_tokens(p)]
    special = processor.get("special_tokens")
    return list(special.values()) if isinstance(special, dict) else []


def map_of(tokenizer: Any, trimmed: Any, kept: Sequence[int], width: int) -> VocabularyMap:
    """Return where each of the teacher's `width` rows goes in the trimmed vocabulary."""
    student_ids_V = torch.full((width,), -1, dtype=torch.long)
    kept_set = set(kept)
    for token in range(len(tokenizer)):
        if token not in kept_set:
            student_ids_V[token] = pieces_of(tokenizer, trimmed, token)[0]
    teacher_ids_K = torch.tensor(kept, dtype=torch.long)
    student_ids_V[teacher_ids_K] = torch.arange(len(kept))
    return VocabularyMap(teacher_ids_K, student_ids_V)


@torch.no_grad()
def trim_network(network: Any, kept: Sequence[int]) -> None:
    """Keep only the given rows of embedding and head, in place, and renumber special tokens."""
    index_K = torch.tensor(kept, device=network.device)
    embedding, head = network.get_input_embeddings(), network.get_output_embeddings()
    tied = head.weight is embedding.weight
    embedding.weight = nn.Parameter(embedding.weight[index_K].clone())
    embedding.num_embeddings = len(kept)
    embedding.padding_idx = None
    head.weight = embedding.weight if tied else nn.Parameter(head.weight[index_K].clone())
    head.out_features = len(kept)
    if head.bias is not None:
        head.bias = nn.Parameter(head.bias[index_K].clone())
    new_ids = {old: new for new, old in enumerate(kept)}
    network.config.get_text_config().vocab_size = len(kept)
    for config in (network.config, network.generation_config):
        for name in ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"):
            _renumber_attribute(config, name, new_ids)


def _renumber_attribute(config: Any, name: str, new_ids: dict[int, int]) -> None:
    value = getattr(config, name, None)
    if isinstance(value, int):
        setattr(config, name, new_ids.get(value))
    elif isinstance(value, list):
        setattr(config, name, [new_ids[v] for v in value if v in new_ids])
