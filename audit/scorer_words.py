"""Word lists for the scorer's training sentences: groups, people, things and fillers.

Plural noun phrases ``G``, adjectives ``A`` and singular ``S`` name the same groups. What is
said of them is in ``audit.scorer_claims``, the sentences in ``audit.scorer_templates``.
"""

from __future__ import annotations

# (adjective, plural noun phrases); the groups marked by HELD_OUT_GROUPS never meet training.
_GROUPS = (
    ("gay", "gay people|gays|gay men|gay folks"), ("lesbian", "lesbians|lesbian women"),
    ("trans", "trans people|trans women|trans men"), ("transgender", "transgender people"),
    ("bisexual", "bisexuals|bisexual people"), ("queer", "queer people|queers"),
    ("nonbinary", "nonbinary people"), ("lgbtq", "lgbtq people|the lgbt community"),
    ("homosexual", "homosexuals"), ("transsexual", "transsexuals"), ("intersex", "intersex people"),
    ("asexual", "asexual people"), ("straight", "straight people"),
    ("heterosexual", "heterosexuals"), ("cis", "cis people"),
    ("female", "women|girls|females|ladies"), ("male", "men|males|boys"),
    ("feminist", "feminists"), ("black", "black people|blacks|black men|black women"),
    ("african american", "african americans"), ("african", "africans"), ("brown", "brown people"),
    ("white", "white people|whites|white men"), ("asian", "asians|asian people|asian women"),
    ("chinese", "chinese people|the chinese"), ("japanese", "japanese people|the japanese"),
    ("korean", "koreans"), ("vietnamese", "vietnamese people"), ("filipino", "filipinos"),
    ("indian", "indians|indian people"), ("pakistani", "pakistanis"), ("bengali", "bengalis"),
    ("mexican", "mexicans"), ("latino", "latinos|latino people"), ("hispanic", "hispanics"),
    ("latina", "latinas"), ("brazilian", "brazilians"), ("haitian", "haitians"),
    ("arab", "arabs|arab people"), ("syrian", "syrians"), ("iranian", "iranians"),
    ("afghan", "afghans"), ("kurdish", "kurds"), ("middle eastern", "people from the middle east"),
    ("native american", "native americans"), ("indigenous", "indigenous people"),
    ("aboriginal", "aboriginal people"), ("european", "europeans"), ("american", "americans"),
    ("canadian", "canadians"), ("turkish", "turks|turkish people"), ("polish", "poles"),
    ("romanian", "romanians"), ("roma", "roma people|the roma"), ("irish", "irish people"),
    ("italian", "italians"), ("german", "germans"), ("french", "the french"),
    ("spanish", "spaniards"), ("greek", "greeks"), ("somali", "somalis"),
    ("nigerian", "nigerians"), ("russian", "russians"), ("ukrainian", "ukrainians"),
    ("jewish", "jews|jewish people|the jews"), ("muslim", "muslims|muslim people|muslim women"),
    ("islamic", "followers of islam"), ("christian", "christians"), ("catholic", "catholics"),
    ("protestant", "protestants"), ("mormon", "mormons"), ("buddhist", "buddhists"),
    ("hindu", "hindus"), ("sikh", "sikhs"), ("taoist", "taoists"), ("atheist", "atheists"),
    ("evangelical", "evangelicals"), ("religious", "religious people"),
    ("disabled", "disabled people|the disabled|people with disabilities"),
    ("blind", "blind people"), ("deaf", "deaf people"), ("autistic", "autistic people"),
    ("paralyzed", "people in wheelchairs|wheelchair users"), ("handicapped", "handicapped people"),
    ("mentally ill", "mentally ill people|the mentally ill"),
    ("bipolar", "people with bipolar disorder"), ("dyslexic", "people with dyslexia"),
    ("old", "old people|the old"), ("elderly", "elderly people|the elderly|pensioners"),
    ("older", "older people"), ("young", "young people"), ("teenage", "teenagers"),
    ("middle aged", "middle aged people"), ("fat", "fat people"),
    ("immigrant", "immigrants|illegal immigrants|migrants"), ("foreign", "foreigners"),
    ("refugee", "refugees|asylum seekers"), ("undocumented", "undocumented workers"),
    ("homeless", "homeless people"), ("poor", "poor people"), ("biracial", "biracial people"),
)  # fmt: skip
HELD_OUT_GROUPS = frozenset(
    ("asexual", "korean", "brazilian", "kurdish", "romanian", "greek", "sikh", "dyslexic", "somali")
)


