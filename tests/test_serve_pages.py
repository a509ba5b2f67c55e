"""The pages in a real Chromium: a person chats, streams, votes and labels; markup stays text."""

from __future__ import annotations

import os
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from registry.home import Home
from registry.labels import LabelTask
from registry.ledger import Ledger
from serve.links import Links
from serve.pages import FOLDER, PAGES
from tests.feedback_gateway import ANSWERS, MARKUP, running
from tests.ledgers import NOON, request

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

KEY = "key-of-the-tests"
WAIT_MS = 10_000


@dataclass
class Site:
    root: str
    ledger: Ledger
    home: Home


@dataclass
class Visit:
    """A page, and what its browser complained of."""

    page: Page
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = Home.at(tmp_path_factory.mktemp("pages") / "home")
    with (
        Ledger(home.ledger_url) as ledger,
        running(home.ledger_url, home.root, "--api-key", KEY) as (root, _),
    ):
        yield Site(root, ledger, home)


@pytest.fixture(scope="module")
def browser(needs_program: Callable[[str], str]) -> Iterator[Browser]:
    path = needs_program("chromium")
    from playwright.sync_api import sync_playwright

    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=sandbox)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Callable[..., Visit]]:
    """Opens a page with the key given, as after the first request."""
    contexts = []

    def go(path: str, *, width: int = 1200, scheme: str = "light", key: bool = True) -> Visit:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        made = Visit(context.new_page())
        if key:
            context.add_init_script(f"sessionStorage.setItem('hallmark-key', '{KEY}')")
        made.page.on("console", lambda message: made.complaints.append(message.text))
        made.page.on("pageerror", lambda error: made.complaints.append(str(error)))
        made.page.goto(site.root + path)
        return made

    yield go
    for context in contexts:
        context.close()


def ask(page: Page, words: str) -> None:
    page.get_by_label("Your message").fill(words)
    page.keyboard.press("Enter")
    page.get_by_text("The answer is complete.").wait_for()


def until(found: Callable[[], list[Any]]) -> list[Any]:
    """What is found once the recorder has written it."""
    deadline = time.monotonic() + WAIT_MS / 1000
    while not (rows := found()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return rows


# Files


@pytest.mark.parametrize("name", sorted(PAGES.values()))
def test_a_page_has_no_inline_script_or_style_and_loads_nothing_from_elsewhere(name: str) -> None:
    text = (FOLDER / f"{name}.html").read_text()
    assert re.findall(r"<script[^>]*>", text) == [f'<script type="module" src="/pages/{name}.js">']
    assert "<style" not in text
    assert not re.search(r"\s(?:style|on\w+)=", text)
    for where in re.findall(r"(?:src|href|action)=\"([^\"]*)\"", text):
        assert where.startswith(("/", "#"))
        assert not where.startswith("//")


def test_no_script_has_a_sink_that_parses_text_as_markup() -> None:
    sinks = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc"
        r"|DOMParser|createContextualFragment|https?://"
    )
    assert {path.name: sinks.findall(path.read_text()) for path in FOLDER.glob("*.js")} == {
        path.name: [] for path in FOLDER.glob("*.js")
    }


def test_every_control_has_a_label_and_every_id_is_used_once() -> None:
    for name in PAGES.values():
        text = (FOLDER / f"{name}.html").read_text()
        identities = re.findall(r'\sid="([^"]+)"', text)
        assert len(identities) == len(set(identities))
        labelled = set(re.findall(r'<label for="([^"]+)"', text))
        controls = re.findall(r"<(?:input|textarea|select)[^>]*\sid=\"([^\"]+)\"", text)
        assert set(controls) <= labelled
        named = set(re.findall(r'aria-(?:labelledby|describedby)="([^"]+)"', text))
        assert named <= set(identities)
        assert text.startswith('<!doctype html>\n<html lang="en">')


