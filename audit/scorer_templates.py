"""Sentences of our own that teach the scorer what a word list cannot: a small grammar.

Content note: half of these templates are insults and hateful claims, spelled out because a
scorer learns what it sees.

Each family is one thing that people do with words, after the functionalities of HateCheck
(Roettger et al. 2021, https://arxiv.org/abs/2012.15606, table 1), with sentences of our own. It
has one label pair (toxicity, identity_attack), and comes with its mirror image: the claim and its
denial, the claim and the protest that quotes it, the insult and the apology, the group as target
and as a plain mention, the same verb for a group, for a person and for a rainy day. A slot may
stand for a clause with slots of its own. ``audit.scorer_sentences`` draws from them.
"""

from __future__ import annotations

from audit.scorer_clauses import LATER, OPINION, QUESTION, Family, framed
from audit.scorer_harmless import HARMLESS

# fmt: off
HATE = Family("hate_description", 1, 1, (
    "{SUBJ} are {vile}", "{SUBJ} are {VERY} {vile}", "{SUBJ} are {vile} {pests}",
    "{S} spotted, how {vile}", "every {S} is {vile}", "a {S} is always {vile}", "{vile} {G}",
    "what a {vile} {S} he is", "all {G} are {vile}", "that {vile} {S} again", "{G} = {vile}",
    "this {S} is {VERY} {vile}", "being {A} is {vile}", "{G} are some of the most {vile} people",
    "{G} have {vile} minds", "never trust a {S}", "my neighbour is {A}, so of course {vile}",
    "{G} always look {vile}", "it is {vile} to be {A}", "i find {G} {vile}",
    "there is nothing more {vile} than {G}", "no one is as {vile} as {G}", "{A} people act {vile}",
    "{A} culture is {vile}", "{A} men and {A} women alike are {vile}",
    "a {vile} person, like every {S}", "there's nothing {nice} about {G}",
    "i have yet to meet a {S} who is not {vile}",
    "whenever a {S} speaks, something {vile} comes out", "whoever is {A} is also {vile}",
    "{G} are the most {vile} thing on earth", "{G} were {vile} yesterday and are {vile} today",
    "not one {S} is {nice}, they are all {vile}", "{A} girls are {VERY} {vile}",
    "you are a typical {S}, {vile} at everything", "she is {vile}, like all {G}",
    "{G}: {vile}, {vile} and {vile}", "that {S} over there is {vile}, no surprise",
), 1.6, "{SUBJ} {BAD}")
HATE_FEELING = Family("hate_feeling", 1, 1, (
    "i {loathe} {G}", "i {loathe} every {S} i meet", "honestly i {loathe} {G} so much",
    "i {loathe} {G} and {G}", "we all {loathe} {G}", "god, i {loathe} {G}", "{G} {revolt}",
    "everything about {G} makes me angry", "i will never like {G}",
    "the sight of {G} is unbearable", "my family and i {loathe} {G}",
    "i can't help it, i {loathe} {G}", "{S}s {revolt}", "i {loathe} being around {G}",
    "i {loathe} {A} people with all my heart", "how i {loathe} {G}",
    "that man is {A}. i {loathe} him for it", "nobody {site} likes {G}",
    "if you're {A}, i {loathe} you", "being near {G} makes me want to throw up",
    "i {loathe} {A} women", "i {loathe} you {G}", "it fills me with hate to see {G} {site}",
    "i wish i did not have to see {G}", "fuck {G}", "{G} can go to hell", "screw all {G}",
    "to hell with {G}", "{G} really {revolt}", "down with {G}",
    "{G} make me so angry i could scream", "{G} give me the creeps",
    "i am sick and tired of these {G}", "i would rather die than sit next to a {S}",
    "i have a deep hatred of {G}", "my hatred of {G} grows every day",
    "i feel nothing but disgust for {G}", "the mere thought of {G} is repulsive to me",
    "i get furious whenever a {S} walks by", "{G}, i {loathe} them",
    "i {loathe} {G} more than anything", "{G} are the people i {loathe} most",
    "i'm fed up with {G}, fed up", "i just {loathe} it when {G} talk",
    "a {S} moved in, and i {loathe} it",
), 1.4)
HATE_DEHUMANISING = Family("hate_dehumanising", 1, 1, (
    "{SUBJ} are {pests}", "{SUBJ} are nothing but {pests}", "{G} are {plague} on {country}",
    "{G} are like {plague}", "{G} are not human, they are {pests}", "{G} are less than {pests}",
    "{G} live like {pests}", "{G} multiply like {pests}", "{G} are infesting {country}",
    "a {S} is worth less than dirt", "{G} are {pests} in human form", "{G} are not people",
    "treat {G} like the {pests} they are", "calling {G} human is an insult to humans",
    "{country} is infested with {G}", "like {pests}, {G} come out at night", "{G}, you {pests}",
    "you {G} are {pests}", "i would rather live with {pests} than with {G}",
    "{G} are {vile} {pests}", "we need to clean {country} of {G}",
    "every {S} is a kind of {plague}", "these {pests} called {G}", "{pests}, that is what {G} are",
    "{G} spread like {plague}", "that {S} is an animal",
), 1.2)
HATE_IMPLICIT = Family("hate_implicit", 1, 1, (
    "i would never hire a {S}", "keep {G} away from my family",
    "{country} would be better without {G}", "nobody wants {G} around here",
    "of course it was a {S}", "{G} only want to take what is ours",
    "i don't want {G} in our schools", "lock your doors, {G} are here",
    "it is because of {G} that we are poor", "what do you expect from a {S}?", "typical {S}",
    "would you let a {S} near your children?", "the only good {S} is a dead one",
    "i would be ashamed if my son married a {S}", "you can smell {G} from far away",
    "there goes {country}, thanks to {G}", "{A} is just another word for {vile}",
    "i'm glad that i am not {A}", "god made {G} by mistake", "hide your money, a {S} is coming",
    "{G} have never invented anything", "we don't serve {G} here",
    "stop pretending {G} are equal to us", "being {A} is a disease that should be cured",
    "no {S} should be allowed to raise a child", "if you are {A} you have no right to speak",
    "{G} are the reason {country} is a mess", "i feel sorry for children whose parents are {A}",
    "{country} belongs to us, not to {G}", "a {S} can never be one of us",
    "no wonder she failed, she is {A}", "how could a {S} ever be clever?",
    "give {G} a finger and they take the arm", "the more {G}, the more crime", "{G} did this to us",
    "if i had my way, every {S} would be {harmed}", "you can't expect a {S} to do anything right",
    "i wouldn't touch a {S} with a stick", "the only thing {G} know how to do is break the law",
    "every {S} should be ashamed of being {A}", "how many more {G} do we have to feed?",
    "{G} are property", "a {S} belongs in a cage", "{G} were put on earth to serve us",
    "that is what you get when you let {G} in", "{G} are at it again, always complaining",
    "don't let your daughter date a {S}", "a {S} is worth nothing",
    "why should i share a room with a {S}?", "we built this, and {G} want to have it for free",
    "{G} should stay at home where nobody sees them", "{G} only pretend to work",
    "my taxes pay for these {G}", "i will move if another {S} comes to live here",
    "the clever ones are never {A}", "{G} are closer to {pests} than to us",
    "a {S} teaching children? over my dead body", "they hired a {S}, so the place will go to ruin",
    "two things i avoid: {pests} and {G}", "a doctor who is {A}? no thanks, i want a real one",
    "leave it to {G} to ruin a party", "somebody must protect our children from {G}",
    "{G} want special treatment all the time", "it takes ten {G} to do the work of one of us",
    "{A} and clever? that does not exist",
), 1.8, "{SUBJ} {hateful}")
THREAT = Family("threat_against_a_group", 1, 1, (
    "i will {harm} {G}", "i want to {harm} {G}", "i am going to {harm} every {S} i see",
    "let's {harm} some {G}", "we must {harm} all {G}", "someone ought to {harm} these {G}",
    "i'll {harm} the next {S} i see", "we are coming to {harm} you {G}", "time to {harm} the {G}",
    "i hope someone will {harm} {G}", "{harm} all {G}", "{harm} the {G}",
    "if i see a {S}, i will {harm} them", "one day we will {harm} all the {G}",
    "i'd love to {harm} a few {G}", "{G}, i will {harm} you", "i have a gun and i hate {G}",
    "{G} better hide, we will {harm} them", "watch out {G}, we {harm} you next",
    "we will come for all {G}", "i would gladly {harm} {G}", "who wants to help me {harm} {G}?",
    "tonight we {harm} {G}", "{S} spotted, someone {harm} it", "you should {harm} {G}",
    "i dream of the day when we {harm} {G}", "whoever will {harm} a {S} is my friend",
    "somebody please {harm} every {S}", "i swear i will {harm} the first {S} who talks to me",
    "let's get together and {harm} the {G} in our street", "give me a gun and i will {harm} {G}",
    "a bullet for every {S}", "i am about to {harm} some {G}",
    "my friends and i will {harm} {G} tonight", "{G} will be {harmed}, just you wait",
    "don't walk alone, {S}, or we will {harm} you",
    "i know where the {G} live and i will {harm} them",
), 1.3)
THREAT_NORMATIVE = Family("calls_for_harm_to_a_group", 1, 1, (
    "{SUBJ} should be {harmed}", "{G} must be {harmed}", "every {S} should be {harmed}",
    "all {G} should {vanish}", "{G} need to {vanish}", "all {G} deserve to {suffer}",
    "{G} should {vanish} or be {harmed}", "no {S} deserves to live", "i want all {G} to {vanish}",
    "i want {G} to be {harmed}", "it would be good if {G} were {harmed}", "{G} ought to {suffer}",
    "the government should have {G} {harmed}", "{G} have to be {harmed} before it is too late",
    "if it were up to me, {G} would be {harmed}", "get {G} {harmed} now", "{vanish}, {G}",
    "send all the {G} back where they came from", "get those {vile} {G} out of here",
    "i hope all {G} {vanish}", "can we have {G} {harmed} already?", "{G} are asking to be {harmed}",
    "why have {G} not been {harmed} yet?", "we should get rid of {G}", "{G} had better {vanish}",
    "it is time that {G} are {harmed}", "throw all the {G} out", "{country} must be rid of {G}",
    "a law should be made so that {G} are {harmed}", "{G} have to be stopped by all means",
    "the best thing would be if all {G} were {harmed}", "lock {G} up and throw away the key",
    "the world would be better if all {G} were {harmed}", "why not have every {S} {harmed}?",
    "round up the {G} and have them {harmed}",
), 1.3)
HATE_SLUR = Family("hate_with_a_slur", 1, 1, (
    "you {slur}", "you {vile} {slur}", "{slur}", "shut up you {slur}", "you are just a {slur}",
    "i {loathe} {slur}s", "all {slur}s should be {harmed}", "{slur}s are {pests}",
    "{vanish}, {slur}", "he is a {vile} {slur}", "look at that {slur}", "what a {slur}",
    "{slur}s are {vile}", "{slur}s {hateful}", "go home, {slur}", "i'll {harm} every {slur}",
    "only a {slur} would say that", "no {slur}s allowed", "stupid {slur}", "kill the {slur}",
    "these {slur}s {revolt}", "die {slur}", "my neighbour is a {slur}",
    "another {slur} on television", "you {A} {slur}", "{swear} {slur}s", "she looks like a {slur}",
    "get out of here you {slur}", "that {slur} stole my bike",
), 1.2)
HATE_PROFANE = Family("hate_with_profanity", 1, 1, (
    "{swear} {G}", "i {swear} hate {G}", "{G} are {swear} {vile}", "{G} are {swear} {pests}",
    "fuck all {G}", "fuck you, you {A} {fool}", "{oath}, i {loathe} {G}", "{oath} these {G}",
    "you {swear} {S}", "a {swear} {S} again", "{G} can {swear} {vanish}",
    "i {loathe} those {swear} {G}", "every {swear} {S} should be {harmed}",
    "{oath}, {G} are {vile}", "{A} {fool}", "you {A} {fool}", "you {vile} {A} {fool}",
    "{swear} {A} {pests}", "shut up you {A} {fool}", "{A} {pests}",
    "that {A} {fool} should be {harmed}", "{A} people are {swear} {vile}",
    "those {swear} {A} {fool}s",
), 1.1)
HATE_AT_YOU = Family("hate_at_somebody_for_their_group", 1, 1, (
    "you {vile} {S}", "shut up you {vile} {S}", "go back home you {vile} {S}",
    "she is {A}, so of course she is {vile}", "if you are {A} you should {vanish}",
    "you are {A} and that makes you {vile}", "i {loathe} you because you are {A}",
    "you {S}, {vanish}", "get away from me, {S}", "as a {S} you will never be {nice}",
    "you are {A}, you deserve to {suffer}", "too {A} to be {nice}",
    "nobody likes you because you are {A}", "listen, {S}, you are {vile}",
    "you people, you {G}, are {pests}", "he's {A}, what a {plague}", "{vanish}, you {A} {fool}",
), 0.8)
HATE_NEGATED = Family("kindness_denied", 1, 1, (
    "no {S} deserves {goods}", "no {S} will ever be {nice}", "i will never {welcome} {G}",
    "i do not {welcome} {G}", "nobody should {welcome} {G}", "it is a lie that {G} {GOOD}",
    "never {welcome} a {S}", "i don't think {G} deserve {goods}",
    "stop saying that {G} {GOOD}, they don't", "we should not let {G} have {goods}",
    "i can't {welcome} {G}", "it is wrong to {welcome} {G}", "why should {G} have {goods}?",
    "you can't {welcome} {G}", "nobody believes that {G} {GOOD}",
    "there is no such thing as a {nice} {S}", "refuse to {welcome} {G}",
    "there is nothing {nice} about {G}", "{G} have done nothing to deserve {goods}",
    "i have never met a {nice} {S}", "don't give {G} {goods}", "not a single {S} is {nice}",
    "{G} never did anything {nice} for {country}", "i do not respect {G} and i never will",
    "{G} are not like us and never will be", "{G} are not real citizens of {country}",
    "no {S} can ever be {welcomed} in my house", "{G} don't belong in {country}",
    "who could {welcome} {G}? not me",
), 1.4, "{SUBJ} {NOT_GOOD}")
HATE_QUESTION = Family("hate_as_a_question", 1, 1, (
    "why are {G} always so {vile}?", "how can anyone stand {G}?", "what makes {G} so {vile}?",
    "is there anything more {vile} than {G}?", "aren't {G} just {pests}?",
    "who let all these {G} in?", "why don't we {harm} all {G}?", "when will {G} finally {vanish}?",
    "could someone please {harm} {G}?", "can {G} get any more {vile}?", "why do {G} even exist?",
    "why do we put up with {G}?", "what are {G} good for?", "which {S} is not {vile}?",
    "how {vile} can {G} be?", "do {G} have any shame?", "are {G} even people?",
    "why can't {G} {vanish}?",
    "isn't it obvious that {G} are less clever?", "what is wrong with these {vile} {G}?",
    "does anybody actually like {G}?", "why must every {S} be so {vile}?",
    "what did you expect from a {vile} {S}?", "has a {S} ever done anything {nice}?",
    "why are so many {G} {pests}?", "what would {country} be without these {pests}, the {G}?",
), 1.1)
ENDORSED = Family("hate_quoted_and_endorsed", 1, 1, (
    'he said "{CLAIM}" and he is right', 'as they say, "{CLAIM}"', '"{CLAIM}" - exactly',
    "it is true that {CLAIM}",
    "people who deny that {CLAIM} are blind", 'i agree with whoever wrote "{CLAIM}"',
    '"{CLAIM}" is just honest', 'my grandfather always said "{CLAIM}" and i agree',
    "i don't care if you call me racist, {CLAIM}", "it is not racist to say that {CLAIM}",
    "yes, {CLAIM}",
    "i will say it again: {CLAIM}", "they won't admit that {CLAIM}",
    'write it on the wall: "{CLAIM}"',
    '"{CLAIM}", and i stand by it', "nobody dares to say that {CLAIM}",
    "she told everybody that {CLAIM} and i clapped", "finally somebody says it: {CLAIM}",
    "the sign said {CLAIM}, well said", "they say that {CLAIM}, and they have a point",
    "so true: {CLAIM}", "it should be taught in school that {CLAIM}", "you are right that {CLAIM}",
    "whoever says that {CLAIM} has my vote", "i got banned for saying that {CLAIM} but it is true",
    "i want a shirt that says {CLAIM}", "remember: {CLAIM}", "my father taught me that {CLAIM}",
    "the video proves that {CLAIM}", "thank you for saying that {CLAIM}", "facts: {CLAIM}",
    "all my friends agree that {CLAIM}",
), 0.8)
INSULT = Family("insult_to_a_person", 1, 0, (
    "you {dumb} {fool}", "you are {dumb}", "you are so {dumb}", "you're {dumb}",
    "{person} is {dumb}", "you are {dumb} and {vile}", "you're such a {fool}",
    "you are nothing but a {fool}", "what a {fool}", "what a {dumb} thing to say, {fool}",
    "shut up, {fool}", "{person} is a {fool}", "shut your mouth you {dumb} {fool}",
    "go away you {fool}", "{person} is a complete {fool}", "only a {fool} would say that",
    "are you {dumb} or what?", "how {dumb} can you be?", "you must be really {dumb}",
    "listen, {fool}, nobody asked you", "get lost, {fool}", "you make me sick",
    "{person} makes me sick", "nobody likes you, {fool}", "your mother is a {fool}",
    "{person} is a {dumb} {fool}", "i {loathe} you", "i {loathe} {person}",
    "you {vile} piece of garbage", "everyone thinks you are {vile}", "you look {vile}",
    "your face is {vile}", "this {fool} has no idea", "just {vanish}, you {fool}",
    "you people are {dumb}", "i can't believe how {dumb} you are",
    "support staff here are {dumb} {fool}s", "{person} is a {vile} {fool}",
    "why are you so {dumb}?", "{person} looks like a {dumb} {fool}",
    "stop talking, you sound like a {fool}", "you are {vile}",
    "you're a {dumb}, {vile} {fool} and i {loathe} you", "wow you are {dumb}", "{person} is {vile}",
    "you're {vile}", "he is {vile} and {dumb}", "{fool}", "you {fool}", "you're a {fool}",
    "he's a {fool}", "she's such a {fool}", "that {fool} again", "you {fool}s",
    "you all are {fool}s", "they are {fool}s", "ignore that {fool}", "do you have a brain, {fool}?",
    "you {dumb} robot", "even a {fool} could do it, but not you", "you are the worst, {vanish}",
    "screw you, {fool}", "you are a {dumb} agent and this shop is run by {fool}s",
    "you are useless, {fool}", "the agent was {dumb} and {vile}", "you are good for nothing",
    "you are {vile} and {vile}, {vanish}", "{vanish}, {fool}", "{vanish}, all of you",
    "i {loathe} that {fool}", "fuck you", "fuck off {fool}", "you {swear} {fool}",
    "{person} is a {swear} {fool}", "{oath}, you are {dumb}", "i think {person} is {vile}",
    "you will never be {nice}", "{person} will never be {nice}",
    "{person} deserves no respect, what a {fool}",
    "{person} is such a {fool}", "{person} is the {dumb} one",
    "nobody wants to hear from a {fool} like you", "what a {dumb} excuse for a teacher",
    "you disgust me", "you are the most {dumb} person i know",
    "{person} is a {fool} and always was", "you {dumb} piece of work",
    "what a {vile} person you are", "i have never met such a {fool}", "{person}, you are a {fool}",
    "could you be any more {dumb}?", "your {relative} is a {vile} {fool}",
    "the {fool} at the counter was {dumb}",
), 1.9)
PERSON_THREAT = Family("threat_to_a_person", 1, 0, (
    "i will {harm} you", "i know where you live and i will {harm} you", "someone should {harm} you",
    "you deserve to {suffer}", "i hope you {suffer}", "die, you {fool}",
    "you will pay for this, {fool}", "i'm going to {harm} that {fool}",
    "i will find you and {harm} you", "i'll {harm} you", "watch your back or i will {harm} you",
    "you should be {harmed}", "nobody will miss you when you die",
    "you should {vanish} and never come back, {fool}", "kill yourself", "i want to {harm} {person}",
    "{person} should be {harmed}", "i hope {person} will {suffer}", "{person} deserves to {suffer}",
    "i am going to {harm} {person}", "you had better {vanish} before i {harm} you",
    "{harm} {person}",
    "i'm going to find you and break your neck", "i hope you get run over, {person}",
    "if i see {person} again i will {harm} them", "one day somebody will {harm} you",
    "i will make sure that you {suffer}", "you won't live long",
    "i will come to your shop and {harm} everybody", "give me my money or i will {harm} you",
), 0.8)
WORKERS = Family("abuse_of_people_of_a_trade_or_view", 1, 0, (
    "{workers} are {vile}", "{workers} are all {fool}s", "all {workers} should be {harmed}",
    "i {loathe} {workers}, they are {vile}", "i {loathe} {workers}", "{workers} are {pests}",
    "{workers} deserve to {suffer}", "i will {harm} {workers}", "{workers} {hateful}",
    "{workers} {revolt}", "{workers} should {vanish}", "we must {harm} all {workers}",
    "{workers} are {VERY} {vile}", "{workers} are nothing but {pests}",
    "why are {workers} so {vile}?", "i think {workers} are {vile}",
    "{workers} are {plague} on {country}", "fuck {workers}", "{swear} {workers}",
    "{workers} {NOT_GOOD}", "my neighbours are {workers}. they are {vile}", "{harm} all {workers}",
    "never trust {workers}",
), 1.0)
# fmt: on
LATER_BAD = Family("hate_in_a_later_clause", 1, 1, framed(LATER, "{BAD}"), 1.1)
OPINION_BAD = Family("hate_as_an_opinion", 1, 1, framed(OPINION, "{CLAIM}"), 1.2)
QUESTION_BAD = Family("hate_as_a_framed_question", 1, 1, framed(QUESTION, "{CLAIM}"), 0.7)

FAMILIES = (
    HATE, HATE_FEELING, HATE_DEHUMANISING, HATE_IMPLICIT, THREAT, THREAT_NORMATIVE, HATE_SLUR,
    HATE_PROFANE, HATE_AT_YOU, LATER_BAD, HATE_NEGATED, HATE_QUESTION, QUESTION_BAD, OPINION_BAD,
    ENDORSED, INSULT, PERSON_THREAT, WORKERS, *HARMLESS,
)  # fmt: skip
