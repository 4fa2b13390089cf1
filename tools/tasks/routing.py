"""The task with labels: into which queue of a shop's support does a message go?"""

from __future__ import annotations

import nouns
import routing_frames as frames
from routing_asks import ASKS
from wording import WORDINGS, Dice, hurried, with_typos, worded

QUEUES = tuple(ASKS)
# How a message misleads, and how many of a hundred do so.
STYLES = ("plain",) * 16 + ("settled",) * 28 + ("denied",) * 24 + ("corrected",) * 32
TYPOS = 25
HURRIED = 20

Row = dict[str, str]


def row(queue: str, seed: str, *, wording: str) -> Row:
    """Return {message, queue, style, wording}.

    `wording` says from which part every wording, thing, place and name is: one of `WORDINGS`.
    """
    dice = Dice(seed)
    part = WORDINGS.index(wording)
    style = dice.choice(STYLES)
    other = dice.choice([name for name in QUEUES if name != queue])
    slots = _slots(dice, part)
    ask = worded(dice.choice(ASKS[queue][part]), slots, dice)
    text = _placed(style, ask, other, dice, part)
    opening = worded(dice.choice(frames.OPENINGS[part]), slots, dice)
    closing = worded(dice.choice(frames.CLOSINGS[part]), slots, dice)
    message = " ".join(f"{opening} {text} {closing}".split())
    if dice.chance(TYPOS):
        message = with_typos(message, (), dice)
    if dice.chance(HURRIED):
        message = hurried(message, dice)
    return {
        "message": message,
        "queue": queue,
        "style": style,
        "wording": wording,
    }


def _placed(style: str, ask: str, other: str, dice: Dice, part: int) -> str:
    """Return the ask among what another queue's words say."""
    # The other matter has things and days of its own.
    slots = _slots(dice, part)
    if style == "plain":
        return ask
    if style == "settled":
        settled = worded(dice.choice(frames.SETTLED[other][part]), slots, dice)
        return f"{settled} {ask}" if dice.chance(70) else f"{ask} {settled}"
    around = frames.DENIED if style == "denied" else frames.CORRECTED
    filled = {
        "ask": ask,
        "topic": worded(dice.choice(frames.TOPICS[other][part]), slots, dice),
        "other": worded(dice.choice(ASKS[other][part]), slots, dice),
        "relative": slots["relative"],
    }
    return worded(dice.choice(around[part]), filled, dice)


def _slots(dice: Dice, part: int) -> dict[str, str]:
    return {
        "item": dice.choice(nouns.ITEMS[part]),
        "place": dice.choice(nouns.CITIES[part]),
        "name": dice.choice(nouns.NAMES[part]),
        "relative": dice.choice(nouns.RELATIVES[part]),
        "day": dice.choice(nouns.DAYS),
        "amount": f"{3 + dice.below(90)}.{dice.choice(('00', '50', '90', '99'))}",
        "number": str(10_000 + dice.below(90_000)),
    }
