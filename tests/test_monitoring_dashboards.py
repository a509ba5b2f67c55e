"""The dashboard, the rules and the list of what they name agree with the declared series."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from monitoring.panels import ROWS
from monitoring.queries import (
    RULES,
    Expression,
    alert_names,
    as_promql,
    expressions,
    label_names,
    series_names,
)
from monitoring.series import FAILURE_REASONS, REJECTION_REASONS, LiveSeries, Series

ROOT = Path(__file__).resolve().parent.parent


def declared_labels() -> dict[str, set[str]]:
    """Name to labels of everything that Series puts on the wire, scraped as job hallmark."""
    series = Series(CollectorRegistry())
    series.declare_variant("a", checkpoint="sha256:00", experiment="spring")
    series.requests.labels(variant="a", route="chat", status="200").inc()
    series.duration.labels(variant="a", route="chat").observe(1)
    LiveSeries(series.registry).declare("a", "sha256:00")
    labels: dict[str, set[str]] = {"up": {"job", "instance"}}
    for metric in series.registry.collect():
        for sample in metric.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    for recorded in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]:
        labels[recorded["record"]] = {"variant"}
    return labels


@pytest.mark.parametrize("expression", expressions(), ids=lambda e: e.where)
def test_every_expression_names_declared_series_and_labels_only(expression: Expression):
    labels = declared_labels()
    names = series_names(expression.promql)
    assert names
    assert names <= labels.keys()
    assert label_names(expression.promql) <= set().union(*(labels[name] for name in names))


def test_no_series_holds_a_colon():
    assert not [name for name in declared_labels() if ":" in name]


def test_a_declared_variant_has_its_counters_at_zero_and_its_engine_down():
    registry = CollectorRegistry()
    Series(registry).declare_variant("a", checkpoint="sha256:00", experiment=None)
    assert registry.get_sample_value("hallmark_engine_up", {"variant": "a"}) == 0
    failures = {"variant": "a", "reason": "connect"}
    assert registry.get_sample_value("hallmark_upstream_failures_total", failures) == 0
    info = {"variant": "a", "checkpoint": "sha256:00", "experiment": ""}
    assert registry.get_sample_value("hallmark_variant_info", info) == 1


def test_two_sets_of_series_share_nothing():
    one, other = CollectorRegistry(), CollectorRegistry()
    Series(one).records_dropped.inc()
    Series(other)
    assert other.get_sample_value("hallmark_records_dropped_total") == 0


def test_names_are_read_out_of_an_expression_without_labels_functions_and_words():
    promql = (
        'histogram_quantile(0.95, sum by (le, variant) (rate(a_bucket{variant=~"x|by(y)"}[5m])))'
        " / on (job) group_left (zone) (b_total offset 5m > bool 1e3) or vector(0)"
    )
    assert series_names(promql) == {"a_bucket", "b_total"}
    assert label_names(promql) == {"le", "variant", "job", "zone"}


def test_an_unknown_dashboard_variable_is_an_error():
    with pytest.raises(KeyError, match="varient"):
        as_promql('up{variant=~"$varient"}')


def test_the_committed_dashboard_is_what_the_code_makes():
    pytest.importorskip("grafana_foundation_sdk")
    from monitoring.dashboards import PATH, dashboard_json

    assert PATH.read_text() == dashboard_json(), "run python -m monitoring.dashboards"


def test_the_dashboard_is_of_grafana_eleven_with_ids_and_ref_ids_of_their_own():
    board = json.loads((ROOT / "monitoring/dashboards/hallmark.json").read_text())
    assert board["schemaVersion"] == 41  # Grafana 11.6; without the pin it is 10.1's 38
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    assert [v["name"] for v in board["templating"]["list"]] == [
        "datasource",
        "experiment",
        "variant",
    ]
    for panel in board["panels"]:
        references = [target["refId"] for target in panel.get("targets", [])]
        assert references == list("ABCDEFGH"[: len(references)])


def test_the_dashboard_file_holds_every_query_of_the_table():
    board = json.loads((ROOT / "monitoring/dashboards/hallmark.json").read_text())
    written = {t["expr"] for panel in board["panels"] for t in panel.get("targets", [])}
    assert written == {q.expr for row in ROWS for panel in row.panels for q in panel.queries}


def test_promtool_accepts_rules_and_scrape_configuration(needs_program: Callable[[str], str]):
    promtool = needs_program("promtool")
    for arguments in (
        ["check", "rules", str(RULES)],
        ["check", "config", str(ROOT / "monitoring/prometheus.yml")],
    ):
        done = subprocess.run([promtool, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_passes_the_rules_own_tests(needs_program: Callable[[str], str]):
    tests = RULES.with_name("hallmark.test.yaml")
    done = subprocess.run(
        [needs_program("promtool"), "test", "rules", str(tests)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_rule_test_that_fires_it():
    tests = yaml.safe_load(RULES.with_name("hallmark.test.yaml").read_text())["tests"]
    fired = {
        case["alertname"]
        for test in tests
        for case in test.get("alert_rule_test", [])
        if case["exp_alerts"]
    }
    assert fired == set(alert_names())


def test_every_alert_says_how_bad_it_is_and_where_its_runbook_entry_stands():
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                assert rule["labels"]["severity"] in ("warning", "critical")
                path, anchor = rule["annotations"]["runbook"].split("#")
                assert anchor == rule["alert"].lower()
                headings = re.findall(r"^## (\w+)$", (ROOT / path).read_text(), re.MULTILINE)
                assert rule["alert"] in headings


def test_serving_uses_only_reasons_that_are_declared():
    used = {
        reason
        for path in (ROOT / "serve").glob("*.py")
        for reason in re.findall(r'\breason="(\w+)"', path.read_text())
    }
    assert used <= {*REJECTION_REASONS, *FAILURE_REASONS}
