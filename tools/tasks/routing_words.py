"""What customers of a shop write, by the queue that can help them.

`[a|b]` stands for a choice. Each list has a part for training and a part that only held-out rows
use. Asks deliberately use the words of other queues: a parcel in a question about charges, a
charge in one about signing in.
"""

from __future__ import annotations

ASKS: dict[str, tuple[list[str], list[str]]] = {
    "delivery": (
        [
            "[Where is|Do you know where] my {item} [right now|at the moment]?",
            "When [will|does] the {item} [reach|get to] {place}?",
            "The [tracking page|tracking link] has [shown nothing|not moved] since {day}.",
            "The [driver|courier] left my {item} with somebody I do not know.",
            "Only one of two [boxes|parcels] [came|turned up] on {day}.",
            "Can the {item} be dropped at a [pick-up point|parcel shop] in {place} instead?",
            "It says [handed over|signed for], but my {item} is not here.",
            "How [long|many days] until the replacement {item} gets to me?",
            "The exchanged {item} [left you|was posted] on {day} and still is not in {place}.",
            "[Could|Can] the van come to {place} on {day} rather than before?",
            "Nobody rang the bell, yet there is a card that says I was out.",
            "I paid for overnight and my {item} is [still on the road|still not at my door].",
            "My {item} went to the flat I moved out of, can it be sent on?",
        ],
        [
            "Has the {item} left your warehouse [yet|already]?",
            "It was meant to be on my doorstep on {day} and nothing [has come|is there].",
            "The map shows my {item} going round in circles near {place}.",
            "Your carrier wants a gate code for {place}, who do I give it to?",
            "[Which|What] day should I stay at home for the {item}?",
            "My neighbour's {item} was brought to me and mine is missing.",
        ],
    ),
    "returns": (
        [
            "I want to [send back|give back] the {item}, it is [too big|not my colour].",
            "[How|Where] do I [post|send] the {item} if I do not like it?",
            "Please [print|send] me a label so the {item} can go back.",
            "Can I swap the {item} for a [larger|smaller] one?",
            "The {item} works, I just [changed my mind|do not need it] and want my money.",
            "Is {day} still early enough to bring the {item} back?",
            "You got my {item} on {day}, when do I see the money for it?",
            "The box of the {item} is open, will you still take it?",
            "I was given two of the same {item}, one should go back to you.",
            "Can the shop in {place} take the {item} back and pay me out?",
            "The {item} looks different from the picture, I would like to hand it back.",
            "My {item} came in blue and I ordered green, I want the right one.",
            "Who pays the postage when I do not keep the {item}?",
        ],
        [
            "The {item} does not suit me, what must I do to get rid of it?",
            "How many days do I have before I am stuck with the {item}?",
            "The {item} I shipped to you in {place} has not been paid out.",
            "I would rather have a voucher than keep this {item}.",
            "Nothing is wrong with the {item}, my partner bought the same one.",
            "Do you take a {item} without its packaging?",
        ],
    ),
    "billing": (
        [
            "Why was I charged [twice|two times] for the {item}?",
            "I need [an invoice|a proper receipt] for the {item} with our tax number.",
            "My card was [refused|declined] although there is money on it.",
            "The sum on my statement is [higher|more] than the price of the {item}.",
            "Express delivery is on the bill and I never asked for it.",
            "[Can|May] I pay for the {item} in [three parts|instalments]?",
            "The voucher was not taken off when I paid for the {item}.",
            "There is a fee of {amount} from you that I do not recognise.",
            "The [receipt|invoice] for my {item} has the wrong company name.",
            "You took the money on {day} and again a day later.",
            "Can I [pay by|use] bank transfer for a {item}?",
            "The repair was free under warranty, so why is there {amount} on my card?",
            "The bill went to {place}, our accounts people need it by {day}.",
        ],
        [
            "What is this [debit|amount] of {amount} for?",
            "The discount for the {item} is missing from what I had to pay.",
            "My bank says you asked for {amount} and the {item} costs less.",
            "Our bookkeeper wants a copy of the bill for the {item}.",
            "Postage was taken although the {item} was sold with free shipping.",
            "I would like to settle the {item} by direct debit, is that possible?",
        ],
    ),
    "account": (
        [
            "I [cannot|can't] sign in [any more|since {day}].",
            "The code for signing in never arrives on my phone.",
            "[Please change|Can you change] the e-mail you have for me?",
            "How do I set a new password when the link has run out?",
            "[Please delete|Please close] my profile and everything you know about me.",
            "My old orders are gone from my page, only the {item} is left.",
            "Somebody else is using my login and put a {item} in my basket.",
            "I have two profiles, can you make them one?",
            "The site says my name is taken when I register to buy a {item}.",
            "How do I stop your [newsletter|e-mails] about the {item}?",
            "My surname is different now, where do I correct it?",
            "It locks me out each time I try to look at the bill.",
            "The page wants my birthday before it lets me in, and refuses it.",
        ],
        [
            "Your site does not know my e-mail address [any longer|at all].",
            "I was hacked on {day}, please block my profile.",
            "The app throws me out when I want to see where my {item} is.",
            "[Which|What] data do you keep about me, and can I have it removed?",
            "I no longer have the phone that gets the security code.",
            "My daughter should be able to log in with me, how do I add her?",
        ],
    ),
    "repair": (
        [
            "The {item} [stopped working|broke] [on {day}|after a week], can it be mended?",
            "My {item} makes a [grinding|rattling] noise since {day}.",
            "Where do I get a spare [part|screw] for my {item}?",
            "The {item} will not [switch on|turn on], it is under warranty.",
            "[Can|Could] somebody in {place} fix my {item}?",
            "There is a crack in my {item}, I want to keep it but whole.",
            "The lock of the {item} no longer takes its code.",
            "My {item} gets hot and smells of smoke.",
            "Water runs out of the bottom of the {item}.",
            "The handle came off my {item}, do you sell handles?",
            "The {item} shows an error and goes off by itself.",
            "Is the warranty of two years enough to have the {item} fixed?",
            "The battery of my {item} lasts ten minutes now, can you put in a new one?",
        ],
        [
            "My {item} fell down and one side is loose, who can glue it?",
            "The {item} only hums [now|since {day}], a technician should look at it.",
            "How long does it take to have a {item} mended?",
            "One leg of the {item} is bent, may I have that piece alone?",
            "The {item} flickers whenever it is plugged in.",
            "It is eight months old, and the motor of my {item} is dead.",
        ],
    ),
    "advice": (
        [
            "Does the {item} [fit|go with] the older model?",
            "[Which|What] size of {item} is right for [a small flat|two people]?",
            "Is the {item} [safe|suitable] for [children|outdoor use]?",
            "How do I clean the {item} without [ruining|scratching] it?",
            "What is the difference between the {item} and the cheaper one?",
            "Can the {item} run on [batteries|solar power]?",
            "Before I buy: how [loud|heavy] is the {item}?",
            "Will you have the {item} in green again?",
            "How do I put the {item} together, there is no manual in the box?",
            "Is the {item} easy to mend if it breaks one day?",
            "Do the colours of the {item} look like those in the picture?",
            "I have not bought it yet: does the {item} come with a cable?",
            "Which button on the {item} sets the clock?",
        ],
        [
            "Would you take the {item} or the bigger one for a house in {place}?",
            "How often should I oil the {item}?",
            "Is there anything I need besides the {item} to get started?",
            "Does a {item} pay for itself with what it saves?",
            "What is the {item} made of?",
            "May the {item} go into the dishwasher?",
        ],
    ),
    "cancel": (
        [
            "Please [cancel|drop] the {item} I ordered on {day}.",
            "[Stop|Hold] the parcel, I no longer want the {item}.",
            "I ordered the {item} by mistake, can you take it off?",
            "Please end my [subscription|membership] before you charge me again.",
            "I found the {item} cheaper in {place}, so do not send mine.",
            "Is it too late to call off the {item}?",
            "Nothing has been paid or sent yet, please forget about the {item}.",
            "I clicked on buy twice, one {item} is enough, remove the other.",
            "I do not wish to renew my plan after {day}.",
            "Please void the order for the {item}, it takes too long.",
            "Take the {item} out of my order before it leaves you.",
            "Do not pack the {item}, I have got one as a present.",
            "My plans changed, the {item} for {day} is not needed.",
        ],
        [
            "I would like to withdraw the order I placed on {day}.",
            "The {item} has not gone out yet, so please leave it on the shelf.",
            "Let my monthly plan run out, I will not go on with it.",
            "Scrap the {item}, but leave the rest of the order as it is.",
            "How do I undo the purchase of the {item} I just made?",
            "My boss said no to the {item}, please do not process it.",
        ],
    ),
}

