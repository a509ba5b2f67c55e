"""Reports: every entry is in them, CI understands them, and no text of a model leaks."""

from __future__ import annotations

import html
import json
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eval.forest import forest_svg
from eval.report import markdown, table_lines, write_reports
from registry.evidence import Evidence, Item, ModelFacts
from registry.verdict import CleanPart, Finding, NoiseFloor, Status, Tier, Verdict

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
SECRET = "a sentence that an audit must never print"


def finding(entry: str, status: Status, tier: Tier = "required", **more: object) -> Finding:
    body: dict[str, object] = {
        "entry": entry,
        "check": entry,
        "tier": tier,
        "status": status,
        "reason": f"why {entry} is <so>",
        "unit": "share",
        "higher_is_better": True,
        "n": 100,
        "unscored": 0,
    }
    return Finding.model_validate(body | more)


COMPARED = {
    "candidate": 0.8, "baseline": 0.85, "estimate": -0.05, "low": -0.09, "high": -0.01,
    "margin": 0.1, "method": "Tango score interval, 95%; 8 lost, 3 won",
}  # fmt: skip


def verdict(
    *findings: Finding, status: Status = Status.FAIL, reasons: tuple[str, ...] = ()
) -> Verdict:
    return Verdict(
        status=status,
        candidate_digest="sha256:" + "a" * 64,
        baseline_digest="sha256:" + "b" * 64,
        against="champion",
        policy_name="support",
        policy_digest="sha256:" + "c" * 64,
        evidence_digests={},
        findings=findings,
        reasons=reasons,
        created_at=NOW,
    )


def evidence(values: list[float], tables: dict[str, object] | None = None) -> Evidence:
    return Evidence(
        check="task",
        config={},
        config_digest="sha256:c",
        facts=ModelFacts(
            weights_digest="sha256:w",
            backend="torch",
            dtype="float32",
            context_length=512,
            chat_template_digest="sha256:t",
        ),
        items=tuple(
            Item(
                key=f"i{i}",
                content_hash="h",
                value=value,
                group="returns" if i % 2 else "orders",
                answer=SECRET,
            )
            for i, value in enumerate(values)
        ),
        summary={"mean_answer_tokens": 12.5, "nothing": None},
        tables=tables or {},
        seconds=1.0,
        created_at=NOW,
    )


FOUR = (
    finding("task", Status.PASS, **COMPARED),
    finding("bits", Status.FAIL),
    finding("choice", Status.INCONCLUSIVE),
    finding("harm", Status.INVALID),
)


def test_all_reports_are_written_and_named(tmp_path: Path) -> None:
    paths = write_reports(verdict(*FOUR), {}, None, tmp_path / "reports")
    assert set(paths) == {
        "verdict.json", "report.md", "report.html", "flips.jsonl", "junit.xml", "forest.svg",
    }  # fmt: skip
    assert all(path.is_file() for path in paths.values())


def test_the_json_report_is_the_verdict_itself(tmp_path: Path) -> None:
    found = verdict(*FOUR)
    paths = write_reports(found, {}, None, tmp_path)
    assert Verdict.model_validate_json(paths["verdict.json"].read_text()) == found
    assert json.loads(paths["verdict.json"].read_text())["status"] == "FAIL"


def test_the_summary_shows_estimate_interval_margin_and_n() -> None:
    text = markdown(verdict(*FOUR), {}, None)
    assert text.startswith("# FAIL: `aaaaaaaaaaaa` against champion `bbbbbbbbbbbb`")
    assert "| task | required | **PASS** | 0.8 share | 0.85 | -0.05 [-0.09, -0.01] | 0.1 |" in text
    assert "why bits is &lt;so>" in text
    assert "Look at the entries that FAIL" in text


def test_flips_and_groups_show_where_the_candidate_lost() -> None:
    text = markdown(
        verdict(FOUR[0]), {"task": evidence([0, 1, 0, 1])}, {"task": evidence([1, 1, 1, 0])}
    )
    assert "Items: 1 better, 2 worse, 1 the same." in text
    assert text.index("| orders | 2 | -1 |") < text.index("| returns | 2 | +0.5 |")
    assert "mean_answer_tokens 12.5, nothing -" in text