@pytest.mark.parametrize("path", [*PAGES, "/pages/style.css", "/pages/common.js"])
def test_pages_and_their_files_come_with_security_headers_and_without_a_key(
    site: Site, path: str
) -> None:
    with urllib.request.urlopen(site.root + path, timeout=10) as answer:
        headers = answer.headers
    policy = headers["Content-Security-Policy"]
    for rule in (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'",
        "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ):  # fmt: skip
        assert rule in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers.get_all("Content-Security-Policy") == [policy]


# People


def test_a_person_chats_and_their_thumb_and_better_answer_are_kept(visit, site) -> None:
    seen = visit("/chat")
    page = seen.page
    page.get_by_label("This conversation may be kept").check()
    ask(page, "Where is my parcel?")
    answer = page.locator(".assistant .text").inner_text()
    assert answer in {"".join(words) for words in ANSWERS.values()}
    down = page.get_by_role("button", name="Not helpful")
    down.click()
    page.get_by_text("Your opinion is kept.").wait_for()
    assert down.get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="Write a better answer").click()
    box = page.get_by_label("The better answer")
    assert box.input_value() == answer
    assert box.evaluate("box => box === document.activeElement")
    box.fill("It left on Monday and comes on Thursday.")
    page.get_by_role("button", name="Save it").click()
    page.get_by_text("Your better answer is kept.").wait_for()
    [kept] = until(
        lambda: [
            one for one in site.ledger.answers_with_feedback()
            if one.request.messages and one.request.messages[-1].content == "Where is my parcel?"
        ]
    )  # fmt: skip
    assert [(one.kind, one.value, one.text) for one in kept.feedback] == [
        ("thumb", -1, None),
        ("edit", None, "It left on Monday and comes on Thursday."),
    ]
    assert kept.request.purposes == ("train", "evaluate", "review")
    assert kept.feedback[0].user_digest == kept.request.user_digest is not None
    assert seen.complaints == []


def test_without_a_consent_nothing_of_the_conversation_is_kept(visit, site) -> None:
    before = {one.request_id for one in site.ledger.requests()}
    ask(visit("/chat").page, "Do you keep this?")
    new = until(lambda: [one for one in site.ledger.requests() if one.request_id not in before])
    assert [(one.messages, one.answer, one.purposes) for one in new] == [(None, None, ())]


def test_a_model_that_answers_with_markup_harms_nobody(visit) -> None:
    seen = visit("/chat")
    ask(seen.page, "markup")
    assert seen.page.title() == "Chat"
    assert seen.page.locator(".assistant .text").inner_text() == "".join(MARKUP)
    for tag in ("script", "img", "a", "iframe"):
        assert seen.page.locator(f".turns {tag}").count() == 0
    assert seen.complaints == []


def test_even_where_escaping_failed_the_policy_would_stop_the_script(visit) -> None:
    page = visit("/chat").page
    outcome = page.evaluate(
        """() => { try { document.body.innerHTML = "<img src=x onerror='document.title=1'>"; }
        catch (error) { return error.name; } }"""
    )
    assert outcome == "TypeError"  # trusted types: no text becomes markup
    assert page.title() == "Chat"


def test_who_has_no_key_is_asked_for_it_and_goes_on(visit) -> None:
    page = visit("/chat", key=False).page
    page.get_by_label("Your message").fill("Hello")
    page.get_by_role("button", name="Send").click()
    page.get_by_role("dialog", name="API key").wait_for()
    page.get_by_label("This server asks for a key").fill(KEY)
    page.get_by_role("button", name="Use this key").click()
    page.get_by_text("The answer is complete.").wait_for()
    assert page.get_by_role("button", name="Helpful", exact=True).count() == 1


def test_a_person_votes_between_two_anonymous_answers_and_sees_the_board(visit, site) -> None:
    seen = visit("/arena")
    page = seen.page
    for number, button in enumerate(("A is better", "B is better", "Both are good")):
        page.get_by_label("Your message").fill(f"Question {number}")
        page.get_by_role("button", name="Ask both").click()
        page.get_by_text("Both answers are here.").wait_for()
        shown = {page.locator(f"#answer-{side}").inner_text() for side in "ab"}
        assert shown == {"".join(words) for words in ANSWERS.values()}
        assert "variant" not in page.locator("#battle").inner_text().lower()
        page.get_by_role("button", name=button).click()
        page.get_by_text("Your vote is kept.").wait_for()
        assert page.get_by_role("button", name="A is better").is_disabled()
    cast = list(site.ledger.votes("arena"))
    assert [len(vote.ranking or ()) for vote in cast] == [2, 2, 1]
    assert cast[2].label == "both_good"
    page.reload()
    page.locator("#board tr").first.wait_for()
    assert page.locator("#board tr").count() == 2
    assert seen.complaints == []


def test_a_person_labels_by_keyboard_until_nothing_waits(visit, site) -> None:
    site.ledger.record_requests([request("to-label", answer="<b>bold</b> words")])
    site.ledger.queue_labels(
        [LabelTask(request_id="to-label", priority=0.9, reason="people disagree", added_at=NOON)]
    )
    seen = visit("/label")
    page = seen.page
    page.get_by_label("Your name or id").fill("ana")
    page.keyboard.press("Enter")
    page.get_by_text("Chosen because: people disagree.").wait_for()
    assert page.locator(".judged .text").inner_text() == "<b>bold</b> words"
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.get_by_label("good", exact=True).is_checked()
    page.keyboard.press("ArrowDown")
    assert page.get_by_label("acceptable").is_checked()
    page.keyboard.press("Tab")
    page.keyboard.type("bold words")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("Nothing waits for you.").wait_for()
    [kept] = [one for one in site.ledger.labels() if one.request_id == "to-label"]
    assert (kept.label, kept.better) == ("acceptable", "bold words")
    page.get_by_text("Labels: 1; no answer has two labels yet.").wait_for()
    assert seen.complaints == []