# Noun phrases for what a message is not about.
TOPICS: dict[str, tuple[list[str], list[str]]] = {
    "delivery": (
        ["the late parcel", "where the {item} is", "the courier", "the tracking number"],
        ["the lost box", "the driver"],
    ),
    "returns": (
        ["my refund", "sending the {item} back", "the return label", "swapping the {item}"],
        ["the money for the {item} I sent back", "the exchange"],
    ),
    "billing": (
        ["the double charge", "the invoice", "my declined card", "the price of the {item}"],
        ["the bill for the {item}", "that odd fee"],
    ),
    "account": (
        ["my password", "signing in", "my e-mail address", "the locked profile"],
        ["the login code", "my user name"],
    ),
    "repair": (
        ["the broken {item}", "the warranty", "the spare part", "the noise of the {item}"],
        ["the faulty {item}", "having the {item} mended"],
    ),
    "advice": (
        ["how the {item} works", "which {item} to buy", "the size of the {item}", "the manual"],
        ["what the {item} can do", "cleaning the {item}"],
    ),
    "cancel": (
        ["cancelling the {item}", "my subscription", "stopping the order", "calling it off"],
        ["ending my plan", "the order I withdrew"],
    ),
}

# Things that have been settled: they name a queue and ask for nothing.
SETTLED: dict[str, tuple[list[str], list[str]]] = {
    "delivery": (
        [
            "The {item} arrived on {day}, thanks.",
            "The parcel did reach {place} in the end.",
            "Your courier was very kind when he brought the {item}.",
        ],
        ["The box with the {item} has turned up.", "Shipping to {place} was quick this time."],
    ),
    "returns": (
        [
            "The refund for the {item} is on my card already.",
            "I have sent the {item} back and have my money.",
            "Swapping the {item} went well.",
        ],
        ["The money for the {item} I gave back has come.", "The return of the {item} is done."],
    ),
    "billing": (
        [
            "The invoice for the {item} is here and correct.",
            "You have taken off the double charge, good.",
            "I have paid the bill of {amount}.",
        ],
        ["My card works again.", "The fee of {amount} has been explained to me."],
    ),
    "account": (
        [
            "My new password works.",
            "I can sign in again since {day}.",
            "Thanks for changing my e-mail address.",
        ],
        ["Logging in is no trouble now.", "My profile has the right name by now."],
    ),
    "repair": (
        [
            "The {item} you fixed runs like new.",
            "Your technician mended my {item} on {day}.",
            "The spare part for the {item} fits.",
        ],
        ["The warranty paid for the broken {item}.", "The {item} no longer makes that noise."],
    ),
    "advice": (
        [
            "Thanks for telling me how to clean the {item}.",
            "I know now which {item} I need.",
            "The manual for the {item} was what I needed.",
        ],
        ["You helped me choose the {item}, and well.", "I have understood how the {item} works."],
    ),
    "cancel": (
        [
            "You have cancelled the {item}, as I asked.",
            "My subscription has ended, thank you.",
            "The order from {day} is off, I saw that.",
        ],
        ["Good that the {item} could still be stopped.", "My plan has run out as I wished."],
    ),
}

