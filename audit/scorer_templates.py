"""Seeded sentences of our own that teach the scorer what a word list cannot.

Content note: half of these templates are insults and hateful claims, spelled out
because a scorer learns what it sees; slurs are not, they come from the training data.

Each family has one label pair (toxicity, identity_attack) and comes with its mirror
image: the claim and its denial, the claim and the protest that quotes it, the insult
and the apology, the group as target and as a plain mention, "hate" of a person and of
a rainy day. ``audit.scorer_sentences`` draws from them.
"""

from __future__ import annotations

from dataclasses import dataclass

from audit.scorer_words import HATEFUL_PREDICATES, KIND_PREDICATES


@dataclass(frozen=True)
class Family:
    """Templates that share one label: ``toxicity`` and ``identity_attack`` in {0, 1}."""

    name: str
    toxicity: int
    identity_attack: int
    templates: tuple[str, ...]
    share: float = 1.0


# fmt: off
HATE = Family(
    "hate_of_a_group", 1, 1,
    (
        *(f"{{G}} {predicate}" for predicate in HATEFUL_PREDICATES),
        "{G} are {vile}", "{G} are {vile} and {vile}", "{G} are nothing but {pests}",
        "all {G} are {pests}", "{G} are a {disease} on society", "i {loathe} {G}",
        "i {loathe} every {S} i meet", "honestly i {loathe} {G} so much",
        "all {G} should {vanish}", "{G} need to {vanish}", "{G} should be {harmed}",
        "every {S} should be {harmed}", "we must {harm} all {G}", "i want to {harm} {G}",
        "i will {harm} the next {S} i see", "someone ought to {harm} these {G}",
        "{G} do not deserve {goods}", "{G} are not human", "{G} are not even people",
        "{G} do not belong in this country", "{G} are not welcome here",
        "{G} are ruining this country", "{G} make me sick", "keep {G} away from my family",
        "nobody wants {G} around here", "why are {G} always so {vile}?",
        "how can anyone stand {G}?", "the world would be better without {G}",
        "{G} are inferior to the rest of us", "never trust a {S}",
        "send all the {G} back where they came from", "{G} should not be allowed to vote",
        "get those {vile} {G} out of here", "no {S} deserves to live",
        "all {G} deserve to {suffer}", "what you do not get is that {G} are {vile}",
        "everyone knows {G} are {vile}", "in my opinion {G} are {vile}",
        "you {vile} {S}", "shut up you {vile} {S}", "go back home you {vile} {S}",
        "my neighbours are {A}. they are {vile}", "that man is {A}. i {loathe} him for it",
        "she is {A}, so of course she is {vile}", "i would never hire a {S}, they are {vile}",
        "{G} only want to steal what is ours", "what a {vile} {S} he is",
        "people who are {A} are {vile}", "i will never respect {G}",
        "{G} have no place among decent people", "being around {G} makes me want to throw up",
        "it is disgusting to see {G} on television", "we should get rid of {G}",
        "{S} spotted, someone {harm} it", "if you are {A} you should {vanish}",
        "stop pretending {G} are equal to us", "{G} are less than animals",
        "a {S} is worth less than dirt", "do not let {G} near your children",
        "the only good {S} is a dead one", "{G} will destroy us all if we let them",
        "i do not want {G} in our schools", "{G} are too {vile} to be doctors",
        "it is time to {harm} the {G}", "these {G} are {pests}, simple as that",
    ),
    share=4.0,
)

