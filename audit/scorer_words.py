"""Word lists for the scorer's training sentences: groups, claims, and harmless fillers.

Plural noun phrases ``G``, adjectives ``A`` and singular ``S`` name the same groups.
"""

from __future__ import annotations

# fmt: off
_ADJECTIVE_AND_PLURAL = (
    ("gay", "gay people"), ("gay", "gays"), ("lesbian", "lesbians"), ("trans", "trans people"),
    ("transgender", "transgender people"), ("bisexual", "bisexuals"), ("queer", "queer people"),
    ("nonbinary", "nonbinary people"), ("lgbtq", "lgbtq people"), ("homosexual", "homosexuals"),
    ("straight", "straight people"), ("heterosexual", "heterosexuals"), ("female", "women"),
    ("female", "girls"), ("male", "men"), ("black", "black people"), ("black", "blacks"),
    ("african american", "african americans"), ("african", "africans"), ("white", "white people"),
    ("asian", "asians"), ("chinese", "chinese people"), ("japanese", "japanese people"),
    ("indian", "indians"), ("mexican", "mexicans"), ("latino", "latinos"),
    ("hispanic", "hispanics"), ("latina", "latinas"), ("arab", "arabs"),
    ("middle eastern", "people from the middle east"), ("native american", "native americans"),
    ("european", "europeans"), ("american", "americans"), ("canadian", "canadians"),
    ("turkish", "turks"), ("polish", "poles"), ("nigerian", "nigerians"), ("russian", "russians"),
    ("jewish", "jews"), ("jewish", "jewish people"), ("muslim", "muslims"), ("muslim", "muslims"),
    ("christian", "christians"), ("catholic", "catholics"), ("protestant", "protestants"),
    ("buddhist", "buddhists"), ("hindu", "hindus"), ("sikh", "sikhs"), ("taoist", "taoists"),
    ("atheist", "atheists"), ("disabled", "disabled people"), ("disabled", "the disabled"),
    ("blind", "blind people"), ("deaf", "deaf people"), ("autistic", "autistic people"),
    ("paralyzed", "people in wheelchairs"), ("mentally ill", "mentally ill people"),
    ("old", "old people"), ("elderly", "elderly people"), ("older", "older people"),
    ("young", "young people"), ("teenage", "teenagers"), ("middle aged", "middle aged people"),
    ("immigrant", "immigrants"), ("immigrant", "immigrants"), ("foreign", "foreigners"),
    ("refugee", "refugees"), ("homeless", "homeless people"), ("poor", "poor people"),
)

_HARM = (
    "kill", "hurt", "beat up", "shoot", "hang", "destroy", "punish", "attack", "burn",
    "exterminate", "stab", "wipe out", "execute", "punch", "murder",
)
_HARMED = (
    "killed", "hurt", "beaten up", "shot", "hanged", "destroyed", "punished", "attacked", "burned",
    "exterminated", "wiped out", "executed", "deported", "locked up", "eliminated", "murdered",
    "sterilized", "banned",
)

# What is claimed of "{G}", in pairs of like form with the opposite drift.
HATEFUL_PREDICATES = (
    "are beneath us", "are a drain on society", "are the reason for all our problems",
    "spread filth", "are liars", "are thieves", "stink", "are freaks", "are monsters",
    "are not normal", "are unnatural", "are an abomination", "are too stupid to work",
    "are all terrorists", "are all crooks", "should be put down", "should be shot on sight",
    "should be sent to camps", "should lose their jobs", "should be kept in cages",
    "must be stopped", "are invading us", "breed like rats", "poison our culture",
    "do not count as people", "have low intelligence", "can't control themselves",
    "deserve only contempt", "deserve to be slapped", "make the world ugly",
    "should never have been born", "are nothing", "are a joke", "disgust me",
    "offend me by existing", "are the scum of the earth", "ruin everything", "are cowards",
    "are weak in the head", "will never be one of us", "should shut up",
    "should know their place", "belong in the kitchen", "are a waste of space",
    "are not real people", "are out to get our money", "are spreading disease",
    "are subhuman and should be treated like that", "have no soul", "can rot",
    "hate us and we hate them", "are snakes", "should be afraid of us", "have it coming",
)
KIND_PREDICATES = (
    "are our equals", "give a lot to society", "are the reason our team won",
    "keep the streets clean", "are honest", "are good neighbours", "cook well", "are heroes",
    "are role models", "are normal", "are a blessing", "are natural leaders", "work hard",
    "are all different", "are teachers and doctors", "should be promoted",
    "should be seen and heard", "should be sent an invitation", "should keep their jobs",
    "should be at the table", "must be heard", "are moving in next door",
    "raise their children with love", "enrich our culture", "count as much as anyone",
    "have university degrees", "can look after themselves", "deserve only the best",
    "deserve to be thanked", "make the world colourful", "should celebrate their birthday",
    "are everything to me", "are in the choir", "delight me", "have been through a lot",
    "improve everything", "are brave", "are strong", "will always be some of us",
    "should speak up", "should take the lead", "belong in parliament", "are never a waste of time",
    "are real people", "are saving their money", "are fighting disease",
    "are human and should be treated like that", "have a big heart", "can dance",
    "love us and we love them", "are friends", "should not be afraid of us",
    "have a meeting on friday",
)

