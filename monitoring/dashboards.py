"""The Grafana dashboard as code.

    python -m monitoring.dashboards

writes ``monitoring/dashboards/hallmark.json``, which Grafana provisions as it is. What
it shows stands in ``monitoring.panels``; a test fails where the file is not up to date.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from monitoring.panels import ROWS, Panel

PATH = Path(__file__).parent / "dashboards" / "hallmark.json"
WIDTH, HEIGHT = 24, 7  # Grafana's grid is 24 columns wide


def dashboard_json() -> str:
    """The dashboard for Grafana 11.6 or newer, ending in a newline."""
    from grafana_foundation_sdk.builders import dashboard
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import (
        DataSourceRef,
        VariableOption,
        VariableRefresh,
    )

    source = DataSourceRef(type_val="prometheus", uid="${datasource}")

    def variable(name: str, query: str) -> Any:
        return (
            dashboard.QueryVariable(name)
            .datasource(source)
            .query(query)
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".*")
            .current(VariableOption(text="All", value="$__all"))
        )

    board = (
        dashboard.Dashboard("Hallmark")
        .uid("hallmark")
        .tags(["hallmark"])
        .time("now-1h", "now")
        .refresh("10s")
        .timezone("browser")
        .readonly()
        .with_variable(dashboard.DatasourceVariable("datasource").type("prometheus"))
        .with_variable(variable("experiment", "label_values(hallmark_variant_info, experiment)"))
        .with_variable(
            variable(
                "variant",
                'label_values(hallmark_variant_info{experiment=~"$experiment"}, variant)',
            )
        )
    )
    ids = itertools.count(1)
    for row in ROWS:
        board = board.with_row(dashboard.Row(row.title).id(next(ids)))
        for panel in row.panels:
            built = _panel(panel, source).id(next(ids)).span(WIDTH // len(row.panels))
            board = board.with_panel(built)
    encoded: str = JSONEncoder(sort_keys=True, indent=2).encode(board.build())
    return encoded + "\n"


def _panel(panel: Panel, source: Any) -> Any:
    from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
    from grafana_foundation_sdk.models.prometheus import PromQueryFormat

    builders = {"timeseries": timeseries.Panel, "stat": stat.Panel, "table": table.Panel}
    built = (
        builders[panel.kind]()
        .title(panel.title)
        .description(panel.describes)
        .datasource(source)
        .unit(panel.unit)
        .height(HEIGHT)
    )
    for position, query in enumerate(panel.queries):
        # Without a refId of its own Grafana drops all queries of a panel but one.
        target = (
            prometheus.Dataquery()
            .expr(query.expr)
            .legend_format(query.legend)
            .ref_id(chr(ord("A") + position))
        )
        if panel.kind == "timeseries":
            target = target.range()
        else:
            target = target.instant()
        if panel.kind == "table":
            target = target.format(PromQueryFormat.TABLE)
        built = built.with_target(target)
    return built


def main() -> None:
    PATH.write_text(dashboard_json())
    print(f"wrote {PATH}")


if __name__ == "__main__":
    main()
