"""Rows that decode in cohorts: those that were admitted together write and read the same columns.

A cohort's prompts end in the same column, so that a new key is written by one assignment, attention
reads the filled columns alone, and a sliding window is a slice. What all prompts begin with is read
once and held once. A finished row's place is taken by the cohort's last row: no idle row is ever
computed. Values of attention are the usual ones (Vaswani et al. 2017, equation 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from potstill.models.plain_body import PlainBody
from potstill.models.score import length_batches

# Prompt tokens read at once: what a block makes of them stays in a CPU's cache.
_PREFILL_TOKENS = 1024
# A shared beginning is held apart from this length on.
_LEAST_SHARED = 4


@dataclass(frozen=True)
class _Shared:
    """Keys [layers][heads, width, P] and values [layers][heads, P, width] of P first tokens."""

    count: int
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]


class _Cohort:
    """Keys [rows, heads, width, columns] and values [rows, heads, columns, width] of each layer.

    The first `filled` columns are. Row n has its first own column at `starts[n]`.
    """

    def __init__(
        self, body: PlainBody, shared: _Shared, lengths: Sequence[int], room: int, like: Tensor
    ) -> None:
        self.body, self.shared = body, shared
        self.count = len(lengths)
        self.filled = max(lengths)
        columns = self.filled + room
        keys = (self.count, body.kv_heads, body.head_dim, columns)
        values = (self.count, body.kv_heads, columns, body.head_dim)
        layers = range(len(body.blocks))
        self.keys = [like.new_zeros(keys) for _ in layers]
        self.values = [like.new_zeros(values) for _ in layers]
        self.starts = [self.filled - length for length in lengths]
        self.position_N = torch.tensor(lengths) + shared.count
        self._note_padding()

    def attend(self, layer: int, query_NHD: Tensor, key_NKD: Tensor, value_NKD: Tensor) -> Tensor:
        """Keep one more key and value of each row, and return what its queries read."""
        at, count = self.filled, self.count
        keys, values = self.keys[layer], self.values[layer]
        keys[:count, :, :, at] = key_NKD
        values[:count, :, at] = value_NKD
        window = self.body.windows[layer]
        low = 0 if window is None else max(0, at + 1 - window)
        query_NKGD = query_NHD.view(count, self.body.kv_heads, -1, self.body.head_dim)
        score_NKGT = torch.matmul(query_NKGD, keys[:count, :, :, low : at + 1])
        if low < self.padding:
            score_NKGT[..., : self.padding - low] += self.bias_N11T[..., low:]
        if not self.shared.count:
            weight_NKGT = torch.softmax(score_NKGT, dim=-1)
            read = torch.matmul(weight_NKGT, values[:count, :, low : at + 1])
            return read.view(count, -1)
        return self._with_shared(layer, query_NKGD, score_NKGT, values[:count, :, : at + 1])

    def _with_shared(
        self, layer: int, query_NKGD: Tensor, score_NKGT: Tensor, value_NKTD: Tensor
    ) -> Tensor:
        """Return context_NE where the shared beginning is read too: one product for all rows."""
        count, heads, group, width = query_NKGD.shape
        first = self.shared.count
        query_KMD = query_NKGD.transpose(0, 1).reshape(heads, -1, width)
        shared_KMP = torch.bmm(query_KMD, self.shared.keys[layer])
        shared_NKGP = shared_KMP.view(heads, count, group, first).transpose(0, 1)
        weight = torch.softmax(torch.cat((shared_NKGP, score_NKGT), dim=-1), dim=-1)
        read_NKGD = torch.matmul(weight[..., first:], value_NKTD)
        weight_KMP = weight[..., :first].transpose(0, 1).reshape(heads, -1, first)
        read_KMD = torch.bmm(weight_KMP, self.shared.values[layer])
        read_NKGD += read_KMD.view(heads, count, group, width).transpose(0, 1)
        return read_NKGD.view(count, -1)

    def advance(self) -> None:
        """Count the column that every layer has written now."""
        self.filled += 1
        self.position_N += 1

    def drop(self, gone: Sequence[int]) -> list[int]:
        """Take rows out; the last ones move into their places. Return the rows' former indices."""
        kept = [n for n in range(self.count) if n not in set(gone)]
        last = [n for n in kept if n >= len(kept)]
        order = list(range(len(kept)))
        for hole, mover in zip((n for n in gone if n < len(kept)), last, strict=True):
            order[hole] = mover
            for keys, values in zip(self.keys, self.values, strict=True):
                keys[hole, ..., : self.filled] = keys[mover, ..., : self.filled]
                values[hole, :, : self.filled] = values[mover, :, : self.filled]
        self.count = len(kept)
        self.position_N = self.position_N[order]
        self.starts = [self.starts[n] for n in order]
        self._note_padding()
        if 2 * self.count <= len(self.keys[0]):
            self.shrink()
        return order

    def shrink(self) -> None:
        """Give back the memory of rows that are gone, layer by layer."""
        if self.count < len(self.keys[0]):
            for layer in range(len(self.keys)):
                self.keys[layer] = self.keys[layer][: self.count].clone()
                self.values[layer] = self.values[layer][: self.count].clone()

    def _note_padding(self) -> None:
        """Note the columns that not every row has, and -inf where a row has none."""
        self.padding = max(self.starts, default=0)
        there_NT = torch.arange(self.padding)[None] >= torch.tensor(self.starts)[:, None]
        bias_NT = torch.zeros(there_NT.shape).masked_fill_(~there_NT, float("-inf"))
        self.bias_N11T = bias_NT[:, None, None].to(self.keys[0].dtype)