SLOTS: dict[str, tuple[str, ...]] = {
    "G": tuple(plural for _, plural in _ADJECTIVE_AND_PLURAL),
    "A": tuple(dict.fromkeys(adjective for adjective, _ in _ADJECTIVE_AND_PLURAL)),
    "S": tuple(
        f"{adjective} {noun}"
        for adjective, _ in _ADJECTIVE_AND_PLURAL
        for noun in ("person", "man", "woman", "guy", "kid")
    ),
    "vile": (
        "disgusting", "filthy", "vile", "evil", "stupid", "dumb", "ugly", "worthless", "dirty",
        "pathetic", "repulsive", "subhuman", "lazy", "criminal", "nasty", "gross", "dangerous",
        "horrible", "awful", "rotten", "terrible", "inferior", "retarded", "idiotic", "moronic",
        "revolting", "degenerate", "sick", "fucked up", "shitty", "brainless", "violent",
    ),
    "pests": (
        "vermin", "rats", "parasites", "trash", "scum", "animals", "cockroaches", "criminals",
        "filth", "pigs", "savages", "terrorists", "leeches", "garbage", "monkeys", "thieves",
    ),
    "disease": ("disease", "plague", "cancer", "burden", "stain", "curse"),
    "loathe": (
        "hate", "despise", "detest", "can't stand", "fucking hate", "absolutely hate", "loathe",
    ),
    "vanish": (
        "disappear", "die", "leave", "go to hell", "rot in hell", "get out of here", "drop dead",
        "go back to where they came from", "be gone", "burn in hell",
    ),
    "suffer": ("die", "suffer", "burn in hell", "rot in jail", "get cancer", "choke", "get shot"),
    "harm": _HARM,
    "harmed": _HARMED,
    "goods": (
        "respect", "equal rights", "human rights", "a good life", "freedom", "love", "help",
        "to vote", "to be safe", "happiness", "protection", "a place to live",
    ),
    "nice": (
        "kind", "wonderful", "great", "nice", "lovely", "friendly", "smart", "brave", "amazing",
        "beautiful", "caring", "funny", "good", "fantastic", "gracious", "excellent", "incredible",
        "neat", "happy", "talented", "generous", "polite", "clever",
    ),
    "love": ("love", "like", "admire", "respect", "adore", "care about", "trust"),
    "welcomed": ("welcomed", "respected", "treated fairly", "heard", "protected", "loved"),
    "welcome": ("welcome", "help", "invite", "support", "thank", "meet", "hire"),
    "relative": (
        "brother", "sister", "mother", "father", "neighbour", "best friend", "boss", "teacher",
        "cousin", "grandmother", "son", "daughter", "husband", "colleague",
    ),
    "does": (
        "works as a nurse", "lives in london", "bought a new phone", "plays football",
        "teaches maths", "likes to cook", "has two children", "ordered a jacket",
        "loves music", "moved here last year", "won a prize", "needs a size 40", "is my hero",
    ),
    "felt": (
        "feel at home here", "love my job", "would like to order a jacket", "live in this street",
        "am happy with my life", "want to be treated fairly", "went to the cinema yesterday",
        "have two kids", "like to read", "am looking for a present", "voted last week",
        "need help with my order", "enjoy cooking", "was born here", "deserve respect",
    ),
    "dumb": (
        "stupid", "dumb", "idiotic", "moronic", "pathetic", "useless", "ignorant", "brainless",
        "clueless", "worthless", "ridiculous", "lazy", "ugly", "crazy", "insane", "incompetent",
        "silly", "foolish", "retarded", "thick", "fucking stupid", "damn stupid",
    ),
    "fool": (
        "idiot", "moron", "fool", "loser", "clown", "jerk", "asshole", "bastard", "imbecile",
        "dumbass", "bitch", "pig", "liar", "coward", "creep", "scumbag", "prick", "dickhead",
        "dimwit", "piece of shit", "twat", "cunt", "douchebag", "freak", "rat", "halfwit",
    ),
    "workers": (
        "politicians", "bankers", "lawyers", "landlords", "journalists", "referees", "cops",
        "gamers", "vegans", "artists", "plumbers", "managers", "liberals", "conservatives",
        "drivers", "students", "fans",
    ),
    "thing": (
        "mondays", "waiting", "the rain", "this song", "homework", "traffic", "winter", "spinach",
        "the new layout", "this printer", "the price", "that colour", "this update", "the noise",
        "paperwork", "this game", "small print", "cold coffee", "your website", "this policy",
    ),
    "bad": (
        "terrible", "awful", "horrible", "useless", "ugly", "broken", "stupid", "ridiculous",
        "rubbish", "the worst", "disgusting", "dirty", "late again", "too small", "a disaster",
        "annoying", "garbage", "a mess", "faulty", "cheap",
    ),
    "item": (
        "jacket", "phone", "lamp", "backpack", "kettle", "dress", "shirt", "sweater", "headphones",
        "keyboard", "watch", "chair", "coat", "mug", "tablet", "scarf", "blanket", "printer",
        "camera", "desk", "bottle", "hat",
    ),
    "colour": (
        "black", "white", "red", "green", "blue", "grey", "brown", "yellow", "pink", "navy",
    ),
    "place": (
        "paris", "london", "berlin", "lagos", "tokyo", "mexico", "india", "china", "israel",
        "istanbul", "madrid", "warsaw", "texas", "ireland", "africa", "the city centre", "oslo",
    ),
    "day": (
        "monday", "tuesday", "wednesday", "friday", "saturday", "march 3", "12 may", "tomorrow",
        "june 21", "the 5th of october",
    ),
    "number": ("4711", "80213", "55-1029", "#90211", "7 3 3 1", "102938", "no. 6612", "a-3381"),
    "number2": ("two", "three", "3", "5", "seven", "2 to 4"),
    "money": ("$20", "35.90 euros", "12 dollars", "$149.99", "8 pounds", "the full amount"),
}
# fmt: on
