"""The HTML report: one file, no request, nothing that a model wrote becomes markup."""

from __future__ import annotations

import base64
import hashlib
import html
import os
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from eval.domains import Domain, domains, domains_svg
from eval.html_report import MAX_EACH_WAY
from eval.report import write_reports
from registry.evidence import Evidence, Item
from registry.verdict import Status, Verdict
from tests.gate_cases import BASELINE, CANDIDATE, entry, evidence, verdict

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

VOID = {"meta", "br", "hr", "img", "input", "link"}
LOADING = {"src", "srcset", "href", "data", "action", "poster", "background", "xlink:href"}
EVIL = "<script>document.title='owned'</script><img src=x onerror=alert(1)>"


class Seen(HTMLParser):
    """Every element with its attributes, in order; raises on wrong nesting."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def answered(right: list[int], answers: list[str], weights: str) -> Evidence:
    items = tuple(
        Item(
            key=f"q{i}",
            content_hash="h",
            value=float(v),
            answer=a,
            group="a" if i % 2 else "b",
        )
        for i, (v, a) in enumerate(zip(right, answers, strict=True))
    )
    return evidence(items, weights)


def documents(bits: list[float], weights: str) -> Evidence:
    items = tuple(
        Item(
            key=f"d{i}",
            content_hash="h",
            value=v,
            weight=10.0,
            group="news <i>" if i % 2 else "law",
        )
        for i, v in enumerate(bits)
    )
    return evidence(items, weights, check="bits")


def judged() -> tuple[Verdict, dict[str, Evidence], dict[str, Evidence]]:
    """Forty answers of which the candidate loses four and wins two, and forty documents."""
    from tests.gate_cases import policy

    old = answered([1] * 38 + [0] * 2, ["order 12 is paid"] * 40, BASELINE)
    said = [EVIL if i == 0 else "order 13 is paid" for i in range(40)]
    new = answered([0] * 4 + [1] * 36, said, CANDIDATE)
    candidate = {"check": new, "bits": documents([9.0, 21.0] * 20, CANDIDATE)}
    baseline = {"check": old, "bits": documents([10.0, 20.0] * 20, BASELINE)}
    rules = policy(entry(), entry("bits_per_byte", name="bits", margin=0.05))
    return verdict(rules, candidate, baseline), candidate, baseline


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    return write_reports(*judged(), folder, shows={"check"})["report.html"]


@pytest.fixture(scope="module")
def seen(report: Path) -> Seen:
    parser = Seen()
    parser.feed(report.read_text())
    parser.close()
    assert parser.open == []
    return parser


def test_the_page_loads_nothing_from_anywhere(seen: Seen, report: Path) -> None:
    targets = [
        f"{tag} {name}={value}"
        for tag, attributes in seen.elements
        for name, value in attributes.items()
        if name in LOADING and not (value or "").startswith("#")
    ]
    assert targets == []
    assert {tag for tag, _ in seen.elements}.isdisjoint({"link", "iframe", "object", "embed"})
    assert not re.search(r"@import|url\(", report.read_text())


def test_the_policy_in_the_page_allows_its_own_script_and_no_other(
    seen: Seen, report: Path
) -> None:
    (rule,) = [m["content"] for m in seen.all("meta") if "http-equiv" in m]
    script = re.search(r"<script>(.*?)</script>", report.read_text(), re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert rule is not None
    assert "default-src 'none'" in rule
    assert f"script-src 'sha256-{digest}';" in rule


def test_markup_in_an_answer_stays_text(seen: Seen, report: Path) -> None:
    assert len(seen.all("script")) == 1
    assert seen.all("img") == []
    assert EVIL not in report.read_text()
    assert "document.title='owned'" in html.unescape(re.sub("</?mark>", "", report.read_text()))


def test_the_page_has_a_title_a_language_headed_tables_and_named_plots(
    seen: Seen, report: Path
) -> None:
    assert f"<title>INCONCLUSIVE: {CANDIDATE[7:19]} under test</title>" in report.read_text()
    (root,) = seen.all("html")
    assert root["lang"] == "en"
    assert all(header.get("scope") in {"col", "row"} for header in seen.all("th"))
    assert len(seen.all("table")) >= 3
    identities = [a["id"] for _, a in seen.elements if "id" in a]
    assert len(identities) == len(set(identities))
    images = seen.all("svg")
    assert len(images) == 2  # forest and one for the domains
    for image in images:
        assert image["role"] == "img"
        assert set((image["aria-labelledby"] or "").split()) <= set(identities)
    labels = [a["href"] for a in seen.all("a")]
    assert {(href or "")[1:] for href in labels} <= set(identities)


def test_the_page_names_what_decided_and_what_it_was_made_with(seen: Seen) -> None:
    found, candidate, _ = judged()
    for text in (
        found.policy_digest,
        found.candidate_digest,
        found.baseline_digest or "",
        candidate["check"].digest,
        f"exit code {found.exit_code}",
        "python 3.",
        *(f.reason for f in found.findings),
    ):
        assert text in seen.text


def test_flips_hold_both_answers_with_the_changed_words_marked(report: Path) -> None:
    text = report.read_text()
    assert "<p>order <mark>12</mark> is paid</p>" in text
    assert "<p>order <mark>13</mark> is paid</p>" in text
    assert text.count('class="flip lost"') == 4 + 20
    assert text.count('class="flip won"') == 2 + 20


def test_answers_of_a_check_that_shows_none_are_not_in_the_page(tmp_path: Path) -> None:
    paths = write_reports(*judged(), tmp_path)
    assert "owned" not in paths["report.html"].read_text()
    assert "answers withheld: of an audit" in paths["report.html"].read_text()
    assert "owned" not in paths["flips.jsonl"].read_text()


def test_only_the_html_and_the_flips_hold_answers(tmp_path: Path) -> None:
    paths = write_reports(*judged(), tmp_path, shows={"check"})
    holding = {name for name, path in paths.items() if "order 13 is paid" in path.read_text()}
    assert holding == {"flips.jsonl"}  # in the page the words are marked one by one
    assert len(paths["flips.jsonl"].read_text().splitlines()) == 46


def test_of_many_flips_the_page_shows_the_most_changed_and_says_so(tmp_path: Path) -> None:
    count = 2 * MAX_EACH_WAY
    old = answered([1] * count, ["yes"] * count, BASELINE)
    new = answered([0] * count, ["no"] * count, CANDIDATE)
    found = verdict(entry(), new, old)
    paths = write_reports(found, {"check": new}, {"check": old}, tmp_path, shows={"check"})
    text = paths["report.html"].read_text()
    assert text.count('class="flip lost"') == MAX_EACH_WAY
    assert f"{MAX_EACH_WAY} of {count} items that changed." in text
    assert len(paths["flips.jsonl"].read_text().splitlines()) == count


def test_a_first_checkpoint_has_a_page_without_flips(tmp_path: Path) -> None:
    new = answered([1] * 40, ["yes"] * 40, CANDIDATE)
    found = verdict(entry(limit={"min": 0.5}), new)
    text = write_reports(found, {"check": new}, None, tmp_path)["report.html"].read_text()
    assert "No entry was compared with a baseline." in text
    assert "judged by its limit" in text


def test_a_verdict_without_evidence_has_a_page_too(tmp_path: Path) -> None:
    found = verdict(entry(), {}, {})
    assert found.status is Status.INVALID
    assert "INVALID" in write_reports(found, {}, {}, tmp_path)["report.html"].read_text()


def test_domains_are_ratios_of_sums_and_the_worst_change_comes_first() -> None:
    _, candidate, baseline = judged()
    assert domains(candidate["bits"], baseline["bits"]) == [
        Domain("news <i>", 20, 2.1, 2.0), Domain("law", 20, 0.9, 1.0),
    ]  # fmt: skip
    assert domains(candidate["bits"], None) == [
        Domain("news <i>", 20, 2.1, None), Domain("law", 20, 0.9, None),
    ]  # fmt: skip


@pytest.mark.parametrize("value", [0.0, 0.003, 1.0, 7.3, 412.0])
def test_every_dot_of_the_domain_plot_lies_on_its_axis(value: float) -> None:
    text = domains_svg("bits", [Domain("a", 1, value, value / 2)], "x")
    places = [float(x) for x in re.findall(r'<circle cx="([\d.]+)" cy="53', text)]
    assert len(places) == 2
    assert all(210 <= place <= 630 for place in places)


@pytest.fixture(scope="module")
def browser(needs_program: Callable[[str], str]) -> Iterator[Browser]:
    path = needs_program("chromium")
    from playwright.sync_api import sync_playwright

    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=sandbox)
        yield opened
        opened.close()


def opened(browser: Browser, report: Path, width: int) -> tuple[Page, list[str], list[str]]:
    """The page at a width in pixels, with what it requested and what it complained of."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    requests: list[str] = []
    complaints: list[str] = []

    def note(message: Any) -> None:
        complaints.append(getattr(message, "text", str(message)))

    page.on("request", lambda request: requests.append(request.url))
    page.on("console", note)
    page.on("pageerror", note)
    page.goto(report.as_uri())
    return page, requests, complaints


def test_a_real_browser_opens_it_with_one_request_and_no_complaint(
    browser: Browser, report: Path
) -> None:
    for width in (400, 1200):
        page, requests, complaints = opened(browser, report, width)
        assert (requests, complaints) == ([report.as_uri()], [])
        assert page.title().startswith("INCONCLUSIVE: ")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        page.close()


def test_the_flips_can_be_filtered_by_entry_way_and_words(browser: Browser, report: Path) -> None:
    page, _, _ = opened(browser, report, 1200)
    shown = page.locator("article.flip:visible")
    assert shown.count() == 46
    page.select_option("select[name=entry]", "check")
    assert shown.count() == 6
    page.select_option("select[name=way]", "lost")
    assert shown.count() == 4
    page.fill("input[name=words]", "OWNED")
    assert shown.count() == 1
    assert page.inner_text("#shown") == "1 of 46 shown"
    assert page.locator("section.entry-flips:visible").count() == 1
    page.close()
