"""How the requests and accounts of each kind look one by one; nothing here joins two accounts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from potstill.simulator.spec import AWKWARD, LANGUAGES, Look

MODELS = ("still-mini", "still-base", "still-large", "still-coder", "still-next")
NEW_MODEL = len(MODELS) - 1
# Which of BurstGPT's two rates a model fails at.
SLOW = (0, 0, 1, 0, 1)
PRODUCTS = ("api", "chat", "batch", "code")
PLANS = ("free", "starter", "pro", "enterprise")
AGENTS = (
    "python-sdk/1.40", "python-sdk/1.52", "node-sdk/4.11", "requests/2.32", "httpx/0.28",
    "curl/8.9", "Mozilla/5.0", "go-http-client/2.0", "agent-cli/0.9", "gateway/3.2",
)  # fmt: skip
# The names of tools that are on offer, as JSON.
TOOLS = (
    '["read_file","write_file","run"]', '["search"]', '["shell","edit","test","search"]', '["sql"]',
)  # fmt: skip

GRAMMARS = (
    "chat", "support", "rag", "code", "agent", "eval", "synth", "judge", "ci", "translate",
    "class", "launch", "hack",
)  # fmt: skip
ORDINARY = "ordinary"


@dataclass(frozen=True)
class Cover:
    """The marginals of a kind. Weights need not add up to 1."""

    grammar: str
    product: int = 0
    models: tuple[float, ...] = (3, 4, 2, 1, 0)
    day: str = "fitted"
    weekend: float = 0.6
    agents: tuple[float, ...] = (3, 4, 2, 1, 1, 1, 0, 1, 0, 0)
    plans: tuple[float, ...] = (1, 4, 3, 1)
    tenant: float = 0.2
    corporate: float = 0.4
    clients: int = 3
    tools: float = 0.0
    turns: float = 0.0
    system: float = 0.6
    flat: tuple[float, ...] = (0.0, 0.3)
    fresh: tuple[float, ...] = (0.0, 0.3)
    adoption: tuple[float, ...] = (0.1, 0.3)
    fails: float = 0.0
    rates: tuple[float, ...] = (6, 26, 860)
    mixes: tuple[float, ...] = (0.0, 0.25, 0.5)


_AUTOMATIC = (0.5, 1.0)
COVERS: dict[str, Cover] = {
    "evaluation_suite": Cover("eval", models=(2, 3, 4, 1, 0), day="even", flat=_AUTOMATIC),
    "synthetic_data": Cover("synth", 2, tenant=1.0, corporate=0.9, flat=_AUTOMATIC,
                            plans=(0, 1, 3, 2)),
    "llm_judge": Cover("judge", models=(1, 3, 5, 0, 0), tenant=0.5, flat=_AUTOMATIC),
    "ci_keys": Cover("ci", 3, models=(1, 2, 1, 5, 0), day="office", weekend=0.2, tenant=1.0,
                     corporate=0.9, clients=200, agents=(1, 1, 3, 1, 1, 4, 0, 2, 1, 0)),
    "translation_etl": Cover("translate", 2, day="night", tenant=1.0, corporate=0.9,
                             flat=_AUTOMATIC, plans=(0, 1, 3, 2)),
    "coding_harness": Cover("agent", 3, models=(0, 2, 3, 5, 0), tools=1.0, turns=0.4, system=1.0,
                            agents=(0, 0, 1, 0, 0, 0, 0, 0, 6, 0), clients=4, rates=(6, 6, 26)),
    "classroom_nat": Cover("class", 1, day="lessons", weekend=0.1, corporate=1.0, system=0.9,
                           fresh=(0.6, 1.0), plans=(6, 1, 0, 0), clients=1,
                           agents=(0, 0, 0, 0, 0, 0, 1, 0, 0, 0),
                           rates=(6, 26), flat=(0.0,)),
    "reseller_gateway": Cover("chat", tenant=1.0, corporate=0.9, clients=12, turns=0.4,
                              agents=(1, 0, 1, 0, 0, 0, 0, 1, 0, 6), flat=(1.0,), rates=(26, 860)),
    "launch_rush": Cover("launch", 1, fresh=(0.3, 0.6), adoption=(0.5, 0.8), plans=(4, 3, 2, 0),
                         agents=(2, 2, 1, 1, 0, 1, 4, 0, 0, 0), flat=(0.0,)),
    "retry_storm": Cover("support", fails=0.02, flat=_AUTOMATIC),
    "key_rotation": Cover("rag", tenant=1.0, corporate=0.9, system=1.0, flat=_AUTOMATIC),
    "hackathon": Cover("hack", 3, models=(1, 3, 2, 4, 0), fresh=(0.7, 1.0), plans=(5, 3, 0, 0),
                       tools=0.4, flat=(0.3,), corporate=0.2),
}  # fmt: skip
# Ordinary accounts and the unrelated part of everybody's requests.
USUAL = Cover("chat", turns=0.3)
# What ordinary accounts are used for, by grammar.
USES = (0.4, 0.12, 0.12, 0.12, 0.06, 0.01, 0.02, 0.02, 0.03, 0.06, 0.02, 0.01, 0.01)

_HOURS = {
    "office": (1, 1, 1, 1, 1, 1, 2, 5, 9, 12, 12, 11, 8, 10, 12, 12, 11, 8, 5, 3, 2, 2, 1, 1),
    "lessons": (0, 0, 0, 0, 0, 0, 1, 6, 14, 14, 12, 12, 6, 10, 10, 6, 3, 2, 3, 4, 4, 2, 1, 0),
    "night": (9, 12, 14, 12, 9, 6, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3, 4, 6, 8),
    "even": (1,) * 24,
}


def hour_shares(day: str) -> np.ndarray:
    """Return the share of requests in each local hour; ServeGen's for `fitted`."""
    from potstill.simulator.fit import hours

    if day == "fitted":
        return hours()
    weights = np.array(_HOURS[day], dtype=np.float64)
    return np.asarray(weights / weights.sum())


def drawn_look(
    cover: str, rng: np.random.Generator, days: int, launch_day: int, *, settled: bool = True
) -> Look:
    """Draw the look of a group of this kind.

    A launch's rush has to lie at the launch, a hackathon in two days; others last all days, or,
    if not `settled`, any part of them.
    """
    kind = COVERS[cover]
    first, length = 0, days
    if cover == "launch_rush":
        first, length = min(launch_day, days - 1), min(2, days - min(launch_day, days - 1))
    elif cover == "hackathon" or not settled:
        length = min(days, 2 if cover == "hackathon" else int(rng.integers(2, days + 1)))
        first = int(rng.integers(0, days - length + 1))
    several = rng.random() < 0.3
    count = int(rng.integers(2, len(LANGUAGES) + 1)) if several else 1
    languages = rng.choice(
        len(LANGUAGES), size=count, replace=False, p=(0.4, 0.15, 0.15, 0.15, 0.15)
    )
    return Look(
        cover=cover,
        rate=float(rng.choice(kind.rates)),
        mix=float(rng.choice(kind.mixes)),
        intent=str(rng.choice(("plain", "reasoning", "rubric", "long"), p=(0.4, 0.25, 0.2, 0.15))),
        languages=tuple(LANGUAGES[i] for i in sorted(languages)),
        paraphrase=float(rng.choice((0.0, 0.2, 0.5))),
        flat=float(rng.choice(kind.flat)),
        fresh=float(rng.choice(kind.fresh)),
        adoption=float(rng.choice(kind.adoption)),
        fails=kind.fails,
        first_day=first,
        days=length,
    )


assert set(COVERS) == set(AWKWARD)
