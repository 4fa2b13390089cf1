"""The student in the middle of its training, as a model that can be asked."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from torch import nn

from potstill.models.load import body_of
from potstill.models.loaded import LoadedModel
from potstill.train.compute import ComputeBody


def as_computed(student: LoadedModel, body: ComputeBody) -> LoadedModel:
    """Return the student as training computes it now: in its compute dtype, in evaluation mode.

    Its blocks' weights are the compute body's own memory, so that it writes by the distribution
    that it is taught by. Embedding and head, whose masters are fp32, are rounded as the loss rounds
    them. It stands for the student until the next update.
    """
    network, dtype = student.network, student.compute_dtype
    working = body.weights()
    taken: dict[int, Any] = {
        id(master): working[name]
        for name, master in body_of(network).named_parameters()
        if name in working
    }
    for master in network.parameters():
        if id(master) not in taken:
            same = master.dtype == dtype
            rounded = None if same else nn.Parameter(master.detach().to(dtype), requires_grad=False)
            taken[id(master)] = master if rounded is None else rounded
    return replace(student, network=copy.deepcopy(network, memo=taken).eval())
