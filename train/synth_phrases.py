"""What the simulated users say: sentence templates, one set per world, and registers.

``[a|b]`` stands for a choice, ``{ref}`` for an order referred to by number, item or
pronoun, and the other fields for slots that the user names. Held-out templates are
whole sentences that the training grammar cannot produce, made of words that it can:
a test expands both and compares.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import product

from train.synth_world import World

TRAINING: dict[str, tuple[str, ...]] = {
    "status": (
        "[where is|where's|do you know where] {ref}[| now| right now]?",
        "[when does|when will|on which day will] {ref} [arrive|come|get here]?",
        "[what is|tell me|give me] the status of {ref}[|, please]",
        "[can|could] you [check|track] {ref}[| for me]?",
        "has {ref} been [shipped|sent] [yet|already]?",
        "I am [|still ]waiting for {ref}[|, when is it here?|, any news?]",
        "I want to know [when|if] {ref} [is coming|is on the way]",
        "{ref} [is not here yet|is late], [where is it?|when will it come?]",
    ),
    "cancel": (
        "[|please ]cancel {ref}[| for me]",
        "I [want|would like] to cancel {ref}[|, please]",
        "[can|could] you cancel {ref}?",
        "I do not [need|want] {ref} [any more|any longer|now]",
        "[|please ]stop {ref}[|, I do not need it]",
        "I changed my mind about {ref}[|, cancel it]",
        "is it [possible|too late] to stop {ref}?",
        "{ref} [can|should] be cancelled",
    ),
    "move_day": (
        "[can|could] you [bring|deliver|send] {ref} on {day}[| instead]?",
        "[|please ]move {ref} to {day}[|, I am away]",
        "[|please ]change the [day|delivery day] of {ref} to {day}",
        "I am [not at home|away], [bring|deliver] {ref} on {day}[|, please]",
        "{day} is [better|good] for {ref}",
        "I [want|need] {ref} on {day}[| instead]",
        "is {day} possible for {ref}?",
    ),
    "address": (
        "[|please ][send|deliver] {ref} to [my new address|another address]",
        "[|please ]change the address [of|for] {ref}",
        "I [moved|have moved], [send|deliver] {ref} to my new address",
        "the address [of|for|on] {ref} is [wrong|old]",
        "[can|could] you change where {ref} goes? I have a new address",
        "my address [is new|changed], {ref} should go there",
    ),
    "pickup": (
        "[can I|could I|I want to] [collect|pick up] {ref} in {city}",
        "[|please ][send|bring] {ref} to the pickup point in {city}",
        "is there a pickup point in {city} for {ref}?",
        "I will [collect|pick up] {ref} [|myself ]in {city}",
        "the pickup point in {city} is [better|good] for {ref}",
        "I am in {city}, can I [get|collect] {ref} there?",
    ),
    "return": (
        "I [want|would like|need] to [return|send back] {ref}",
        "how [can|do] I [return|send back] {ref}?",
        "{ref} [does not fit|is broken|is not good], [can I send it back?|I want to return it]",
        "can {ref} go back[| to you]?",
        "how long can I [return|send back] {ref}?",
        "I do not like {ref}, [can I return it?|I want to send it back]",
        "what do I do to [return|send back] {ref}?",
    ),
    "refund": (
        "when do I get [my money|the money] [|back ]for {ref}?",
        "[where is|what about] [my|the] refund for {ref}?",
        "I [want|would like|need] a refund for {ref}",
        "I [want|need] my money back for {ref}",
        "how long [until|before] I get the refund for {ref}?",
        "you did not [refund|pay back] {ref}[| yet]",
        "[can|could] you refund {ref}?",
    ),
    "exchange_size": (
        "[can I|could I|I want to] [exchange|swap|change] {ref} for size {size}",
        "I [need|want] {ref} in size {size}[| instead]",
        "{ref} is too [small|big], [I need|give me|send me] size {size}",
        "do you have {ref} in size {size}?",
        "{ref} does not fit, size {size} [is better|would fit]",
        "is it possible to have {ref} in size {size}?",
    ),
    "exchange_colour": (
        "[can I|could I|I want to] [exchange|swap|change] {ref} for [|the ]{new_colour}[| one]",
        "I [need|want] {ref} in {new_colour}[| instead]",
        "I [like|prefer] {new_colour}, can you swap {ref}?",
        "do you have {ref} in {new_colour}?",
        "the colour of {ref} is wrong, [I need|give me|send me] {new_colour}",
        "is it possible to have {ref} in {new_colour}?",
    ),
    "price": (
        "how much [was|is|did I pay for|did you charge for] {ref}?",
        "what did I pay for {ref}?",
        "[what was|tell me|give me] the price of {ref}[|, please]",
        "what [does|did] {ref} cost[| me]?",
        "I [want|need] to know the price of {ref}",
    ),
    "number": (
        "what is the [order number|number] [of|for] {ref}?",
        "I [lost|forgot] the order number [of|for] {ref}",
        "which order [is|was] {ref}?",
        "[tell me|give me] the order number [of|for] {ref}[|, please]",
        "I [want|need] the number [of|for] {ref}",
    ),
    "express_fee": (
        "how much is express[| delivery]?",
        "what does express[| delivery] cost?",
        "what do you charge for express[| delivery]?",
        "tell me the [price|fee] [of|for] express[| delivery]",
        "is there a fee for express[| delivery]?",
    ),
    "express_time": (
        "how long does express[| delivery] take?",
        "how [fast|many hours] is express[| delivery]?",
        "how many hours does express[| delivery] take?",
        "when does express[| delivery] [come|arrive|get here]?",
        "is express[| delivery] fast?",
    ),
    "free_from": (
        "when is delivery free?",
        "[from|for] what amount is delivery free?",
        "how much do I [have to|need to] [buy|pay] for free delivery?",
        "is delivery [|ever ]free?",
        "do you have free delivery?",
    ),
    "hours": (
        "when are you open[| today]?",
        "when do you open and close?",
        "[what are|tell me] your [|opening ]hours",
        "[when|at what time] do you [open|close][| today]?",
        "are you open [now|today]?",
        "until when [are you open|can I call you]?",
    ),
    "window": (
        "how long can I [return|send back] things?",
        "what is your return [policy|time]?",
        "how many days do I have to [return|send back] things?",
        "until when can I [return|send back] things?",
        "tell me about your return policy",
    ),
    "refund_days": (
        "how [long does a refund|many days does a refund] take?",
        "how [fast|slow] are your refunds?",
        "how long do I [wait|have to wait] for a refund?",
        "when do refunds [come|arrive]?",
        "what is your refund [policy|time]?",
    ),
    "password": (
        "I [forgot|lost] my password",
        "[can|could] you [reset|change] my password?",
        "I [cannot|can not] log in[|, my password is wrong]",
        "my password [is wrong|does not work]",
        "I [want|need] a new password",
    ),
    "close_account": (
        "[|please ][close|delete] my account",
        "I [want|would like] to [close|delete] my account",
        "how [can|do] I [close|delete] my account?",
        "I do not [need|want] my account any more",
        "[can|could] you [close|delete] my account?",
    ),
    "email": (
        "[|please ]change my e-mail",
        "I have a new e-mail[| now]",
        "[can|could] you change the e-mail of my account?",
        "I [want|need] to change my e-mail",
        "my e-mail [is wrong|changed]",
    ),
    "hello": (
        "[hello|hi|hey|good morning|good evening][|, are you there?|, can you help me?]",
        "I need [|some ]help",
        "can I ask you something?",
        "[hello|hi], I have a question",
    ),
    "thanks": (
        "[|great, |okay, ][thank you|thanks|many thanks][| for your help]",
        "[great|okay], that was all",
        "thank you, [goodbye|have a nice day]",
    ),
    "who": (
        "[are you|am I talking to] a [bot|human|person|bot or a human]?",
        "who [are you|am I talking to]?",
        "[what is|tell me] your name",
        "how are you[| today]?",
    ),
    "out_of_scope": (
        "[what is|tell me] the weather [in {city}|today]",
        "[tell me|do you know] a [joke|story|song]",
        "who won the [football |]game[| today]?",
        "[can|could] you [write|sing] [|me ]a [poem|song|story]?",
        "[can|could] you help me with my [homework|taxes|garden]?",
        "what do you think about [politics|football|music]?",
        "how do I [cook|make] [soup|bread|rice]?",
        "which [film|book] [is good|do you like]?",
        "what is the capital of [France|Spain|Japan]?",
    ),
    "which_one": (
        "[|it is |I mean |sorry, ]{ref}[|, please]",
        "[it was|that is|the one is] {ref}",
    ),
}

HELD_OUT: dict[str, tuple[str, ...]] = {
    "status": (
        "could you tell me where {ref} is right now?",
        "is {ref} on the way already?",
        "please track {ref}, I am waiting for it",
        "do you know if {ref} has been sent?",
        "any news about {ref}? when is it coming?",
        "I need to know on which day {ref} will arrive",
    ),
    "cancel": (
        "could you please cancel {ref} now?",
        "is it possible to cancel {ref}?",
        "please stop {ref}, I changed my mind",
        "I want {ref} cancelled",
        "I would like to stop {ref}, cancel it please",
    ),
    "move_day": (
        "is it possible to deliver {ref} on {day}?",
        "I would like {ref} on {day} instead",
        "please change {ref} to {day}, I am not at home",
        "the delivery day of {ref} should be {day}",
        "could you move {ref}? {day} is better",
    ),
    "address": (
        "I have a new address for {ref}",
        "could you deliver {ref} to my new address?",
        "{ref} should go to another address, please change it",
        "is it possible to change the address of {ref}?",
    ),
    "pickup": (
        "I would like to pick up {ref} myself in {city}",
        "could you send {ref} to a pickup point in {city}?",
        "is it possible to collect {ref} in {city}?",
        "I need {ref} at the pickup point in {city}",
    ),
    "return": (
        "is it possible to send back {ref}?",
        "{ref} is broken, how do I return it?",
        "I do not like {ref}, how can I send it back?",
        "could I please return {ref}? it does not fit",
        "tell me how I can send back {ref}",
    ),
    "refund": (
        "could I get a refund for {ref}?",
        "how long do I wait for the refund of {ref}?",
        "when will you refund {ref}?",
        "where is my money for {ref}?",
        "I am still waiting for the refund for {ref}",
    ),
    "exchange_size": (
        "could you exchange {ref} for size {size}?",
        "I would like {ref} in size {size}, please",
        "please swap {ref}, I need size {size}",
        "size {size} is better, can I change {ref}?",
    ),
    "exchange_colour": (
        "could you exchange {ref} for {new_colour}?",
        "I would like {ref} in {new_colour}, please",
        "please swap {ref}, I prefer {new_colour}",
        "{new_colour} is better, can I exchange {ref}?",
    ),
    "price": (
        "could you tell me the price of {ref}?",
        "do you know how much {ref} was?",
        "tell me what I did pay for {ref}",
        "please tell me how much {ref} did cost",
    ),
    "number": (
        "could you give me the order number of {ref}?",
        "do you know which order {ref} is?",
        "I want to know the order number for {ref}",
        "please tell me the number of {ref}",
    ),
    "express_fee": (
        "could you tell me how much express delivery is?",
        "do I have to pay for express? how much?",
        "what is the fee for express delivery?",
    ),
    "express_time": (
        "could you tell me how fast express delivery is?",
        "how long do I have to wait for express?",
        "do you know how many hours express delivery does take?",
    ),
    "free_from": (
        "could you tell me from what amount delivery is free?",
        "how much should I buy to get free delivery?",
        "what do I need to pay to have delivery free?",
    ),
    "hours": (
        "could you tell me when you open and close?",
        "what are the hours when you are open?",
        "I want to call you today, when are you open?",
    ),
    "window": (
        "could you tell me how many days I have to return things?",
        "do you know how long I can send back things?",
        "I want to know your return policy",
    ),
    "refund_days": (
        "could you tell me how long refunds take?",
        "how many days do I have to wait for a refund?",
        "do you know how many days refunds take?",
    ),
    "password": (
        "please reset my password, I can not log in",
        "could I get a new password?",
    ),
    "close_account": (
        "is it possible to delete my account?",
        "I would like you to close my account, please",
    ),
    "email": (
        "is it possible to change the e-mail on my account?",
        "my e-mail is old, I have a new one",
    ),
    "hello": ("good morning, I have a question, can you help me?", "hello there, I need your help"),
    "thanks": ("okay, thank you, that was a great help", "many thanks, goodbye"),
    "who": ("do you have a name? are you a person?", "tell me, is this a bot or a human?"),
    "out_of_scope": (
        "could you tell me about the weather in {city}?",
        "I need help to cook bread and soup",
        "please sing a song about football",
        "do you like music or politics?",
        "tell me which book to get for my homework",
        "do you know the capital of Spain?",
    ),
    "which_one": ("okay, {ref}", "{ref} is the one", "the one I mean is {ref}"),
}

# How an order is referred to: by its number, by its item, by what was said, not at all.
REFERENCES: dict[str, tuple[str, ...]] = {
    "by_number": ("order {order}", "my order {order}", "order number {order}", "number {order}"),
    "by_item": ("my {colour} {product}", "the {colour} {product}"),
    "by_focus": ("it", "that order", "that one"),
    "missing": ("my order", "an order", "one of my orders"),
}

# Mild insults of a shop and its bot; the calm answer starts with "I am sorry".
INSULTS: dict[World, tuple[str, ...]] = {
    "training": (
        "you useless bot", "this is a stupid shop", "what a rubbish service",
        "are you too dumb to answer", "your shop is a joke", "you are an idiot",
        "such a terrible service", "you stupid idiot", "this bot is useless",
        "what a terrible shop", "you dumb bot", "your service is rubbish",
    ),
    "held_out": (
        "you are a stupid bot", "this shop is rubbish", "such a useless service",
        "what a dumb idiot you are", "your bot is terrible",
    ),
}  # fmt: skip

# (before, after) what a customer of a register says; "learner" also drops articles.
REGISTERS: dict[str, dict[World, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "plain": {"training": (("",), ("",)), "held_out": (("",), ("",))},
    "formal": {
        "training": (
            ("Good morning, ", "Dear team, ", "Hello, ", "Good evening, "),
            (" Thank you in advance.", " Kind regards.", " Many thanks.", ""),
        ),
        "held_out": (
            ("Good morning, dear team, ", "Hello, good evening, "),
            (" Many thanks in advance.", " Thank you, kind regards."),
        ),
    },
    "casual": {
        "training": (("hey, ", "hi, ", "yo, ", ""), (" thx", " pls", " cheers", "")),
        "held_out": (("hey, hi, ", "yo, hey, "), (" pls thx", " thx, cheers")),
    },
    "learner": {
        "training": (
            ("Sorry, my English is not so good, ", "Please help, ", "", ""),
            (" Please understand.", ""),
        ),
        "held_out": (
            ("Please understand, my English is not good, ", "Sorry, please help, "),
            ("",),
        ),
    },
}

_CHOICE = re.compile(r"\[([^\]]*)\]")
_ARTICLE = re.compile(r"\b(?:the|a|an) ")


@cache
def expand(template: str) -> tuple[str, ...]:
    """Every sentence that a template stands for, fields still in braces."""
    parts = _CHOICE.split(template)
    options = [part.split("|") if index % 2 else [part] for index, part in enumerate(parts)]
    return tuple("".join(chosen) for chosen in product(*options))


def templates(intent: str, world: World) -> tuple[str, ...]:
    return (TRAINING if world == "training" else HELD_OUT)[intent]


def spoken(text: str, register: str, before: str, after: str) -> str:
    """A sentence as a customer of this register says it."""
    if register == "learner":
        text = _ARTICLE.sub("", text)
    text = before + text
    if register == "casual":
        return text.rstrip("?") + after
    text = text[0].upper() + text[1:]
    if text[-1] not in "?.":
        text += "."
    return text + after
