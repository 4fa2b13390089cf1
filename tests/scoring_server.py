"""The fault server with log-probabilities, which some of its answers lack."""

from __future__ import annotations

import random
from typing import Any

from fault_server import Behaviour, FaultServer, answer_to
from potstill.models.teacher_tokens import TeacherTokens

COUNT = 4


class ScoringServer(FaultServer):
    """Also gives log-probabilities (drawn, no model's) of tokens that are seldom those a tokenizer
    would cut its text into; every fourth answer has none, as where a server drops them."""

    def __init__(self, tokens: TeacherTokens, *, broken: int = 4) -> None:
        super().__init__(Behaviour(model="smollm2-nano"))
        special = set(tokens.tokenizer.all_special_ids)
        self.tokens, self.broken = tokens, broken
        # Short ones, which a tokenizer would merge.
        short = {text: i for text, i in tokens.id_of_text.items() if len(text) <= 2}
        self.plain = [i for text, i in short.items() if text.isalpha() and i not in special]

    def _answer(self, body: dict[str, Any], model: str) -> dict[str, Any]:
        answer = super()._answer(body, model)
        for choice in answer["choices"]:
            draw = random.Random(answer_to(body, choice["index"]))
            ids = draw.choices(self.plain, k=12)
            choice["message"]["content"] = self.tokens.tokenizer.decode(ids)
            if "logprobs" in body and draw.randrange(self.broken):
                rows = [self._scored(i, draw) for i in (*ids, self.tokens.eos_ids[0])]
                choice["logprobs"] = {"content": rows}
        return answer

    def _scored(self, token_id: int, draw: random.Random) -> dict[str, Any]:
        likely = list(dict.fromkeys([token_id, *draw.sample(self.plain, COUNT + 2)]))
        entries = [
            {"id": i, "token": self.tokens.texts[i], "logprob": -0.6 - n}
            for n, i in enumerate(likely[: COUNT + 1])
        ]
        return {**entries[0], "top_logprobs": entries}
