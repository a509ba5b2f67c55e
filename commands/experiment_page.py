"""An experiment's read-out as one HTML page that opens offline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from monitoring.experiments import ReadOut
from registry.experiments import ExperimentEvent
from serve.experiment_state import ExperimentState

TEMPLATES = Path(__file__).parent / "templates"


def number(value: float | None) -> str:
    """Undefined is a dash, never a 0."""
    return "-" if value is None else f"{value:.4g}"


def interval(bounds: tuple[float, float] | None) -> str:
    return "-" if bounds is None else f"{bounds[0]:.4g} to {bounds[1]:.4g}"


def render(
    name: str,
    result: ReadOut,
    state: ExperimentState | None,
    events: Sequence[ExperimentEvent],
) -> str:
    """The page; every text from outside is escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("experiment.html.j2").render(
        name=name,
        result=result,
        state=state,
        events=events,
        number=number,
        interval=interval,
        withheld=sorted({one.withheld for one in result.estimates if one.withheld}),
    )
