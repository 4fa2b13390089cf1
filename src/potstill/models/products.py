"""Matrix products of decoding on a CPU, by whichever of torch's two libraries is the faster there.

torch multiplies fp32 matrices with MKL, which takes AVX2 on other makers' processors even where
they have AVX-512; oneDNN, which torch brings along, takes that. Which one it is depends on the
processor alone, never on a clock: the same machine gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from potstill.models.precision import multiplies_fp32_by_onednn

Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def product_for(device: torch.device, dtype: torch.dtype) -> Product:
    """Return the function (x_NI, weight_OI, bias_O or None) -> y_NO for a device and dtype.

    Its rounding is of the dtype's own size, whichever it is.
    """
    if device.type == "cpu" and dtype == torch.float32 and _onednn_is_there():
        return _onednn
    return F.linear


def _onednn(x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    y_NO: Tensor = torch.ops.mkldnn._linear_pointwise(x_NI, weight_OI, bias_O, "none", [], "")
    return y_NO


@lru_cache(maxsize=1)
def _onednn_is_there() -> bool:
    """Tell whether the CPU is better off with oneDNN, and torch lets it be called."""
    if not multiplies_fp32_by_onednn():
        return False
    try:
        _onednn(torch.ones(2, 3), torch.ones(4, 3), None)
    except (AttributeError, RuntimeError):  # what inductor multiplies with is not promised
        return False
    return True
