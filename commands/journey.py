"""What the demo and the real loop share: training, gating, serving and asking, as stages."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands import gate as gating
from commands.session import Session
from commands.stages import Outputs, Stages
from commands.train import train, trained
from commands.users import Visits
from registry.checkpoint import CheckpointError, read_manifest
from registry.records import UserError, digest_of, short
from registry.verdict import Status
from train.recipe import load_recipe

TRAIN_ROOMS = ("registry", "train")
GATE_ROOMS = ("registry", "train", "eval", "audit", "commands")
ALL_ROOMS = (*GATE_ROOMS, "monitoring", "serve")
START_TIMEOUT_SECONDS = 300.0


class JourneyError(UserError):
    """A stage did not come out as it must."""


@dataclass(frozen=True)
class Trained:
    """A checkpoint that a stage made."""

    name: str
    folder: Path
    digest: str


def is_checkpoint(outputs: Outputs) -> bool:
    try:
        return bool(read_manifest(Path(outputs["folder"])).weights_digest == outputs["digest"])
    except CheckpointError:
        return False


def train_stage(
    stages: Stages,
    title: str,
    recipe_name: str,
    *,
    data: Sequence[Path],
    data_digests: Sequence[str],
    parent: Trained | None,
    name: str,
    seed: int,
) -> Trained:
    """Train, or reuse the checkpoint of the same recipe, data, parent, seed and code."""
    session = stages.session
    recipe = load_recipe(recipe_name)
    inputs: dict[str, Any] = {
        "recipe": recipe.model_dump(mode="json"),
        "data": list(data_digests),
        "parent": parent.digest if parent else None,
        "seed": seed,
    }

    def work() -> Outputs:
        full_name = f"{name}-{digest_of(inputs)[7:13]}"
        began = time.monotonic()
        found = trained(session, full_name)
        folder, manifest = found or train(
            session,
            recipe,
            data=tuple(data),
            parent=parent.folder if parent else None,
            name=full_name,
            seed=seed,
        )
        session.ledger.record_checkpoint(manifest, str(folder))
        tokens = f"{manifest.tokens_seen:,} tokens in {time.monotonic() - began:.0f} s"
        return {
            "name": full_name,
            "folder": str(folder),
            "digest": manifest.weights_digest,
            "note": f"{full_name} {short(manifest.weights_digest)}, {tokens}",
        }

    made = stages.run(title, inputs, work, rooms=TRAIN_ROOMS, intact=is_checkpoint)
    return Trained(made["name"], Path(made["folder"]), made["digest"])


def gate_stage(
    stages: Stages,
    title: str,
    candidate: Trained,
    *,
    policy: str,
    alias: str | None,
    expected: Status | None,
    data_digests: Sequence[str],
) -> Outputs:
    """Gate against the champion; on PASS move ``alias``; any verdict but ``expected`` is an error.

    ``expected`` None accepts every verdict, and the note says which it was.
    """
    session = stages.session
    champion = session.ledger.alias("champion")
    inputs = {"candidate": candidate.digest, "policy": policy, "data": list(data_digests)}

    def work() -> Outputs:
        if champion == candidate.digest:
            gating.admitted(session, candidate.name)
            note = f"{candidate.name} is champion already, its hallmark holds"
            return {"status": str(Status.PASS), "note": note, "report": ""}
        gated = gating.run_gate(session, candidate.name, against="champion", reference=policy)
        gating.show(session, gated)
        status = gated.verdict.status
        if expected is not None and status is not expected:
            raise JourneyError(
                f"the gate says {status} of {candidate.name} where {expected} was expected; "
                f"see {gated.reports['report.md']}"
            )
        report = str(gated.reports["report.md"])
        note = f"{status}: {report}"
        if status is Status.PASS and alias:
            gating.promote(session, candidate.name, alias=alias, reason=title)
            note = f"{status}, now {alias}: {report}"
        return {
            "status": str(status),
            "note": note,
            "report": report,
            "values": {f.entry: f.candidate for f in gated.verdict.findings},
        }

    def intact(outputs: Outputs) -> bool:
        return not outputs["report"] or Path(outputs["report"]).exists()

    return stages.run(title, inputs, work, rooms=GATE_ROOMS, intact=intact)


def hallmark_command(session: Session, *arguments: str) -> list[str]:
    """The command line of another `hallmark` process on the same home."""
    return [
        sys.executable, "-m", "hallmark",
        "--home", str(session.home.root), "--ledger", session.home.ledger_url, *arguments,
    ]  # fmt: skip


@contextlib.contextmanager
def served(
    session: Session,
    variants: Mapping[str, Trained],
    *,
    port: int,
    model: str,
    experiment: str,
) -> Iterator[str]:
    """`hallmark serve` as a user starts it, in a process of its own; gives its base URL."""
    arguments = ["serve", "--port", str(port), "--model", model, "--experiment", experiment]
    arguments.append("--store-conversations")
    for name, checkpoint in variants.items():
        arguments += ["--variant", f"{name}={checkpoint.name}:1"]
    log = session.home.root / "serve.log"
    base_url = f"http://127.0.0.1:{port}"
    with log.open("wb") as file:
        process = subprocess.Popen(
            hallmark_command(session, *arguments),
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
    try:
        _wait_ready(session, process, base_url, log)
        yield base_url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_ready(
    session: Session, process: subprocess.Popen[bytes], base_url: str, log: Path
) -> None:
    began = time.monotonic()
    with session.progress("starting vLLM", "s") as progress:
        while True:
            waited = time.monotonic() - began
            progress(int(waited), max(90, int(waited) + 1))
            if process.poll() is not None:
                tail = "\n".join(log.read_text(errors="replace").strip().splitlines()[-5:])
                raise JourneyError(f"the server did not start (all of it: {log}):\n{tail}")
            if _answers(f"{base_url}/readyz"):
                progress(int(waited), int(waited) or 1)
                return
            if waited > START_TIMEOUT_SECONDS:
                raise JourneyError(f"the server was not ready after {waited:.0f} s; see {log}")
            time.sleep(0.5)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def refused(session: Session, *arguments: str) -> str:
    """The one line with which a command refuses; raises JourneyError where it does not."""
    outcome = subprocess.run(
        hallmark_command(session, *arguments), capture_output=True, text=True, timeout=120
    )
    if outcome.returncode == 0:
        raise JourneyError(f"hallmark {' '.join(arguments)} should have been refused, and was not")
    lines = outcome.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit code {outcome.returncode}"


def refuse_failures(session: Session, visits: Visits) -> None:
    if visits.failures:
        kinds = ", ".join(f"{count} {kind}" for kind, count in visits.failures.items())
        raise JourneyError(
            f"of {visits.requests} requests failed: {kinds}; see {session.home.root / 'serve.log'}"
        )


def said(visits: Visits) -> str:
    """`320 requests, 101 thumb up, 140 edit`: what users did."""
    kinds = [f"{count} {kind}" for kind, count in sorted(visits.feedback.items())]
    return ", ".join([f"{visits.requests} requests", *kinds])