def test_fewer_bits_are_better_in_the_flip_count() -> None:
    lower = finding("task", Status.PASS, higher_is_better=False, **COMPARED)
    text = markdown(verdict(lower), {"task": evidence([1, 2])}, {"task": evidence([2, 3])})
    assert "Items: 2 better, 0 worse, 0 the same." in text


def test_tables_by_group_are_shown_without_long_texts() -> None:
    table = {
        "by_group": {"plain": {"share": 0.01, "sample": SECRET}, "formal": {"share": None}},
        "gap": 0.25,
        "note": "gap in mean score over 2 groups of at least 20 items",
        "worst": SECRET,
    }
    text = "\n".join(table_lines("groups", table))
    assert "| plain | 0.01 |" in text
    assert "| formal | - |" in text
    assert "gap: 0.25" in text
    assert "gap in mean score over 2 groups of at least 20 items." in text
    assert SECRET not in text


def test_a_list_of_rows_is_a_table_too_and_an_empty_one_is_nothing() -> None:
    assert "| a | 3 |" in table_lines("x", [{"name": "a", "n": 3}])
    assert table_lines("x", []) == table_lines("x", {}) == table_lines("x", "text") == []


def test_no_report_holds_what_a_model_said(tmp_path: Path) -> None:
    side = {"task": evidence([0, 1], {"answers": [{"text": SECRET, "n": 1}]})}
    paths = write_reports(verdict(*FOUR), side, side, tmp_path)
    assert all(SECRET not in path.read_text() for path in paths.values())


def test_a_first_checkpoint_says_that_limits_alone_decided() -> None:
    found = verdict(
        finding("task", Status.PASS, limit=0.7, limit_low=0.75, limit_high=0.9, candidate=0.8)
    )
    text = markdown(found.model_copy(update={"baseline_digest": None}), {}, None)
    assert "against absolute limits alone (there is no champion)" in text
    assert "| - | - | - | [0.75, 0.9] | at least 0.7 |" in text


def test_an_entry_without_limit_and_baseline_is_called_not_judged(tmp_path: Path) -> None:
    idle = finding(
        "choice",
        Status.INCONCLUSIVE,
        "advisory",
        margin=0.1,
        candidate=0.8,
        reason="not judged: no champion to compare with",
    )
    found = verdict(idle, status=Status.PASS)
    paths = write_reports(found, {}, None, tmp_path)
    assert "| choice | advisory | **not judged** | 0.8 share |" in paths["report.md"].read_text()
    assert "## choice: not judged" in paths["report.md"].read_text()
    assert "not judged (advisory)" in paths["forest.svg"].read_text()
    (skipped,) = ET.parse(paths["junit.xml"]).getroot().iter("skipped")
    assert skipped.get("message") == "not judged: no champion to compare with"
    assert "INCONCLUSIVE" not in paths["report.md"].read_text()
    assert json.loads(paths["verdict.json"].read_text())["findings"][0]["status"] == "INCONCLUSIVE"


def test_an_entry_that_was_compared_and_not_decided_is_inconclusive() -> None:
    open_one = finding("task", Status.INCONCLUSIVE, **COMPARED)
    limited = finding("harm", Status.INCONCLUSIVE, limit=0.1, candidate=0.1)
    assert (open_one.label, limited.label) == ("INCONCLUSIVE", "INCONCLUSIVE")


