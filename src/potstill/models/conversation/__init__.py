"""One way to speak: from messages to ids and back, by a tokenizer's own chat template.

Nothing else in potstill renders a template. What a template writes after an answer, what its prompt
has opened of one, and how reasoning is laid out are learnt by rendering, never by a model's name.
"""

from potstill.models.conversation.conversation import VERSION, Conversation, Reply
from potstill.models.conversation.templates import Messages, Tools, with_defaults

__all__ = ["VERSION", "Conversation", "Messages", "Reply", "Tools", "with_defaults"]
