"""The pace that minutes are computed from is measured on the model itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from potstill.models.load import load
from potstill.trace.gather.local import LocalModel
from potstill.trace.gather.pace import measured_pace
from potstill.trace.power import answers_outlay


def test_a_model_has_a_pace(nano_llama: Path) -> None:
    local = LocalModel(load(str(nano_llama), device="cpu", precision="fp32"), slots=4)
    pace = measured_pace(local, [[5, 6, 7]] * 6)
    assert pace.read > 0
    assert pace.written > 0
    assert answers_outlay([3] * 6, 1, 8, pace=pace).minutes is not None
    with pytest.raises(ValueError, match="one prompt at least"):
        measured_pace(local, [])
