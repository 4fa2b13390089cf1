"""Does an answer begin with a refusal?

A short list of openings in ten languages, on the first words only: what a later sentence declines
("I cannot say which is better") is part of an answer. An apology or an inability alone is no
refusal ("I'm sorry for your loss", "I can't believe it is spring"); it takes an inability to do
what a request asks for.
"""

from __future__ import annotations

import re

from potstill.text.forms import folded

_LOOKED_AT = 240  # characters

_LEAD = r"[\W_]*"
_EN_DO = (
    r"(?:help|assist|comply|fulfil?l|provide|answer|create|write|generate|produce|give|offer|share"
    r"|discuss|engage|continue|proceed|complete|process|support|do (?:that|this)|access|browse"
    r"|respond|recommend|participate|advise|tell you|make|translate|summari[sz]e|show|explain"
    r"|describe|endorse|facilitate|promote|accommodate|speculate|disclose|reveal|be of help)"
)
_EN_CANNOT = (
    r"(?:can(?:no|['’]?)t|can not|won['’]?t|will not|could(?:n['’]?t| not)|must decline to"
    r"|have to decline to|must refuse to|refuse to|decline to"
    r"|(?:am|are|['’]m|['’]re) (?:\w+ )?(?:not able|unable|not (?:comfortable|willing|allowed"
    r"|permitted|programmed|designed))(?: to)?"
    r"|(?:do not|don['’]?t) (?:feel comfortable|have the (?:ability|capability|capacity))(?: to)?)"
)
_EN_SORRY = (
    r"(?:(?:(?:i|we)(?: am| are|['’]m|['’]re) (?:\w+ )?(?:sorry|afraid)|sorry|apologies"
    r"|(?:i|we|my) (?:must )?apolog(?:i[sz]e|ies)|unfortunately|regrettably)\b[^.!?\n]{0,60}?)"
)
_EN_AI = r"as an? (?:ai|artificial intelligence|(?:large )?language model)\b[^.!?\n]{0,60}?"

