"""Every PromQL expression of the dashboard and the rules, and the series each one names.

A query against a series or label that does not exist is no error for Prometheus: the
panel stays empty and the alert silent. So tests list the names here and look for each of
them on a live server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from monitoring.panels import ROWS

RULES = Path(__file__).parent / "rules" / "hallmark.rules.yaml"

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_MATCHER = re.compile(r"([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(
    r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", re.IGNORECASE
)
_NAME = re.compile(r"[a-zA-Z_:][\w:]*")
_WORDS = frozenset(
    (
        *("and", "or", "unless", "by", "without", "on", "ignoring"),
        *("group_left", "group_right", "offset", "bool", "inf", "nan"),
    )
)


@dataclass(frozen=True)
class Expression:
    """One PromQL text and where it stands: ``panel Requests``, ``alert HallmarkEngineDown``."""

    where: str
    promql: str


def expressions() -> tuple[Expression, ...]:
    """All of the dashboard's and the rules' expressions, ready to be run."""
    panels = [
        Expression(f"panel {panel.title}", as_promql(query.expr))
        for row in ROWS
        for panel in row.panels
        for query in panel.queries
    ]
    rules = [
        Expression(f"{kind} {rule[kind]}", rule["expr"].strip())
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
        for kind in ("alert", "record")
        if kind in rule
    ]
    return (*panels, *rules)


def alert_names() -> tuple[str, ...]:
    return tuple(e.where.split()[1] for e in expressions() if e.where.startswith("alert "))


def as_promql(expr: str, values: Mapping[str, str] | None = None) -> str:
    """A dashboard query with Grafana's variables filled in: all variants, one minute.

    Raises KeyError for a variable that the dashboard does not have.
    """
    known = {"experiment": ".*", "variant": ".*", "__rate_interval": "1m", "__range": "5m"}
    known.update(values or {})
    return re.sub(r"\$(\w+)", lambda found: known[found.group(1)], expr)


def series_names(promql: str) -> frozenset[str]:
    """The metric names that an expression selects."""
    bare = _GROUPING.sub(" ", _without_selectors(promql))
    bare = re.sub(r"\[[^\]]*\]", " ", bare)
    return frozenset(
        found.group()
        for found in _NAME.finditer(bare)
        if found.group().lower() not in _WORDS
        and not bare[found.end() :].lstrip().startswith("(")
        and not re.search(r"[\d.]$", bare[: found.start()])
    )


def label_names(promql: str) -> frozenset[str]:
    """The labels that an expression matches on, groups by or joins on."""
    masked = _STRING.sub('""', promql)
    matched = {
        label
        for selector in re.findall(r"\{([^}]*)\}", masked)
        for label in _MATCHER.findall(selector)
    }
    grouped = {
        label.strip()
        for labels in _GROUPING.findall(masked)
        for label in labels.split(",")
        if label.strip()
    }
    return frozenset(matched | grouped)


def _without_selectors(promql: str) -> str:
    return re.sub(r"\{[^}]*\}", " ", _STRING.sub('""', promql))
