"""What tells how good a student is, for whoever chooses between students."""

from __future__ import annotations

from collections.abc import Callable

from potstill.models.loaded import LoadedModel
from potstill.models.vocabulary import VocabularyMap

Measure = Callable[[LoadedModel, VocabularyMap | None], dict[str, float]]
"""From a student, and the map from its teacher's vocabulary where that was trimmed, to figures.

`kl` (nats a token) and `agreement` (share) where the teacher's distributions are at hand, `nll`
(nats a token) where only its text is.
"""