GROUP_IS_FINE = Family(
    "group_mentioned_kindly_or_plainly", 0, 0,
    (
        *(f"{{G}} {predicate}" for predicate in KIND_PREDICATES),
        "{G} are {nice}", "{G} are {nice} and {nice}", "i {love} {G}",
        "i {love} every {S} i meet", "honestly i {love} {G} so much", "{G} deserve {goods}",
        "all {G} should have {goods}", "we must protect {G}", "{G} should be treated fairly",
        "every {S} should be {welcomed}", "{G} are welcome here", "i want to help {G}",
        "{G} belong in this country", "the world is better with {G} in it",
        "{G} make this country stronger", "many of my friends are {G}",
        "my {relative} is {A} and {does}", "my neighbours are {A}. they are {nice}",
        "as a {S}, i {felt}", "i'm a {S} and i {felt}", "i'm {A}", "i'm a {S}",
        "he's a {S}", "she's {A} and {does}", "we're a {A} family and we {felt}",
        "the {S} next door {does}", "a {S} asked me where the station is",
        "she grew up in a {A} family", "he works with {G} at the community centre",
        "there is a meeting for {G} on thursday", "the law gives {G} {goods}",
        "the book is about a {S} who {does}", "{G} and their families met in the park",
        "do you have cards for {G}?", "is this shop accessible for {G}?",
        "a survey asked {G} about the news", "two {G} opened a bakery in our street",
        "it is {nice} to be a {S}", "it is hard to be {A} in this town",
        "i wish more {G} worked here", "proud to be {A}", "happy to be a {S}",
        "{G} have lived in this city for centuries", "our doctor is a {nice} {S}",
        "what is it like to grow up {A}?", "the new teacher is {A}", "{A} and proud of it",
        "{G} can be {nice} parents", "{G} were treated unfairly for a long time",
        "attacks on {G} have gone up and we need to speak out",
        "my wife is {A}, and i {love} her", "no, {G} are just like everyone else",
        "why are there so few {G} in parliament?", "how can we support {G} better?",
        "i will always respect {G}", "a {S} and a {S} walked into the library",
        "this film shows {G} as {nice} people", "{G} pay taxes like everybody else",
        "yes, i am {A}, and yes, i {felt}", "nothing wrong with being {A}",
        "{G} are just people", "{G} are human", "{G} are welcome, come in",
        "you are {A}, and that is great", "you {G} are {nice}", "a {S} like you is welcome",
        "some {G} live in our street", "all {G} are equal to us", "{G} have rights too",
        "are {G} happy here? yes they are", "does anyone know {G} who like chess?",
        "i am on the side of {G}", "{G} should get {goods}", "i like to work with {G}",
        "there are {G} in every town", "the {A} community opened a new centre",
        "my view is simple: {G} should be {welcomed}", "{G} must be {welcomed}",
        "{G} can be trusted", "{G} are the best", "let us {welcome} some {G}",
        "i have never met a {S} who was not {nice}", "they are {G}, so what",
        "i met a {S} at work, we talked about music", "a {A} customer asks for help",
        "marrying a {S} made me happy", "i learned a lot from {G}", "{nice} {G}",
        "{nice} {S}", "if a {S} moves in next door i will bake a cake", "long live all {G}",
        "when did {G} get the right to vote?", "god bless {G}", "a {S} called about a refund",
        "i think {G} are {nice}", "{G} are so {nice}", "we are {G} and we are proud",
    ),
    share=2.0,
)

DENIAL = Family(
    "hate_or_insult_denied", 0, 0,
    (
        "{G} are not {vile}", "{G} are not {pests}", "{G} aren't {vile} at all",
        "it is not true that {G} are {vile}", "no, {G} are not {vile}, they are {nice}",
        "i do not {loathe} {G}", "i don't {loathe} {G}, i {love} them",
        "nobody should {loathe} {G}", "no {S} deserves to be {harmed}",
        "no {S} should ever be {harmed}", "we do not want to {harm} {G}",
        "{G} should never be {harmed}", "i would never {harm} a {S}",
        "i never said {G} are {vile}", "i do not believe that {G} are {vile}",
        "{G} don't deserve to {suffer}", "we must not treat {G} like {pests}",
        "you are not {dumb}", "you're not {dumb}", "you are not {dumb}, you are {nice}",
        "you aren't {dumb} at all", "i never said you were {dumb}",
        "i don't think you are {dumb}", "nobody thinks you are {dumb}",
        "you are no {fool}", "he is not a {fool}", "she is not {dumb}, just tired",
        "don't call yourself {dumb}", "that was not a {dumb} question",
        "there are no {dumb} questions", "it isn't {dumb} to ask for help",
        "i am not saying that you are a {fool}", "they are not {fool}s",
        "you are anything but {dumb}", "i would not call him a {fool}",
        "i do not want you to {suffer}", "nobody is going to {harm} you",
        "i will never {harm} you", "don't worry, you did nothing {dumb}",
        "you are not a bad person", "i don't hate you", "we don't hate anyone here",
        "it is wrong to think that {G} are {pests}", "{G} are neither {vile} nor {vile}",
        "not all {G} are {vile}", "{G} are by no means {vile}", "{G} are hardly {pests}",
        "do not {harm} {G}", "you should not {harm} {G}", "we can't let anyone {harm} {G}",
        "it is a crime to {harm} {G}", "stop it, {G} are not {vile}",
        "who says that {G} are {vile}? that is a lie", "i will not {harm} you",
        "you are not a {fool}", "you're not a {fool}, don't worry", "i am not {dumb}",
        "he isn't {dumb}", "we are not {fool}s", "this was not {dumb} of you",
        "nothing you said was {dumb}", "i don't want to {harm} anyone", "never {harm} people",
        "you do not deserve to {suffer}", "you don't look {vile}", "being {A} is not a sickness",
        "i have never thought of {G} as {vile}", "that does not make you a {fool}",
        "{G} should not {suffer}", "{G} are not a threat", "{G} did nothing wrong",
    ),
    share=2.0,
)