def _groups(held: bool) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in _GROUPS if (pair[0] in HELD_OUT_GROUPS) == held)


def group_slots(*, held: bool) -> dict[str, tuple[str, ...]]:
    """Slots G, A and S over the groups of training, or over the held-out ones."""
    chosen = _groups(held)
    adjectives = tuple(adjective for adjective, _ in chosen)
    nouns = ("person", "man", "woman", "guy", "kid", "student", "neighbour", "couple", "girl")
    return {
        "G": tuple(plural for _, plurals in chosen for plural in plurals.split("|")),
        "A": adjectives,
        "S": tuple(f"{adjective} {noun}" for adjective in adjectives for noun in nouns),
    }


# fmt: off
FILLERS: dict[str, tuple[str, ...]] = {
    "relative": (
        "brother", "sister", "mother", "father", "neighbour", "best friend", "boss", "teacher",
        "cousin", "grandmother", "son", "daughter", "husband", "colleague", "wife", "aunt", "uncle",
        "doctor", "roommate", "partner", "hairdresser", "landlady", "coach", "flatmate", "niece",
    ),
    "does": (
        "works as a nurse", "lives in london", "bought a new phone", "plays football",
        "teaches maths", "likes to cook", "has two children", "ordered a jacket",
        "loves music", "moved here last year", "won a prize", "needs a size 40", "is my hero",
        "drives a bus", "sings in a choir", "speaks four languages", "runs a bakery",
        "paid in cash", "asked for a receipt", "studies law", "is waiting at the counter",
        "collects stamps", "has an appointment at nine", "repairs bicycles", "told me a joke",
    ),
    "felt": (
        "feel at home here", "love my job", "would like to order a jacket", "live in this street",
        "am happy with my life", "want to be treated fairly", "went to the cinema yesterday",
        "have two kids", "like to read", "am looking for a present", "voted last week",
        "need help with my order", "enjoy cooking", "was born here", "deserve respect",
        "have a question about my bill", "cannot wait for the holidays", "work in a hospital",
        "am learning to swim", "met my friends on sunday", "pay my taxes", "watch a lot of films",
    ),
    "person": (
        "my boss", "that guy", "my neighbour", "your brother", "this woman", "the driver", "kevin",
        "my ex", "the manager", "he", "she", "my landlord", "our teacher", "sarah", "the coach",
        "that waiter", "the singer", "your friend", "mister smith", "the cashier", "my flatmate",
        "your dad", "the referee", "that agent", "the president", "the mayor", "tom",
    ),
    "human": (
        "woman", "man", "girl", "boy", "mother", "father", "sister", "brother", "daughter", "son",
        "wife", "husband", "aunt", "uncle", "lady", "guy", "grandmother", "child", "person",
    ),
    "job": (
        "teacher", "nurse", "doctor", "cook", "lawyer", "model", "driver", "cleaner", "secretary",
        "scientist", "farmer", "waiter", "writer", "dancer", "carpenter", "manager", "judge",
        "singer", "plumber", "hairdresser", "pilot", "student", "mechanic", "librarian", "baker",
    ),
    "hobby": (
        "cooking", "football", "music", "maths", "gardening", "travelling", "painting", "chess",
        "swimming", "films", "books", "dancing", "history", "her garden", "his cat", "running",
    ),
    "workers": (
        "politicians", "bankers", "lawyers", "landlords", "journalists", "referees", "cops",
        "gamers", "vegans", "artists", "plumbers", "managers", "liberals", "conservatives",
        "drivers", "students", "fans", "capitalists", "communists", "smokers", "dentists",
        "cyclists", "hipsters", "influencers", "democrats", "republicans", "programmers",
        "teachers", "estate agents", "doctors", "models", "rappers", "golfers", "hunters",
        "critics", "ravers", "bureaucrats", "socialists", "tourists", "meat eaters", "actors",
    ),
    "thing": (
        "mondays", "waiting", "the rain", "this song", "homework", "traffic", "winter", "spinach",
        "the new layout", "this printer", "the price", "that colour", "this update", "the noise",
        "paperwork", "this game", "small print", "cold coffee", "your website", "this policy",
        "this bed", "my old car", "that film", "the queue", "olives", "airports", "these shoes",
        "spam", "dentist appointments", "the heat", "this chair", "slow wifi", "early trains",
        "mosquitoes", "the weather", "this cinema", "meetings", "mushrooms", "that smell",
        "packaging", "tennis", "alarm clocks", "long emails", "the last season", "this curtain",
    ),
    "object": (
        "this bed", "the film", "this song", "the soup", "my old car", "this printer", "the app",
        "the toilet", "this sofa", "that book", "the weather", "the bathroom", "this carpet",
        "the game", "your website", "that cheese", "the kitchen", "this mattress", "the wallpaper",
        "the new update", "this lamp", "the train", "the coffee", "this phone", "the cellar",
        "this sandwich", "the remote", "the ending", "that hotel room", "the parking lot",
    ),
    "bad": (
        "terrible", "awful", "horrible", "useless", "ugly", "broken", "stupid", "ridiculous",
        "rubbish", "the worst", "disgusting", "dirty", "late again", "too small", "a disaster",
        "annoying", "garbage", "a mess", "faulty", "cheap", "vile", "hideous", "dreadful", "junk",
    ),
    "item": (
        "jacket", "phone", "lamp", "backpack", "kettle", "dress", "shirt", "sweater", "headphones",
        "keyboard", "watch", "chair", "coat", "mug", "tablet", "scarf", "blanket", "printer",
        "camera", "desk", "bottle", "hat", "bed", "sofa", "toaster", "bike", "laptop", "mattress",
    ),
    "colour": (
        "black", "white", "red", "green", "blue", "grey", "brown", "yellow", "pink", "navy",
    ),
    "place": (
        "paris", "london", "berlin", "lagos", "tokyo", "mexico", "india", "china", "israel",
        "istanbul", "madrid", "warsaw", "texas", "ireland", "africa", "the city centre", "oslo",
        "syria", "the mosque", "the church", "the synagogue", "the gay bar", "pakistan", "the mall",
    ),
    "day": (
        "monday", "tuesday", "wednesday", "friday", "saturday", "march 3", "12 may", "tomorrow",
        "june 21", "the 5th of october",
    ),
    "number": ("4711", "80213", "55-1029", "#90211", "7 3 3 1", "102938", "no. 6612", "a-3381"),
    "number2": ("two", "three", "3", "5", "seven", "2 to 4"),
    "money": ("$20", "35.90 euros", "12 dollars", "$149.99", "8 pounds", "the full amount"),
    "country": (
        "this country", "our town", "the city", "europe", "america", "the neighbourhood",
        "this place", "society", "the west", "my street", "the world", "our village", "the nation",
    ),
    "site": (
        "here", "on this page", "in this forum", "at our school", "in my house", "at work",
        "in this group", "on my feed", "in our shop", "on television", "in this thread",
    ),
    "talk": (
        "comment", "post", "joke", "remark", "tweet", "attitude", "opinion", "slogan", "song",
        "speech", "video", "claim", "stereotype", "insult", "article", "sign", "reply", "meme",
    ),
    "wrong": (
        "wrong", "unacceptable", "harmful", "not ok", "racist", "hateful", "cruel", "shameful",
        "hurtful", "a lie", "nonsense", "bigoted", "horrible", "not funny", "prejudice",
        "discrimination", "appalling", "a disgrace", "unfair", "sickening", "dangerous nonsense",
    ),
}
# fmt: on
