"""Mark what a model writes, token by token, as choosers of `models/generate.py`.

Only tokens that survive top-k and top-p are touched. A token is marked where the k tokens before
it are the response's own and have not stood before another token of the response: the first k
tokens, and those after a window that comes again, are drawn as without a mark. So no window ever
reaches into the prompt, and no number is used twice in one response.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from potstill.models.counter import more_uniforms_of
from potstill.models.sampling import Candidates, Chooser, Sampling, drawn, drawn_from
from potstill.watermark.schemes import GreenList, Gumbel
from potstill.watermark.survivors import OwnScheme, behind, of_tokens, tilted, winners

# Draws that are tried: so many for all rows, up to so many for those that accepted none of them,
# and so many more for the rest. A row that accepts none of all these is drawn from the whole
# marked distribution. (Tried: with 12 at once torch shares the work of 8 rows between its
# threads, which takes longer than the work.)
_EARLY, _FIRST, _MORE = 6, 12, 60
# Responses whose windows are remembered from step to step.
_REMEMBERED = 4096


# Rows of a step that are marked, each with its window.
_Rows = dict[int, tuple[int, ...]]


def marking(scheme: OwnScheme) -> Chooser:
    """Return the chooser that marks by a scheme; decoding with it writes marked text.

    At temperature 0 one token survives, and is written as without a mark.
    """
    return _GreenChooser(scheme) if isinstance(scheme, GreenList) else _GumbelChooser(scheme)


def doubts(scheme: OwnScheme, sampling: Sampling, answers: int = 1) -> list[str]:
    """Return what speaks against marking like this, each in a sentence to print as a warning."""
    found = []
    if sampling.temperature == 0:
        found.append(
            "at temperature 0 there is nothing to choose, so that the answers will carry no mark; "
            "draw them at a temperature above 0"
        )
    if isinstance(scheme, Gumbel) and answers > 1:
        found.append(
            f"{answers} answers to one prompt, marked with one Gumbel key, are much alike, since "
            "the key decides them; ask once for each prompt, or mark with a green list"
        )
    return found


def fresh_window(response: Sequence[int], window: int) -> tuple[int, ...] | None:
    """Return the last tokens of a response; None where they stood before a token of it already."""
    return Windows(window).fresh("", response)


class Windows:
    """Which windows of a response have stood before a token of it already."""

    def __init__(self, window: int) -> None:
        self.window = window
        self._seen: OrderedDict[str, _Seen] = OrderedDict()

    def fresh(self, key: str, response: Sequence[int]) -> tuple[int, ...] | None:
        """Return the window of the next token of a response; None where it is not to be marked.

        What was found for a `key` is kept for its next token.
        """
        k, length = self.window, len(response)
        if length < k:
            return None
        seen = self._seen.pop(key, None)
        if seen is None or not seen.fits(response):
            seen = _Seen(k, tuple(response[:k]))
        for at in range(seen.length, length):
            seen.windows.add(tuple(response[at - k : at]))
        seen.length, seen.last = length, tuple(response[length - k :])
        self._seen[key] = seen
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return None if seen.last in seen.windows else seen.last


@dataclass
class _Seen:
    """The windows before the first `length` tokens of a response, and its last one until there."""

    length: int
    last: tuple[int, ...]
    windows: set[tuple[int, ...]] = field(default_factory=set)

    def fits(self, response: Sequence[int]) -> bool:
        """Tell whether this may be the beginning of a response."""
        begin = self.length - len(self.last)
        return self.length <= len(response) and tuple(response[begin : self.length]) == self.last


class _GreenChooser:
    """Draw from the model, accept green, accept red at a chance of e^-delta, else draw again.

    That is exactly a draw from p(x) e^(delta g(x)) / sum: a draw is accepted at a chance of
    e^(delta (g(x) - 1)), and one more try after any number of refused ones is a try like the
    first.
    """

    def __init__(self, scheme: GreenList) -> None:
        self.scheme, self.windows = scheme, Windows(scheme.window)
        self.red = math.exp(-scheme.delta)

    def __call__(self, candidates: Candidates) -> Tensor:
        if candidates.sampling.temperature == 0:
            return drawn(candidates)
        weight_SV = candidates.surviving()
        rows = _marked_rows(self.windows, candidates)
        own_S = torch.tensor(candidates.uniforms).double().numpy()
        draw_SM = np.repeat(own_S[:, None], _FIRST, axis=1)
        accept_SM = np.ones_like(draw_SM)
        number_RN = _more(candidates, rows, 2 * _FIRST - 1)
        draw_SM[list(rows), 1:] = number_RN[:, _FIRST:]
        accept_SM[list(rows)] = number_RN[:, :_FIRST]
        token_SM = drawn_from(weight_SV, _like(weight_SV, draw_SM[:, :_EARLY])).cpu().numpy()
        chosen_S = token_SM[:, 0].copy()
        left = self._accept(rows, token_SM[list(rows)], accept_SM[list(rows), :_EARLY], chosen_S)
        draw_RM, accept_RM = draw_SM[list(left), _EARLY:], accept_SM[list(left), _EARLY:]
        left = self._try(weight_SV, left, draw_RM, accept_RM, chosen_S)
        if left:
            self._again(candidates, weight_SV, left, chosen_S)
        return torch.from_numpy(chosen_S).to(weight_SV.device)

    def _again(
        self, candidates: Candidates, weight_SV: Tensor, rows: _Rows, chosen_S: np.ndarray
    ) -> None:
        """Draw many times more for rows that accepted nothing, then from the whole distribution."""
        first = 2 * _FIRST - 1
        number_RN = _more(candidates, rows, first + 2 * _MORE + 1)[:, first:]
        draw_RM, accept_RM = number_RN[:, :_MORE], number_RN[:, _MORE : 2 * _MORE]
        last = dict(zip(rows, number_RN[:, -1], strict=True))
        left = self._try(weight_SV, rows, draw_RM, accept_RM, chosen_S)
        if left:
            tilted_RV = tilted(self.scheme, weight_SV[list(left)], list(left.values()))
            uniform_R1 = np.array([[last[s]] for s in left])
            chosen_S[list(left)] = drawn_from(tilted_RV, _like(weight_SV, uniform_R1))[:, 0].cpu()

    def _try(
        self,
        weight_SV: Tensor,
        rows: _Rows,
        draw_RM: np.ndarray,
        accept_RM: np.ndarray,
        chosen_S: np.ndarray,
    ) -> _Rows:
        """Draw and accept for some rows; return those that accepted none of their draws."""
        if not rows:
            return {}
        token_RM = drawn_from(weight_SV[list(rows)], _like(weight_SV, draw_RM)).cpu().numpy()
        return self._accept(rows, token_RM, accept_RM, chosen_S)

    def _accept(
        self, rows: _Rows, token_RM: np.ndarray, accept_RM: np.ndarray, chosen_S: np.ndarray
    ) -> _Rows:
        """Write the first accepted draw of each row; return the rows that accepted none."""
        if not rows:
            return {}
        tries = token_RM.shape[1]
        windows_KN = [np.repeat(column, tries) for column in zip(*rows.values(), strict=True)]
        inputs = self.scheme.inputs(windows_KN, token_RM.ravel())
        green_RM = self.scheme.green(inputs).reshape(token_RM.shape)
        taken_RM = green_RM | (accept_RM < self.red)
        left = {}
        for (s, window), taken_M, token_M in zip(rows.items(), taken_RM, token_RM, strict=True):
            if taken_M.any():
                chosen_S[s] = token_M[taken_M.argmax()]
            else:
                left[s] = window
        return left


class _GumbelChooser:
    """The surviving token with the largest u^(1/p), which is the least -ln(u) / p."""

    def __init__(self, scheme: Gumbel) -> None:
        self.scheme, self.windows = scheme, Windows(scheme.window)

    def __call__(self, candidates: Candidates) -> Tensor:
        if candidates.sampling.temperature == 0:
            return drawn(candidates)
        weight_SV = candidates.surviving()
        uniform_S1 = torch.tensor(candidates.uniforms).to(weight_SV.device)[:, None]
        token_S = drawn_from(weight_SV, uniform_S1)[:, 0]
        rows = _marked_rows(self.windows, candidates)
        if rows:
            token_S[list(rows)] = winners(self.scheme, weight_SV[list(rows)], list(rows.values()))
        return token_S


class MarkedLogits:
    """What green-list marking adds to logits; which tokens follow late windows as green is kept.

    `device` is the one that bits are made on. On the CPU a whole vocabulary's take a tenth of a
    second and more for each twenty positions, and windows of few tokens come again and again.
    """

    def __init__(self, scheme: GreenList, device: torch.device | str = "cpu") -> None:
        self.scheme, self.device = scheme, torch.device(device)
        self._kept: OrderedDict[tuple[int, tuple[int, ...]], np.ndarray] = OrderedDict()

    def bias(
        self, response_ids: Sequence[int], vocabulary: int, rows: slice = slice(None)
    ) -> Tensor:
        """Return bias_RV, what marking added to the logits of response positions `rows` (fp32).

        It is delta for green tokens, 0 for others and at positions that were not marked. For text
        drawn without truncation the marked distribution is the softmax of logits (over the
        temperature) plus this: what stored targets of marked text are drawn from.
        """
        marked = marked_windows(self.scheme, response_ids)[rows]
        at = [row for row, window in enumerate(marked) if window is not None]
        bias_RV = torch.zeros(len(marked), vocabulary, device=self.device)
        if at:
            windows = [window for window in marked if window is not None]
            bias_RV[at] = self._green(windows, vocabulary).float() * self.scheme.delta
        return bias_RV

    def _green(self, windows: Sequence[tuple[int, ...]], vocabulary: int) -> Tensor:
        """Return green_MV: which tokens are green behind each window."""
        if self.device.type == "cpu":
            return torch.from_numpy(np.stack([self._row(w, vocabulary) for w in windows]))
        even_MV = torch.ones(len(windows), vocabulary, device=self.device)
        row_P, token_P = even_MV.nonzero(as_tuple=True)
        return of_tokens(self.scheme, windows, row_P, token_P).view(even_MV.shape)

    def _row(self, window: tuple[int, ...], vocabulary: int) -> np.ndarray:
        key = (vocabulary, window)
        packed = self._kept.pop(key, None)
        if packed is None:
            packed = np.packbits(behind(self.scheme, window, np.arange(vocabulary)))
        self._kept[key] = packed
        if len(self._kept) > _REMEMBERED:
            self._kept.popitem(last=False)
        return np.unpackbits(packed, count=vocabulary).astype(bool)


def marked_windows(scheme: OwnScheme, response_ids: Sequence[int]) -> list[tuple[int, ...] | None]:
    """Return the window that marked each token of a response, None where it was not marked."""
    windows, known = Windows(scheme.window), [*response_ids]
    return [windows.fresh("", known[:at]) for at in range(len(known))]


def _marked_rows(windows: Windows, candidates: Candidates) -> _Rows:
    """Return the rows whose next token is marked, each with its window."""
    pairs = zip(candidates.keys, candidates.responses, strict=True)
    fresh = [windows.fresh(key, response) for key, response in pairs]
    return {s: window for s, window in enumerate(fresh) if window is not None}


def _more(candidates: Candidates, rows: _Rows, count: int) -> np.ndarray:
    """Return number_RN, more numbers of some rows for the position that each has come to."""
    positions = [len(candidates.responses[s]) for s in rows]
    return more_uniforms_of([candidates.keys[s] for s in rows], positions, count)


def _like(weight: Tensor, numbers: np.ndarray) -> Tensor:
    return torch.from_numpy(numbers).to(weight.device)