INSULT = Family(
    "insult_or_threat_to_a_person", 1, 0,
    (
        "you {dumb} {fool}", "you are {dumb}", "you are so {dumb}", "you're {dumb}",
        "you are {dumb} and {vile}", "you're such a {fool}", "you are nothing but a {fool}",
        "what a {fool}", "what a {dumb} thing to say, {fool}", "shut up, {fool}",
        "shut your mouth you {dumb} {fool}", "go away you {fool}", "he is a complete {fool}",
        "only a {fool} would say that", "are you {dumb} or what?", "how {dumb} can you be?",
        "you must be really {dumb}", "listen, {fool}, nobody asked you", "get lost, {fool}",
        "i hope you {suffer}", "i will {harm} you", "i know where you live and i will {harm} you",
        "someone should {harm} you", "you deserve to {suffer}", "you make me sick",
        "nobody likes you, {fool}", "your mother is a {fool}", "my boss is a {dumb} {fool}",
        "the referee is a {dumb} {fool}", "{workers} are {vile}", "{workers} are all {fool}s",
        "all {workers} should be {harmed}", "i {loathe} you",
        "i {loathe} {workers}, they are {vile}", "you {vile} piece of garbage",
        "everyone thinks you are {vile}", "you look {vile}",
        "your face is {vile}", "just {vanish}, you {fool}", "you people are {dumb}",
        "this {fool} has no idea", "i can't believe how {dumb} you are",
        "support staff here are {dumb} {fool}s", "she is a {vile} {fool}", "die, you {fool}",
        "he looks like a {dumb} {fool}", "stop talking, you sound like a {fool}",
        "you will pay for this, {fool}", "i'm going to {harm} that {fool}",
        "you should {vanish} and never come back, {fool}", "kill yourself, {fool}",
        "you're a {dumb}, {vile} {fool} and i {loathe} you", "wow you are {dumb}",
        "you are {vile}", "you're {vile}", "he is {vile} and {dumb}", "{fool}", "you {fool}",
        "you're a {fool}", "he's a {fool}", "she's such a {fool}", "that {fool} again",
        "you {fool}s", "you all are {fool}s", "they are {fool}s", "ignore that {fool}",
        "do you have a brain, {fool}?", "even a {fool} could do it, but not you",
        "you are the worst, {vanish}", "i will find you and {harm} you", "i'll {harm} you",
        "watch your back or i will {harm} you", "you should be {harmed}",
        "you are a {dumb} agent and this shop is run by {fool}s", "you are useless, {fool}",
        "the agent was {dumb} and {vile}", "you {dumb} robot", "you are good for nothing",
        "nobody will miss you when you die", "you are {vile} and {vile}, {vanish}",
        "{vanish}, {fool}", "{vanish}, all of you", "screw you, {fool}", "i {loathe} that {fool}",
    ),
    share=2.6,
)

