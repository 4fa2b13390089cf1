"""Which language a text is in, where it is long enough to tell."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from potstill.extras import extra_package

LEAST_LETTERS = 40
# Scripts whose characters are words or syllables say as much in fewer.
_LEAST_DENSE_LETTERS = 12
_DENSE = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+", re.DOTALL)
_NO_LANGUAGE = "zxx"


@dataclass(frozen=True)
class Identified:
    """A language (ISO 639 code) and how probable the identifier finds it."""

    language: str
    probability: float


def identified(text: str, *, needed_by: str = "telling languages apart") -> Identified | None:
    """Return the likeliest language of a text, code and addresses left out.

    Returns None where fewer than 40 letters are left (12 in Chinese, Japanese or Korean), or no
    language is likeliest. Raises PotstillError, which begins with `needed_by`, where py3langid is
    not installed.
    """
    prose = _CODE.sub(" ", text)
    dense = len(_DENSE.findall(prose))
    letters = sum(character.isalpha() for character in prose)
    if letters < LEAST_LETTERS and dense < _LEAST_DENSE_LETTERS:
        return None
    language, probability = _identifier(needed_by).classify(
        prose.encode("utf-8", "replace").decode()
    )
    return None if language == _NO_LANGUAGE else Identified(str(language), float(probability))


def known_languages(*, needed_by: str = "telling languages apart") -> frozenset[str]:
    """Return the codes (ISO 639) of the languages that can be told; raises as `identified`."""
    return frozenset(map(str, _identifier(needed_by).nb_classes)) - {_NO_LANGUAGE}


def _identifier(needed_by: str) -> Any:
    return _loaded(extra_package("py3langid.langid", needed_by))


@lru_cache(maxsize=1)
def _loaded(langid: Any) -> Any:
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