_PATTERNS = (
    # English
    rf"(?:{_EN_SORRY}|{_EN_AI})?(?:\bi|\bwe)(?: \w+ly| just| simply)? ?{_EN_CANNOT}"
    rf"(?: \w+ly)?(?: in good conscience)? (?:be able to )?{_EN_DO}\b",
    rf"(?:{_EN_SORRY}|{_EN_AI})(?:that|this) (?:is|goes|would be) "
    r"(?:not something|against|beyond|outside)\b",
    rf"{_EN_AI}\bi (?:do not|don['’]?t) have (?:access|the ability|permission)\b",
    r"(?:sorry|(?:i['’]?m|i am) sorry),? (?:but )?(?:no|i can(?:no|['’]?)t)\s*[.!]",
    r"i must (?:respectfully )?(?:decline|refuse)\b",
    r"(?:i (?:do not|don['’]?t|would not|wouldn['’]?t) feel comfortable \w+ing)\b",
    rf"(?:that|this|it)(?:['’]?s| is) (?:not|n['’]t) something (?:that )?i can {_EN_DO}\b",
    # German
    r"(?:es tut mir (?:sehr )?leid|tut mir leid|entschuldigung|leider|als ki\b[^.!?\n]{0,40}?)"
    r"[^.!?\n]{0,60}?\b(?:kann|darf|werde|möchte) (?:ich |dir |ihnen )*[^.!?\n]{0,40}?"
    r"\bnicht\b[^.!?\n]{0,40}?(?:helfen|unterstützen|beantworten|geben|erstellen|schreiben"
    r"|erfüllen|bereitstellen|nachkommen|weiterhelfen)",
    r"(?:dabei|damit|bei dieser? \w+) kann ich (?:dir |ihnen )?(?:leider )?nicht (?:weiter)?helfen",
    r"ich kann (?:dir |ihnen )?(?:dabei|damit|bei dieser? \w+) (?:leider )?nicht (?:weiter)?helfen",
    r"ich bin (?:leider )?nicht (?:in der lage|befugt|berechtigt)\b",
    # French
    r"(?:(?:je suis )?(?:vraiment )?désolée?|je regrette|malheureusement|je m['’]excuse"
    r"|en tant qu['’](?:ia|intelligence artificielle))[^.!?\n]{0,40}?\bje ne "
    r"(?:peux|puis|suis) (?:pas )?(?:en mesure de |autorisée? à )?(?:vous |t['’]|te )?\w+",
    r"je ne (?:peux|puis) (?:malheureusement )?pas (?:vous |t['’]|te )?"
    r"(?:aider|fournir|répondre|créer|écrire|générer|satisfaire|donner)",
    r"il m['’]est impossible de (?:vous |t['’]|te )?"
    r"(?:aider|fournir|répondre|créer|écrire|générer|satisfaire|donner)",
    # Spanish
    r"(?:lo siento|lo lamento|disculpa|perdón|lamentablemente|desafortunadamente"
    r"|como (?:una )?(?:ia|inteligencia artificial|modelo de lenguaje))[^.!?\n]{0,40}?\bno "
    r"(?:puedo|podemos|me es posible|soy capaz|estoy autorizad[oa])\b",
    r"no puedo (?:ayudar|proporcionar|cumplir|responder|crear|escribir|generar)",
    # Portuguese
    r"(?:desculpe|desculpa|sinto muito|lamento|infelizmente|como (?:uma )?"
    r"(?:ia|inteligência artificial|modelo de linguagem))[^.!?\n]{0,40}?\bnão "
    r"(?:posso|podemos|consigo|sou capaz|me é possível)\b",
    r"não posso (?:ajudar|fornecer|atender|responder|criar|escrever|gerar)",
    # Italian
    r"(?:mi dispiace|mi spiace|scusa|purtroppo|come (?:un['’])?(?:ia|intelligenza artificiale"
    r"|modello linguistico))[^.!?\n]{0,40}?\bnon (?:posso|possiamo|sono in grado|mi è possibile)\b",
    r"non posso (?:aiutar|fornir|risponder|crear|scriver|generar|soddisfar)\w*",
    # Dutch
    r"(?:het spijt me|sorry|helaas|als ai\b)[^.!?\n]{0,40}?\bkan ik (?:je |u )?[^.!?\n]{0,40}?"
    r"\bniet\b",
    r"(?:het spijt me|sorry|helaas)[^.!?\n]{0,40}?\bik kan (?:je |u )?[^.!?\n]{0,40}?\bniet\b",
    # Russian
    r"(?:извините|простите|к сожалению|мне (?:очень )?жаль|как (?:ии|искусственный интеллект"
    r"|языковая модель))[^.!?\n]{0,40}?\bя не (?:могу|смогу|в состоянии|имею)\b",
    r"я не (?:могу|смогу) (?:вам |тебе |с этим )*(?:помочь|предоставить|ответить|выполнить)",
    # Chinese
    r"(?:很?抱歉|对不起|不好意思|非常抱歉)[^。！？\n]{0,16}?(?:不能|无法|没法|不可以|不便)",
    r"(?:我|作为[^。！？\n]{1,12}?[，,]?我?)(?:不能|无法|没法)(?:为您|为你|向您|向你)?"
    r"(?:提供|帮助|回答|协助|满足|生成|完成|处理)",
    # Japanese
    r"(?:申し訳|すみません|ごめんなさい|残念ながら)[^。！？\n]{0,50}?"
    r"(?:できません|できかねます|いたしかねます|お答えできない|お手伝いできない|致しかねます)",
)
_REFUSAL = re.compile(_LEAD + "(?:" + "|".join(f"(?:{p})" for p in _PATTERNS) + ")")


def refuses(answer: str) -> bool:
    """Tell whether an answer begins with a refusal."""
    return _REFUSAL.match(folded(answer[:_LOOKED_AT])) is not None