# {ask} is what the message wants, {topic} and {other} belong to another queue.
DENIED = (
    [
        "This is not about {topic}. {ask}",
        "{ask} It has nothing to do with {topic}.",
        "No, I am not asking about {topic}. {ask}",
        "Please do not send me to the people for {topic} again. {ask}",
        "Your bot thought I meant {topic}. {ask}",
        "{ask} And no, {topic} is not the matter.",
    ],
    [
        "Leave {topic} aside. {ask}",
        "{ask} You keep answering about {topic}, which I never raised.",
        "Everybody here talks of {topic}, I do not. {ask}",
    ],
)
CORRECTED = (
    [
        "{other} No wait, that has been answered. {ask}",
        "{other} Sorry, wrong window, that is for another shop. {ask}",
        "I meant to write about {topic}, but it has solved itself. {ask}",
        "{ask} My earlier mail about {topic} can be ignored.",
        "My {relative} will write to you about {topic}. For my part: {ask}",
        "Yesterday it was {topic}, and that is done. {ask}",
        "First I wanted to ask: {other} I found out myself. {ask}",
    ],
    [
        "{other} Forget that. {ask}",
        "A colleague of yours is dealing with {topic}. {ask}",
        "{ask} Last week's ticket about {topic} can be closed.",
        "{other} That was my {relative}'s question, and it is answered. Mine: {ask}",
    ],
)
OPENINGS = (
    ["", "", "", "Hello!", "Hi there.", "Good morning.", "Dear team,", "Quick question."],
    ["", "", "Good evening.", "Hey there!", "To whom it may concern."],
)
CLOSINGS = (
    ["", "", "", "Thanks.", "Regards, {name}", "Order {number}.", "Please answer soon."],
    ["", "", "Best wishes, {name}", "My number is {number}.", "Waiting to hear from you."],
)