def test_the_score_on_the_clean_part_and_the_noise_are_in_both_reports(tmp_path: Path) -> None:
    clean = CleanPart(
        leaked=20, n=80, max_share=0.1, candidate=0.7, baseline=0.8, estimate=-0.1, low=-0.2, high=0
    )
    noise = NoiseFloor(values=(0.8, 0.82), sd=0.01, floor=0.028)
    found = verdict(finding("task", Status.FAIL, **COMPARED, clean=clean, noise=noise))
    paths = write_reports(found, {}, None, tmp_path)
    for name in ("report.md", "report.html"):
        text = html.unescape(paths[name].read_text())
        assert "Without the 20 items that the candidate was trained on, 80 are left: " in text
        assert "candidate 0.7, baseline 0.8, change -0.1 [-0.2, +0]." in text
        assert "training gave 0.8, 0.82: two of them differ by up to 0.028 by chance." in text


def test_group_changes_of_weighted_items_are_ratios_of_sums() -> None:
    """Two documents of 10 and 30 bytes: (8 - 4 + 30 - 28) / 40 bits per byte more."""
    sides = []
    for bits in ((8.0, 30.0, 5.0), (4.0, 28.0, 6.0)):
        made = evidence([*bits])
        sizes = (10.0, 30.0, 10.0)
        groups = ("news", "news", "law")
        rows = zip(made.items, sizes, groups, strict=True)
        items = tuple(i.model_copy(update={"weight": w, "group": g}) for i, w, g in rows)
        sides.append({"task": made.model_copy(update={"items": items})})
    lower = finding("task", Status.PASS, higher_is_better=False, **COMPARED)
    text = markdown(verdict(lower), *sides)
    assert "| news | 2 | -0.15 |\n| law | 1 | +0.1 |" in text


@pytest.fixture
def junit(tmp_path: Path) -> ET.Element:
    findings = (
        *FOUR,
        finding("soft", Status.FAIL, "advisory"),
        finding("seen", Status.PASS, "watch"),
    )
    reasons = (FOUR[1].as_reason, "candidate and baseline are the same weights")
    paths = write_reports(verdict(*findings, reasons=reasons), {}, None, tmp_path)
    return ET.parse(paths["junit.xml"]).getroot()


def test_junit_has_one_case_for_each_entry_and_reason(junit: ET.Element) -> None:
    (suite,) = junit
    assert [case.get("name") for case in suite] == [
        "task", "bits", "choice", "harm", "soft", "seen", "verdict",
    ]  # fmt: skip
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "7", "failures": "1", "errors": "3", "skipped": "1"}


def test_junit_tells_failures_errors_and_advice_apart(junit: ET.Element) -> None:
    kinds = {case.get("name"): [child.tag for child in case] for case in junit[0]}
    assert kinds == {
        "task": ["system-out"],
        "bits": ["failure", "system-out"],
        "choice": ["error", "system-out"],
        "harm": ["error", "system-out"],
        "soft": ["skipped", "system-out"],
        "seen": ["system-out"],
        "verdict": ["error"],
    }


def test_control_characters_cannot_break_the_xml(tmp_path: Path) -> None:
    odd = finding("odd", Status.INVALID, reason="item \x00\x1b is odd")
    paths = write_reports(verdict(odd), {}, None, tmp_path)
    assert ET.parse(paths["junit.xml"]).getroot() is not None


def test_the_forest_plot_is_one_well_formed_svg_without_scripts() -> None:
    wide = finding("wide", Status.INCONCLUSIVE, **(COMPARED | {"low": None, "high": 9.0}))
    text = forest_svg((*FOUR, wide))
    root = ET.fromstring(text)
    assert root.tag.endswith("svg")
    assert "<script" not in text
    assert all(f.entry in text for f in FOUR)


def test_a_change_beyond_the_axis_is_an_arrow_with_its_figure() -> None:
    far = finding("far", Status.FAIL, **(COMPARED | {"estimate": -0.72, "low": -0.8, "high": -0.6}))
    text = forest_svg((far,))
    assert ">-7.2</text>" in text
    assert "<circle" not in text
    assert "far: FAIL at -7.20, -8.00 to -6.00" in text  # for those who hear the plot


def test_a_forest_of_nothing_is_still_an_image() -> None:
    assert ET.fromstring(forest_svg(())).tag.endswith("svg")
