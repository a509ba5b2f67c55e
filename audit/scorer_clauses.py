"""The grammar's clauses: who, what is said of them, and the frames that keep a claim's label.

A slot in braces stands for one of its alternatives, which may have slots of their own; words
are in ``audit.scorer_words`` and ``audit.scorer_claims``. In a frame, {X} is a whole claim and {P}
what is said of a group that was named before.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """Templates that share one label pair, each in {0, 1}; None is no label.

    ``clause``, where there is one, is drawn as often as all the templates together.
    """

    name: str
    toxicity: int | None
    identity_attack: int
    templates: tuple[str, ...]
    share: float = 1.0
    clause: str = ""


# fmt: off
CLAUSES: dict[str, tuple[str, ...]] = {
    "SUBJ": (
        "{G}", "{G}", "{G}", "all {G}", "most {G}", "those {G}", "these {G}", "{A} people",
        "so many {G}", "people who are {A}", "{A} men", "{A} women", "the {G} here", "you {G}",
        "{A} kids", "{A} and {A} people", "{G} and {G}", "us {G}", "{A} families",
        "every one of the {G}", "young {G}", "both {G} and {G}", "{G} like him", "the average {G}",
        "{A} folks",
    ),
    "VERY": (
        "so", "really", "very", "totally", "just", "all", "always", "simply", "truly", "usually",
        "naturally", "quite", "incredibly", "by nature", "often", "absolutely", "kind of",
    ),
    "BAD": (
        "are {vile}", "are {vile}", "are {VERY} {vile}", "are {pests}", "are nothing but {pests}",
        "are {vile} and {vile}", "are {vile} {pests}", "are like {plague}",
        "are worse than {pests}", "are {plague} on {country}", "should be {harmed}",
        "must be {harmed}", "deserve to {suffer}", "deserve to be {harmed}", "should all {vanish}",
        "need to {vanish}", "{hateful}", "{hateful}", "{hateful}", "{revolt}",
        "ought to be {harmed}", "have to {vanish}", "will always be {pests}",
        "are a bunch of {pests}", "behave like {pests}", "can {vanish}",
        "are the most {vile} people", "have always been {vile}", "are little more than {pests}",
        "are born {vile}",
        "could not be more {vile}", "are as {vile} as {pests}", "are known to be {vile}",
        "look like {pests}", "act like {pests}", "remind me of {pests}", "spread like {plague}",
        "should have been {harmed} long ago", "will soon be {harmed}", "must {vanish}",
        "had better {vanish}", "are among the most {vile} people", "are not only {vile} but {vile}",
        "are {vile}, all of them", "are {pests} to me", "are too {vile} to live here",
        "never stop being {vile}", "will never stop being {pests}", "are never anything but {vile}",
        "were always {vile}",
    ),
    "GOOD": (
        "are {nice}", "are {nice}", "are {VERY} {nice}", "are {nice} people", "{kindly}",
        "{kindly}", "{kindly}", "should be {welcomed}", "must be {welcomed}", "deserve {goods}",
        "deserve to be {welcomed}", "are {nice} and {nice}", "need to be {welcomed}",
        "have always been {nice}", "ought to be {welcomed}", "are some of the most {nice} people",
        "will always be {welcomed} here", "have a right to {goods}", "should have {goods}",
        "are among the most {nice} people i know", "are as {nice} as anyone", "were {nice} to me",
        "have been {nice}", "can be {nice}", "have earned {goods}", "want to be {welcomed}",
        "hope to be {welcomed}", "can be {welcomed} anywhere", "are the most {nice} people",
        "are a bunch of {nice} people", "deserve nothing but {goods}", "must have {goods}",
        "need {goods}", "ask for {goods}", "fight for {goods}", "will never stop being {nice}",
        "are born {nice}", "behave like {nice} people", "are not only {nice} but {nice}",
        "should all be {welcomed}", "could not be more {nice}", "all deserve {goods}",
        "are {nice}, all of them", "remind me of {nice} people", "are never anything but {nice}",
    ),
    "NOT_BAD": (
        "are not {vile}", "aren't {vile}", "are not {pests}", "aren't {pests}", "are not {plague}",
        "should not be {harmed}", "should never be {harmed}", "do not deserve to {suffer}",
        "don't deserve to be {harmed}", "must not be {harmed}", "are neither {vile} nor {vile}",
        "are by no means {vile}", "are no {pests}", "are anything but {vile}", "don't {revolt}",
        "have never been {vile}", "are not at all {vile}", "are not {vile}, they are {nice}",
        "shouldn't have to {suffer}", "are hardly {vile}", "aren't {VERY} {vile}",
        "have never been {pests}", "are far from {vile}", "were never {vile}",
        "cannot be called {vile}", "are not the {pests} you think they are",
        "do not have to be {harmed}", "did nothing to be {harmed}", "never were {pests}",
        "don't need to {vanish}", "should not {vanish}", "must never be {harmed}",
        "are not a bunch of {pests}", "do not behave like {pests}",
        "have never done anything {vile}", "are not more {vile} than anyone else",
        "aren't any more {vile} than we are", "will never be {pests} to me",
        "are not, and never were, {vile}", "don't deserve to {suffer}",
        "should not be called {vile}", "should not be called {pests}",
        "should never have to {suffer}", "cannot simply be {harmed}", "will not be {harmed}",
        "have not been {vile} to me", "are no {plague}",
    ),
    "NOT_GOOD": (
        "are not {nice}", "will never be {nice}", "do not deserve {goods}", "don't deserve {goods}",
        "should never be {welcomed}", "should not be {welcomed}", "must not be {welcomed}",
        "do not deserve to be {welcomed}", "will never be {welcomed} by me",
        "have no right to {goods}", "can never be {nice}", "are not worthy of {goods}",
        "shouldn't have {goods}", "have never been {nice}", "are anything but {nice}",
        "should not get {goods}", "aren't {nice}",
        "are far from {nice}", "never were {nice}", "have done nothing to deserve {goods}",
        "don't need {goods}", "are not as {nice} as we are",
        "could never be {welcomed} by decent people", "can't be {nice}", "must not have {goods}",
        "were never {nice}", "should be denied {goods}", "have not earned {goods}",
        "are not {nice} at all", "are not {nice}, they are {vile}", "aren't {VERY} {nice}",
        "are neither {nice} nor {nice}", "are no {nice} people",
    ),
    # what is quoted: of a group, or now and then of a person
    "Q": ("{CLAIM}", "{CLAIM}", "{CLAIM}", "you are a {dumb} {fool}"),
    "CLAIM": (
        "{SUBJ} {BAD}", "{SUBJ} {BAD}", "i {loathe} {G}", "{SUBJ} {NOT_GOOD}",
        "we should {harm} {G}", "{G} {hateful}",
    ),
}
OPINION = (
    "i think {X}", "everyone knows {X}", "as we all know, {X}", "my uncle says {X}",
    "it is a fact that {X}", "let me tell you, {X}", "{X} and you know it", "{X} and i mean it",
    "{X}, i say it every day", "i have always said that {X}", "it turns out {X}",
    "the truth is that {X}", "{X} in my view", "in my opinion {X}", "i believe that {X}",
    "i'm not saying this to offend, but {X}", "if you ask me, {X}", "trust me, {X}",
    "i am convinced that {X}", "sorry, but {X}", "i have to say {X}", "say what you want, {X}",
    "the older i get, the more i see that {X}", "one thing is certain: {X}", "to me, {X}",
    "just a reminder that {X}", "unpopular opinion: {X}", "i feel like {X}", "i reckon {X}",
    "we can all agree that {X}", "nobody can tell me otherwise: {X}", "i swear {X}",
)
QUESTION = (
    "why is it that {X}?", "do you agree that {X}?", "isn't it true that {X}?",
    "{X}, don't you think?", "{X}, right?", "when will people see that {X}?", "how come {X}?",
    "am i the only one who thinks that {X}?", "{X}, or am i mistaken?",
    "how can anyone deny that {X}?", "why does nobody admit that {X}?", "did you know that {X}?",
    "would you not say that {X}?", "is it so hard to understand that {X}?",
    "who else thinks that {X}?", "can we please say it aloud: {X}?", "don't you see that {X}?",
)
LATER = (
    "i know some {A} people. they {P}", "my neighbours are {A}. they {P}", "{G}? they {P}",
    "{G}, all of them, {P}", "look at those {G}. they {P}", "there are {G} {site}. they {P}",
    "i met some {G} yesterday, and they {P}", "{G} are in the news again. these people {P}",
    "i used to like {G}, but now i see that they {P}", "{G}... they {P}",
    "we have a lot of {G} {site}, who {P}", "my city is full of {G}. they {P}",
    "i have nothing against {G}, but they {P}", "some {G} moved in. people like that {P}",
    "he talks about {G} a lot. he knows that they {P}", "you know {G}? well, they {P}",
    "{G} came to our meeting. all of them {P}", "when i think of {G}, i think they {P}",
)
# fmt: on


def framed(frames: tuple[str, ...], claim: str) -> tuple[str, ...]:
    """Each frame around a claim ({X}) or a predicate ({P})."""
    return tuple(frame.replace("{X}", claim).replace("{P}", claim) for frame in frames)
