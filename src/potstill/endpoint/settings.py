"""What a client is told about a server, by whoever has it asked: a run, a judge, a suspect's probe.

No recipe is known here. What its user calls a setting, in a file or on a command line, comes with
the settings, so that a sentence can name what to put right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from potstill.endpoint.budget import Budget, Prices, Tokens
from potstill.endpoint.identity import endpoint_identity


@dataclass(frozen=True)
class SettingNames:
    """What the user calls the settings that sentences name, `teacher.endpoint.url` for example."""

    model: str
    url: str
    key_env: str
    max_in_flight: str
    scores_text: str
    extra: str

    @classmethod
    def under(cls, section: str, *, model: str) -> SettingNames:
        """Return the names of settings that stand together in a section; `model` is whole."""
        return cls(
            model=model,
            url=f"{section}.url",
            key_env=f"{section}.key_env",
            max_in_flight=f"{section}.max_in_flight",
            scores_text=f"{section}.scores_text",
            extra=f"{section}.extra",
        )


@dataclass(frozen=True)
class ServerSettings:
    """A server and how it is asked.

    `url` ends in `/v1`; `provider` and `revision` name who answers, `key_env` the environment
    variable that holds the key. At most `max_in_flight` requests are open, each for at most
    `timeout_s` seconds, and a prompt is asked `tries` times. Prices are those of a million tokens;
    `budget` (money) and `budget_tokens` are the most that may be spent: None is no limit.
    `top_logprobs` likeliest tokens are asked for at each position of an answer. `scores_text`: the
    server reads given text. `extra` is merged into every request.
    """

    url: str
    provider: str
    max_in_flight: int
    timeout_s: float
    tries: int
    names: SettingNames
    revision: str | None = None
    key_env: str | None = None
    price_in: float | None = None
    price_out: float | None = None
    budget: float | None = None
    budget_tokens: int | None = None
    top_logprobs: int = 0
    scores_text: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prices(self) -> Prices:
        """What a million tokens cost."""
        return Prices(self.price_in, self.price_out)

    def budget_after(self, spent: Tokens) -> Budget:
        """Return what may still be spent where `spent` was."""
        return Budget(self.prices, money=self.budget, tokens=self.budget_tokens, spent=spent)

    def identity(self, model: str) -> str:
        """Return the identity of a model that is served here."""
        return endpoint_identity(self.provider, model, self.revision)