class CohortRows:
    """The rows that are being decoded, cohort after cohort.

    `prompts` are all that will ever be admitted; `room` is how many tokens a row may write.
    """

    def __init__(self, body: PlainBody, prompts: Sequence[Sequence[int]], room: int) -> None:
        self.body, self.room = body, room
        self.cohorts: list[_Cohort] = []
        self.like = next(body.body.embed_tokens.parameters())
        longest = max(map(len, prompts)) + room
        narrow = any(window is not None and window < longest for window in body.windows)
        shared = 0 if narrow or len(prompts) < 2 else common_beginning(prompts)
        self.shared = self._read_shared(prompts[0][: shared if shared >= _LEAST_SHARED else 0])

    def admit(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Read prompts into a new cohort; return hidden_ND of their last tokens."""
        for cohort in self.cohorts:
            cohort.shrink()
        first = self.shared.count
        lengths = [len(prompt) - first for prompt in prompts]
        cohort = _Cohort(self.body, self.shared, lengths, self.room, self.like)
        states: list[Tensor] = [self.like] * len(prompts)
        for batch in length_batches(lengths, _PREFILL_TOKENS):
            reading = _Reading(cohort, batch, [lengths[n] for n in batch])
            last_ND = reading.read([prompts[n][first:] for n in batch])
            for n, hidden_D in zip(batch, last_ND, strict=True):
                states[n] = hidden_D
        self.cohorts.append(cohort)
        return torch.stack(states)

    def step(self, token_B: Tensor) -> Tensor:
        """Feed each row a token; return hidden_BD, which predict the next ones."""
        position_B = torch.cat([cohort.position_N for cohort in self.cohorts])
        hidden_BD = self.body.read(token_B, position_B, self._attend)
        for cohort in self.cohorts:
            cohort.advance()
        return hidden_BD

    def drop(self, gone: Sequence[int]) -> list[int]:
        """Take rows out; return for each row that is left which one it was."""
        order, start = [], 0
        for cohort in self.cohorts:
            count = cohort.count
            local = [n - start for n in gone if start <= n < start + count]
            order += [start + n for n in (cohort.drop(local) if local else range(count))]
            start += count
        self.cohorts = [cohort for cohort in self.cohorts if cohort.count]
        return order

    def _attend(self, layer: int, query_BHD: Tensor, key_BKD: Tensor, value_BKD: Tensor) -> Tensor:
        if len(self.cohorts) == 1:
            return self.cohorts[0].attend(layer, query_BHD, key_BKD, value_BKD)
        counts = [cohort.count for cohort in self.cohorts]
        parts = zip(
            self.cohorts,
            query_BHD.split(counts),
            key_BKD.split(counts),
            value_BKD.split(counts),
            strict=True,
        )
        return torch.cat([cohort.attend(layer, q, k, v) for cohort, q, k, v in parts])

    def _read_shared(self, ids: Sequence[int]) -> _Shared:
        if not ids:
            return _Shared(0, (), ())
        cohort = _Cohort(self.body, _Shared(0, (), ()), [len(ids)], 0, self.like)
        _Reading(cohort, [0], [len(ids)]).read([ids])
        return _Shared(
            len(ids),
            tuple(keys[0].clone() for keys in cohort.keys),
            tuple(values[0].clone() for values in cohort.values),
        )


class _Reading:
    """Prompts read into some rows of a cohort, padded on the left to one width."""

    def __init__(self, cohort: _Cohort, rows: Sequence[int], lengths: Sequence[int]) -> None:
        self.cohort, self.body = cohort, cohort.body
        self.row_M = torch.tensor(list(rows))
        self.width = max(lengths)
        column_S = torch.arange(self.width)
        start_M1 = self.width - torch.tensor(lengths)[:, None]
        self.position_MS = (column_S - start_M1).clamp_(min=0) + cohort.shared.count
        behind_SS = column_S[:, None] - column_S
        # A padded column reads itself, so that its softmax has something to read.
        self.behind_SS, self.own_SS = behind_SS, behind_SS == 0
        self.there_MT = column_S >= start_M1
        self.masks = {window: self._mask(window) for window in set(self.body.windows)}

    def read(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Keep the prompts' keys and values; return hidden_MD of their last tokens."""
        ids_MS = torch.zeros(len(prompts), self.width, dtype=torch.long)
        for m, prompt in enumerate(prompts):
            ids_MS[m, self.width - len(prompt) :] = torch.tensor(list(prompt), dtype=torch.long)
        hidden_ND = self.body.read(ids_MS.flatten(), self.position_MS.flatten(), self._attend)
        return hidden_ND.view(len(prompts), self.width, -1)[:, -1]

    def _attend(self, layer: int, query_NHD: Tensor, key_NKD: Tensor, value_NKD: Tensor) -> Tensor:
        rows, heads, width = len(self.row_M), self.body.kv_heads, self.body.head_dim
        key_MKSD, value_MKSD = (
            x.view(rows, self.width, heads, width).transpose(1, 2) for x in (key_NKD, value_NKD)
        )
        columns = slice(self.cohort.filled - self.width, self.cohort.filled)
        self.cohort.keys[layer][self.row_M, :, :, columns] = key_MKSD.transpose(2, 3)
        self.cohort.values[layer][self.row_M, :, columns] = value_MKSD
        shared = self.cohort.shared
        if shared.count:
            first = shared.keys[layer].transpose(1, 2).expand(rows, -1, -1, -1)
            key_MKSD = torch.cat((first, key_MKSD), dim=2)
            first = shared.values[layer].expand(rows, -1, -1, -1)
            value_MKSD = torch.cat((first, value_MKSD), dim=2)
        # The queries that read one head stand below one another: nothing is repeated.
        query_MKGSD = query_NHD.view(rows, self.width, heads, -1, width).permute(0, 2, 3, 1, 4)
        group = query_MKGSD.shape[2]
        read_MKQD = F.scaled_dot_product_attention(
            query_MKGSD.reshape(rows, heads, -1, width),
            key_MKSD,
            value_MKSD,
            attn_mask=self.masks[self.body.windows[layer]].repeat(1, 1, group, 1),
            scale=1.0,
        )
        read_MKGSD = read_MKQD.view(rows, heads, group, self.width, width)
        return read_MKGSD.permute(0, 3, 1, 2, 4).reshape(rows * self.width, -1)

    def _mask(self, window: int | None) -> Tensor:
        """Return seen_M1ST: which columns, the shared ones before them, a column may read."""
        seen_SS = self.behind_SS >= 0
        if window is not None:
            seen_SS = seen_SS & (self.behind_SS < window)
        seen_MSS = (seen_SS & self.there_MT[:, None]) | self.own_SS
        return F.pad(seen_MSS, (self.cohort.shared.count, 0), value=True)[:, None]


def common_beginning(prompts: Sequence[Sequence[int]]) -> int:
    """Return how many first ids all prompts have in common, their last ones left out."""
    first, last = min(map(tuple, prompts)), max(map(tuple, prompts))
    most = min(map(len, prompts)) - 1
    same = 0
    while same < most and first[same] == last[same]:
        same += 1
    return same