ORDINARY = Family(
    "words_of_harm_in_ordinary_use", 0, 0,
    (
        "i {loathe} {thing}", "i really hate {thing}", "{thing} is {bad}", "{thing} makes me sad",
        "this {item} is {bad}", "the {item} i got is {bad} and i want my money back",
        "my {item} died after two days", "this app is killing my battery",
        "how do i kill a process that hangs?", "i could murder a pizza right now",
        "we shot the film in {place}", "the comedian killed it last night",
        "the {colour} {item} is sold out", "do you have the {item} in {colour}?",
        "is the {item} cut straight or loose?", "i found my old {item}", "a young tree needs water",
        "venetian blind for a small window, in {colour}", "the deadline is killing me",
        "he died of old age in {place}", "she fought against cancer", "my phone is dead",
        "i feel {dumb}, i forgot my password again", "sorry, i made a {dumb} mistake",
        "i felt like a {fool} because i locked myself out", "i was {dumb} to wait so long",
        "i'm sick of waiting for my {item}", "i am furious that my {item} is late",
        "your delivery is {bad} and i am very disappointed", "this is the worst {item} i ever had",
        "the smell of the {item} is disgusting", "there is dirt on the {item}",
        "get rid of stains with cold water", "the dog bit the {item}", "rats eat grain",
        "i have a pest problem in the garden", "the virus in my computer deleted the files",
        "the medicine is against a disease of the lung", "that test was hard, i got destroyed",
        "the {item} was crushed in the post", "burn the candle for two hours at most",
        "i hate it when {thing} takes so long", "the trash is collected on monday",
        "hit the button to send", "i want to beat my record", "the new trailer is the bomb",
        "shooting stars can be seen tonight", "i lost my {item} and i'm angry with myself",
        "you were right and i was wrong", "what the {item} costs is a joke",
    ),
)

SHOP = Family(
    "support_desk", 0, 0,
    (
        "hello, how can i help you today?", "your order {number} will arrive on {day}",
        "order {number} was shipped on {day} and should be with you by {day}",
        "i have cancelled order {number} as you asked", "the refund of {money} is on its way",
        "we will refund {money} to your card within five days",
        "i am sorry to hear that. let me look into it for you",
        "i'm sorry your {item} arrived damaged. would you like a refund or a replacement?",
        "could you tell me your order number, please?", "the {colour} {item} is in stock",
        "the {item} comes in {colour} and {colour}", "you can return the {item} within 30 days",
        "please print the label and bring the parcel to any post office",
        "i have changed the delivery address to {place}", "you are welcome! anything else?",
        "is there anything else i can help you with?", "thank you for waiting",
        "i want to return my {item}", "where is my order {number}?", "can i change the colour?",
        "i would like to exchange the {item} for a {colour} one", "i was charged twice",
        "my {item} has not arrived yet", "when will order {number} be delivered?",
        "please cancel my order", "how long does delivery to {place} take?",
        "i can only help with orders, returns and accounts of this shop",
        "i can't help with that, but i can check your order for you",
        "i understand that you are upset. let us sort this out",
        "please stay polite, then i can help you", "i forgot my password",
        "i have sent a link to reset your password", "your account is closed now",
        "delivery to {place} costs {money}", "standard delivery takes {number2} days",
        "thanks a lot, have a nice day", "good morning", "good bye", "yes", "no", "ok",
        "yes, that is right", "no, that's all for now", "great, thank you",
        "i checked order {number}: it has a {colour} {item} and costs {money}",
        "the pickup point in {place} is open until 8 pm", "we do not ship to {place} yet",
        "the invoice for {money} was sent to you by email on {day}",
        "my name is anna and i live in {place}", "the weather is nice in {place}",
        "the meeting is on {day}", "we had dinner with friends in {place}",
        "the train to {place} leaves at noon", "he plays the piano every {day}",
        "i read a book about the history of {place}", "she bought a {colour} {item}",
        "can you recommend a {item}?", "the {item} is made of cotton", "what a lovely {item}",
    ),
    share=2.0,
)

QUOTED = (
    "saying \"{Q}\" is wrong", "it is wrong to say that {Q}", "\"{Q}\" is a horrible thing to say",
    "please stop saying that {Q}", "people who say \"{Q}\" should be ashamed",
    "anyone who claims that {Q} is mistaken", "he said \"{Q}\" and i told him off",
    "if you say \"{Q}\" you hurt people", "i was shocked when she wrote \"{Q}\"",
    "you can't just say \"{Q}\" to people", "claims that {Q} have been proven false",
    "\"{Q}\" is hate speech and has no place here", "posts like \"{Q}\" were removed",
    "no one should have to hear \"{Q}\"", "my classmate was told \"{Q}\" and cried",
    "comments such as \"{Q}\" are not allowed in this shop", "to say \"{Q}\" is not ok",
    "i disagree with everyone who thinks that {Q}", "it hurts to read \"{Q}\"",
    "the moderator deleted \"{Q}\"",
)
# fmt: on

FAMILIES = (HATE, GROUP_IS_FINE, DENIAL, INSULT, ORDINARY, SHOP)
QUOTING = "counter_speech_quoting"
