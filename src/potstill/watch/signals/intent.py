"""Intent: what prompts ask for beside the answer. It needs the prompts' text."""

from __future__ import annotations

import ibis.expr.types as ir

from potstill.watch.signals.traffic import Traffic

# Plain alternatives, the same in RE2 and in Java. Letters count without case.
REASONING = (
    r"step[ -]by[ -]step|chain[ -]of[ -]thought|think (out loud|aloud|it through|carefully)|"
    r"(show|explain|give|write|lay out|include|reveal)[^.?!]{0,40}(reasoning|thinking|thought|"
    r"working|steps)|reason(ing)? (before|first|trace)|inner monologue|<think|"
    r"schritt für schritt|gedankengang|denk(e|en)? laut|(zeig|erklär|schreib)[^.?!]{0,40}"
    r"(überlegung|gedanken|denkweg)|paso a paso|razonamiento|piensa en voz alta|"
    r"étape par étape|pas à pas|raisonnement|réfléchis|"
    r"一步一步|逐步|思维链|思考过程|推理过程|推理步骤"
)
RUBRIC = (
    r"rubric|(score|rate|grade|rank|judge)[^.?!]{0,60}(answer|response|candidate|from (0|1|one) to|"
    r"scale|out of)|which (answer|response|of the two)[^.?!]{0,30}(better|best|prefer)|reward|"
    r"preference pair|bewert(e|en|ung)|punktzahl|note(n)? von|puntúa|puntuación|califica|evalúa|"
    r"calificación|note[zr]? (la|les|sur|chaque)|barème|évalue|评分|打分|评价标准|奖励|评估"
)
# A party asks so if this share of its requests does.
SHARE = 0.25


def asking(traffic: Traffic) -> ir.Table:
    """Reasoning elicitation, and rubric and reward-shaped prompts: which parties ask so.

    Columns `party`, `reasoning`, `rubric`: whether a quarter or more of its requests match
    `REASONING` or `RUBRIC`, patterns of five languages.

    Catches: prompts that make a model write out its reasoning, or grade answers, for another one
    to be trained on. Looks the same: tutors, judges, a template that many like. So it is compared
    with other parties of the same zone and product (`Askers`), only describes a group that
    templates chose, whose parties ask alike for that reason, and never stands beside a shared place
    or a common clock alone: a course has one exercise. Evaded by words that no pattern knows.
    """
    requests = traffic.requests.filter(traffic.requests.prompt.notnull())
    # The one letter that engines do not make small alike: with a dot above, or without.
    text = requests.prompt.replace("İ", "i").lower()
    rows = requests.select(
        "party",
        reasoning=text.re_search(REASONING).cast("int32"),
        rubric=text.re_search(RUBRIC).cast("int32"),
    )
    each = rows.group_by("party").aggregate(
        n=rows.count(), reasoning=rows.reasoning.sum(), rubric=rows.rubric.sum()
    )
    # Whole numbers: no rounding decides.
    return each.select(
        "party",
        reasoning=each.reasoning * int(1 / SHARE) >= each.n,
        rubric=each.rubric * int(1 / SHARE) >= each.n,
    ).order_by("party")
