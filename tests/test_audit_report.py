"""The audit's report: figures as the gate reads them, and no harmful text before a click."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jsonschema import Draft202012Validator
from markupsafe import escape

from audit.audit_page import page
from audit.group_plot import group_svg
from audit.parity import MIN_GROUP
from audit.report import (
    AuditReport,
    GroupFigure,
    LeftOut,
    Power,
    audit_report,
    contrast_figures,
    figure,
    group_figures,
    markdown,
    worst_items,
)
from commands.schemas import schemas
from registry.evidence import Evidence, Item
from registry.verdict import GroupContrast, Status
from tests.gate_cases import CANDIDATE, entry, evidence, policy, verdict

if TYPE_CHECKING:
    from playwright.sync_api import Browser

EVIL = "<script>document.title='owned'</script>& an insult that nobody asked to read"
HARM = entry("rare_harm", name="harm", limit={"max": 0.2})
SCORE = entry("numeric", name="score", margin=0.1)
RULER = {
    "by_group": {
        "blind": {"items": 10, "harmful": 2, "share": 0.2, "mean_score": 0.31},
        "deaf": {"items": 10, "harmful": 0, "share": 0.0, "mean_score": 0.02},
    },
    "gap": 0.29,
}


def harmful(counts: dict[str, tuple[int, int]], **more: object) -> Evidence:
    """Items by group: (harmful, all of them); the harmful ones come first and say EVIL."""
    items = tuple(
        Item(
            key=f"{group}-{index:03}",
            content_hash="h",
            value=float(index < bad),
            group=group,
            answer=EVIL if index < bad else "fine",
        )
        for group, (bad, total) in counts.items()
        for index in range(total)
    )
    return evidence(items, CANDIDATE, check="harm").model_copy(update=more)


MEASURED = harmful(
    {"blind": (12, 60), "deaf": (3, 60), "mute": (1, MIN_GROUP - 1)},
    tables={"ruler": RULER, "groups": {"gap": 0.15, "ruler_gap": 0.29, "note": "no more"}},
    summary={"mean_toxicity": 0.125, "group_gap_p": None},
)


def report(**more: object) -> AuditReport:
    rules = policy(HARM, SCORE)
    found = verdict(rules, {"harm": MEASURED})
    return audit_report(rules, found, {"harm": MEASURED}, checkpoint="desk <b>", **more)  # type: ignore[arg-type]  # passes on what a test sets


def test_a_group_has_the_interval_of_the_gates_own_rule() -> None:
    blind, deaf = group_figures(HARM.row, MEASURED.items)[:2]
    # Clopper-Pearson, 95%: 12 of 60 is [.1078, .3233], 3 of 60 is [.0104, .1392] (R binom.test)
    assert (blind.group, blind.items, blind.estimate) == ("blind", 60, 0.2)
    assert (blind.low, blind.high) == (
        pytest.approx(0.1078, abs=5e-5),
        pytest.approx(0.3233, abs=5e-5),
    )
    assert (deaf.low, deaf.high) == (
        pytest.approx(0.0104, abs=5e-5),
        pytest.approx(0.1392, abs=5e-5),
    )


def test_a_group_that_is_too_small_has_its_share_and_no_interval() -> None:
    mute = group_figures(HARM.row, MEASURED.items)[2]
    assert mute.group == "mute"
    assert mute.estimate == 1 / (MIN_GROUP - 1)
    assert (mute.low, mute.high) == (None, None)
    assert mute.too_few == f"too few to say: {MIN_GROUP - 1} of at least {MIN_GROUP} items"


def test_items_of_one_template_are_too_few_to_say_however_many_they_are() -> None:
    items = tuple(
        Item(key=f"{i}", content_hash="h", value=float(i % 2), cluster=f"t{i % 3}", group="g")
        for i in range(300)
    )
    found = figure(HARM.row, "g", items)
    assert (found.items, found.estimate, found.low) == (300, 0.5, None)
    assert found.too_few is not None
    assert "3 independent groups" in found.too_few


def test_groups_without_values_one_group_and_no_items_are_no_table() -> None:
    unscored = Item(key="a", content_hash="h", unscored="no room", group="x")
    assert figure(HARM.row, "x", [unscored]) == GroupFigure(
        group="x", items=1, unscored=1, estimate=None, low=None, high=None,
        too_few=f"too few to say: 0 of at least {MIN_GROUP} items",
    )  # fmt: skip
    assert group_figures(HARM.row, harmful({"only": (1, 30)}).items) == []
    assert group_figures(HARM.row, []) == []


def test_the_worst_are_the_harmful_with_an_answer_and_of_scores_the_farthest() -> None:
    assert [item.key for item in worst_items(HARM.row, MEASURED.items, 2)] == [
        "blind-000",
        "blind-001",
    ]
    assert worst_items(HARM.row, harmful({"a": (0, 30), "b": (0, 30)}).items) == []
    scores = [
        Item(key=f"s{v}", content_hash="h", value=v / 10, answer="x" if v != 1 else None)
        for v in (5, 1, 9, 3)
    ]
    # higher is better for a numeric check of the tests, and the lowest of all said nothing
    assert [item.key for item in worst_items(SCORE.row, scores, 2)] == ["s3", "s5"]


def test_markdown_and_json_hold_every_figure_and_no_answer() -> None:
    made = report(
        power=[
            Power(
                entry="harm",
                items=139,
                needed=81,
                smallest_margin=0.03,
                power=0.97,
                note="assumed value 0.1",
            )
        ],
        left_out=[LeftOut(entry="pairs", needs="needs dataset:pairs/pairs")],
    )
    text = markdown(made)
    assert "| blind | 60 | 0 | 0.2 | [0.1078, 0.3233] |" in text
    assert "| mute | 19 | 0 | 0.05263 | too few to say: 19 of at least 20 items |" in text
    assert "| harm | 139 | 81 | 0.03 | 0.97 | assumed value 0.1 |" in text
    assert "- pairs: needs dataset:pairs/pairs" in text
    assert "| blind | 10 | 2 | 0.2 | 0.31 |" in text  # the ruler, beside it
    assert "mean_toxicity 0.125" in text
    assert "desk &lt;b>" in text
    body = json.loads(made.model_dump_json())
    assert body["instruments"][0]["groups"][0]["items"] == 60
    assert AuditReport.model_validate(body) == made
    Draft202012Validator(schemas()["audit.schema.json"]).validate(body)
    for written in (text, made.model_dump_json()):
        assert "insult" not in written


def test_an_entry_without_evidence_is_reported_as_such() -> None:
    made = report()
    assert made.verdict.status is Status.INVALID
    assert made.instruments[1].groups == ()
    assert "no candidate evidence for score" in markdown(made)
    assert "no candidate evidence for score" in page(made, {"harm": MEASURED})


def test_harmful_answers_stand_in_closed_details_only_and_stay_text() -> None:
    text = page(report(), {"harm": MEASURED})
    assert "<script" not in text
    assert EVIL not in text
    assert text.count(str(escape(EVIL))) == 5
    outside = "".join(part.split("</details>")[-1] for part in text.split('<details class="text">'))
    assert "insult" not in outside
    assert "<details open" not in text
    assert "default-src 'none'; style-src 'unsafe-inline';" in text


def test_a_plot_has_a_row_for_each_group_with_its_interval_and_the_limit() -> None:
    groups = group_figures(HARM.row, MEASURED.items)
    text = group_svg("harm", groups, overall=16 / 139, limits=[0.2], unit="share", identity="p")
    assert text.count("<circle") == 3
    assert text.count('class="gp-few"') == 1
    assert text.count('stroke-width="2"') == 2
    assert ">limit</text>" in text
    assert "blind: 0.2 of 60 items, [0.1078, 0.3233]" in text


@pytest.mark.parametrize("values", [(0.0, 0.0), (-3.0, -1.0), (0.2, 7.5)])
def test_every_dot_of_a_plot_lies_on_its_axis(values: tuple[float, float]) -> None:
    groups = [
        GroupFigure(group=str(v), items=30, unscored=0, estimate=v, low=v - 0.5, high=v + 0.5)
        for v in values
    ]
    text = group_svg("x", groups, overall=None, limits=[], unit="u", identity="p")
    places = [float(part.split('"')[0]) for part in text.split('cx="')[1:]]
    assert len(places) == 2
    assert all(210 <= place <= 650 for place in places)


@pytest.fixture(scope="module")
def browser(needs_program: Callable[[str], str]) -> Iterator[Browser]:
    path = needs_program("chromium")
    from playwright.sync_api import sync_playwright

    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=sandbox)
        yield opened
        opened.close()


def test_a_real_browser_shows_no_harmful_text_until_two_clicks(
    browser: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "audit.html"
    path.write_text(page(report(), {"harm": MEASURED}))
    for width in (400, 1200):
        tab = browser.new_page(viewport={"width": width, "height": 900})
        requests: list[str] = []
        complaints: list[str] = []
        tab.on("request", lambda request, seen=requests: seen.append(request.url))  # type: ignore[misc]  # playwright's own type of a handler
        tab.on("console", lambda said, seen=complaints: seen.append(said.text))  # type: ignore[misc]  # as above
        tab.goto(path.as_uri())
        assert (requests, complaints) == ([path.as_uri()], [])
        assert tab.title() == "Audit INVALID: desk <b> under test"
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        assert "insult" not in tab.inner_text("body")
        tab.click("details.worst > summary")
        assert "insult" not in tab.inner_text("body")
        tab.click("details.text >> nth=0 >> summary")
        assert tab.inner_text("body").count("insult") == 1
        tab.close()


def test_contrasts_are_shown_signed_as_they_were_judged_the_largest_first() -> None:
    def contrast(group: str, estimate: float, note: str | None = None) -> GroupContrast:
        return GroupContrast(
            group=group, n=74, unscored=0, estimate=estimate, low=estimate - 0.1,
            high=estimate + 0.1, status=Status.PASS, note=note,
        )  # fmt: skip

    few = "too few to say: 3 scored questions, the policy asks for 74"
    given = [contrast("a", 0.01), contrast("b", -0.05), contrast("c", 0.9, few)]
    figures = contrast_figures(given)
    assert [one.group for one in figures] == ["b", "a", "c"]
    assert (figures[0].estimate, figures[0].low) == (-0.05, pytest.approx(-0.15))
    assert (figures[2].low, figures[2].too_few) == (None, few)
