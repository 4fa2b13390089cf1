"""Trim a BPE vocabulary to a job's text: the tokenizer, and the rows of embedding and head.

Kept is a set of tokens closed under merges: with a token come the parts of every merge that
makes it. Byte-pair encoding then behaves as before on any text whose old tokens all survive: at
each step the old encoder picks the merge of lowest rank, all merges it picks are kept, so the
lowest of the kept ones is the same. Other text falls into smaller pieces, never into unknowns,
because tokens that no merge makes (bytes, characters, special tokens) are always kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from potstill.durable import temporary_folder
from potstill.errors import PotstillError
from potstill.models.saved_form import tokenizer_form
from potstill.models.vocabulary import VocabularyMap, pieces_of
from potstill.shrink.token_ids import renumber, renumbered

# Of ranks: the first merges are about equally frequent.
_RANK_OFFSET = 1000
# Of a student's tokens, how many may be there only to be forbidden.
_MOST_FORBIDDEN = 1 / 20


@dataclass(frozen=True)
class Merges:
    """The merge table of a BPE tokenizer, by token id: `parts[t]` are the pairs that make t.

    `always` are tokens that must stay although a merge may make them: added and special ones, and
    those that a config names.
    """

    parts: dict[int, list[tuple[int, int]]]
    size: int
    always: frozenset[int] = frozenset()

    def base(self) -> set[int]:
        """Return the tokens that stay: those that no merge makes, and `always` with its parts."""
        return set(range(self.size)) - self.parts.keys() | self.closed(self.always)

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


def merges_of(tokenizer: Any, must: Iterable[int] = ()) -> Merges:
    """Return the merge table; `must` are ids that have to stay.

    Raises PotstillError where the tokenizer is not BPE, or its numbers have gaps.
    """
    description = json.loads(tokenizer.backend_tokenizer.to_str())
    model = description["model"]
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
    named = {i for i in (*_tokenizer_ids(description), *tokenizer.all_special_ids) if i is not None}
    beyond = {i for i in named if i >= len(tokenizer)}
    if beyond:
        raise PotstillError(
            f"the tokenizer has {len(tokenizer)} tokens and numbers one of them {max(beyond)}: "
            "shrink.vocabulary cannot trim numbers with gaps; remove it from the recipe"
        )
    return Merges(parts, len(tokenizer), frozenset(named | {i for i in must if i < len(tokenizer)}))


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


def choose_tokens(
    merges: Merges, weight_V: Tensor, count: int, *, forbidden: Sequence[int] = ()
) -> list[int]:
    """Return the ids of `count` tokens to keep, in order: base tokens, then by weight.

    `weight_V` says how much the job's text needs each token. A token comes with the parts of
    its merges, and is passed over where they no longer fit. `forbidden` tokens go before the
    others where they are few: only a token that is there can be forbidden, and its text would
    otherwise be spelled in pieces. Raises PotstillError where `count` cannot hold the base tokens.
    """
    kept = merges.base()
    if len(kept) > count:
        raise PotstillError(
            f"shrink.vocabulary is {count}, but {len(kept)} tokens are made by no merge and must "
            "stay; ask for more"
        )
    first = forbidden if len(forbidden) <= count * _MOST_FORBIDDEN else ()
    by_weight = torch.argsort(weight_V[: merges.size], descending=True, stable=True).tolist()
    for token in (*(t for t in first if t < merges.size), *by_weight):
        if token in kept:
            continue
        needed = merges.closed([token]) - kept
        if len(kept) + len(needed) <= count:
            kept |= needed
        if len(kept) == count:
            break
    return sorted(kept)


def trimmed_tokenizer(tokenizer: Any, kept: Sequence[int]) -> Any:
    """Return a tokenizer of only the kept tokens, numbered anew in the order given.

    Raises PotstillError where a token that the tokenizer's files name is not among them.
    """
    from transformers import AutoTokenizer

    new_ids = {old: new for new, old in enumerate(kept)}
    with temporary_folder() as directory:
        tokenizer.save_pretrained(directory)
        file = directory / "tokenizer.json"
        description = json.loads(file.read_text(encoding="utf-8"))
        missing = sorted(set(_tokenizer_ids(description)) - new_ids.keys())
        if missing:
            raise PotstillError(
                f"tokenizer.json names token {missing[0]}, added or special, which is not of the "
                f"{len(kept)} tokens that the student keeps; run shrink again"
            )
        _renumber(description, new_ids)
        file.write_text(json.dumps(description, ensure_ascii=False), encoding="utf-8")
        file = directory / "tokenizer_config.json"
        config = tokenizer_form(json.loads(file.read_text(encoding="utf-8")))
        file.write_text(json.dumps(_config_form(config, new_ids), ensure_ascii=False), "utf-8")
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
    for processor in _pair_processors(description.get("post_processor")):
        for name in ("sep", "cls"):
            token, old = processor[name]
            processor[name] = [token, new_ids[old]]
    padding = description.get("padding")
    if padding:
        padding["pad_id"] = new_ids[padding["pad_id"]]


def _config_form(config: dict[str, Any], new_ids: dict[int, int]) -> dict[str, Any]:
    """Return a tokenizer_config.json with the ids renumbered that it may hold."""
    decoder = config.get("added_tokens_decoder")
    more = {}
    if isinstance(decoder, dict):
        kept = {int(i): token for i, token in decoder.items() if int(i) in new_ids}
        more["added_tokens_decoder"] = {str(new_ids[i]): token for i, token in kept.items()}
    return {**config, **renumbered(config, new_ids)[0], **more}


def _tokenizer_ids(description: dict[str, Any]) -> list[int]:
    """Return the ids that a tokenizer.json names outside its vocabulary and merges."""
    processor = description.get("post_processor")
    ids = [token["id"] for token in description["added_tokens"]]
    ids += [i for special in _post_processor_tokens(processor) for i in special["ids"]]
    ids += [pair[name][1] for pair in _pair_processors(processor) for name in ("sep", "cls")]
    padding = description.get("padding")
    return [*ids, padding["pad_id"]] if padding else ids


def _processors(processor: Any) -> list[dict[str, Any]]:
    """Return a post-processor, or those of a sequence of them."""
    if not processor:
        return []
    if processor["type"] == "Sequence":
        return [s for p in processor["processors"] for s in _processors(p)]
    return [processor]


def _post_processor_tokens(processor: Any) -> list[dict[str, Any]]:
    """Return the entries of template post-processors that hold token ids."""
    found = [p.get("special_tokens") for p in _processors(processor)]
    return [entry for special in found if isinstance(special, dict) for entry in special.values()]


def _pair_processors(processor: Any) -> list[dict[str, Any]]:
    """Return the post-processors that hold `sep` and `cls` as pairs of token and id."""
    return [p for p in _processors(processor) if isinstance(p.get("sep"), list)]


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
    """Keep only the given rows of embedding and head, in place, and renumber what configs name."""
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
    renumber(network, new_ids)