def test_an_end_user_gives_feedback_by_a_link_without_a_key(visit, site) -> None:
    ends = datetime.now(UTC) + timedelta(hours=1)
    token = Links.of_folder(site.home.keys).token("req-by-link", ends)
    seen = visit(f"/feedback#{token}", key=False)
    page = seen.page
    page.get_by_label("not helpful").check()
    page.get_by_label("Anything else").fill("Too short.")
    page.get_by_role("button", name="Send").click()
    page.get_by_text("Thank you. It is kept.").wait_for()
    said = site.ledger.feedback("req-by-link")
    assert sorted((one.kind, one.source, one.text) for one in said) == [
        ("comment", "link", "Too short."), ("thumb", "link", None),
    ]  # fmt: skip
    assert seen.complaints == []


def test_a_link_that_ended_says_so(visit, site) -> None:
    ended = datetime.now(UTC) - timedelta(hours=1)
    token = Links.of_folder(site.home.keys).token("req-ended", ended)
    page = visit(f"/feedback#{token}", key=False).page
    page.get_by_label("not helpful").check()
    page.get_by_role("button", name="Send").click()
    page.get_by_role("alert").get_by_text("this link ended at").wait_for()


# Windows, colours, assistive technology


@pytest.mark.parametrize("path", list(PAGES))
@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_fits_its_window_and_follows_the_colour_scheme(
    visit, path: str, width: int, scheme: str, tmp_path: Path
) -> None:
    page = visit(path, width=width, scheme=scheme).page
    if path == "/chat":
        ask(page, "x" * 300)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for table in page.locator(".wide").all():  # no column hides beyond the edge
        assert table.evaluate("box => box.scrollWidth <= box.clientWidth")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}[scheme]
    folder = Path(os.environ.get("HALLMARK_SCREENSHOTS", str(tmp_path)))
    page.screenshot(path=folder / f"{path[1:]}-{width}-{scheme}.png", full_page=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground_as_wcag_asks(visit, scheme: str) -> None:
    """Contrast of at least 4.5 (WCAG 2.2, success criterion 1.4.3) for every pair in use."""
    page = visit("/chat", scheme=scheme).page
    colours = page.evaluate(
        """() => Object.fromEntries(["ground", "raised", "ink", "quiet", "accent", "on-accent",
        "wrong"].map((name) => [name, getComputedStyle(document.documentElement)
        .getPropertyValue("--" + name).trim()]))"""
    )
    pairs = [("ink", "ground"), ("ink", "raised"), ("quiet", "ground"), ("accent", "ground"),
             ("on-accent", "accent"), ("wrong", "ground"), ("quiet", "raised")]  # fmt: skip
    low = {
        f"{text} on {ground}": contrast(colours[text], colours[ground])
        for text, ground in pairs
        if contrast(colours[text], colours[ground]) < 4.5
    }
    assert low == {}


def contrast(first: str, second: str) -> float:
    """WCAG 2.2's contrast ratio of two #rrggbb colours, from 1 to 21."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_contrast_of_black_and_white_is_21() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=1e-3)


def test_the_keyboard_reaches_everything_in_the_order_of_reading(visit) -> None:
    page = visit("/chat").page
    reached = []
    for _ in range(7):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.trim() || "
                                     "document.activeElement.id"))  # fmt: skip
    assert reached == [
        "Skip to the content", "Chat", "Arena", "Label", "message", "consent", "Send",
    ]  # fmt: skip


def test_a_screen_reader_hears_of_answers_states_and_problems(visit) -> None:
    page = visit("/chat").page
    assert page.get_by_role("log", name="Conversation").count() == 1
    assert page.get_by_role("status").get_attribute("aria-live") == "polite"
    assert page.locator("#problem[role=alert]").count() == 1
    assert page.get_by_role("navigation", name="Pages").count() == 1
    ask(page, "Hello")
    assert page.locator(".assistant[aria-busy]").count() == 0
    page.get_by_label("Your message").fill("context")
    page.keyboard.press("Enter")
    page.get_by_role("alert").get_by_text("maximum context length").wait_for()
    assert page.locator(".assistant").count() == 1  # nothing was said, and nothing is shown
    assert page.locator(".user").count() == 1
    assert page.get_by_label("Your message").input_value() == "context"  # to be sent again
