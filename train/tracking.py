"""Curves of a training in MLflow, where it is installed and not switched off.

``HALLMARK_TRACK=off`` or a recipe's ``track: false`` switch it off; then nothing is
imported. Runs are files below ``runs/mlflow``: ``mlflow ui --backend-store-uri`` shows
them. MLflow's registry is not used: the ledger is the registry.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """Where the numbers of a training go."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self, *, finished: bool) -> None: ...


class Untracked:
    """Numbers go nowhere."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        return None

    def close(self, *, finished: bool) -> None:
        return None


class MlflowTracker:
    """Numbers go to one MLflow run."""

    def __init__(self, runs: Path, name: str, parameters: Mapping[str, Any]) -> None:
        # MLflow 3 warns of its file store; SQLite would cost seconds of migrations per home.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self._metric = Metric
        self._client = MlflowClient(tracking_uri=f"file:{runs / 'mlflow'}")
        experiment = self._client.get_experiment_by_name("hallmark")
        experiment_id = (
            experiment.experiment_id if experiment else self._client.create_experiment("hallmark")
        )
        self._run_id = self._client.create_run(experiment_id, run_name=name).info.run_id
        entries = [Param(key, str(value)[:500]) for key, value in parameters.items()]
        self._client.log_batch(self._run_id, params=entries)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        import time

        at = int(time.time() * 1000)
        metrics = [self._metric(name, value, at, step) for name, value in values.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def close(self, *, finished: bool) -> None:
        self._client.set_terminated(self._run_id, status="FINISHED" if finished else "KILLED")


def open_tracker(runs: Path, name: str, parameters: Mapping[str, Any], *, wanted: bool) -> Tracker:
    """MLflow where it is installed and wanted, else nothing."""
    off = os.environ.get("HALLMARK_TRACK", "on").lower() in ("off", "0", "false")
    if off or not wanted or importlib.util.find_spec("mlflow") is None:
        return Untracked()
    return MlflowTracker(runs, name, parameters)
