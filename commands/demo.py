"""`hallmark demo`: the whole loop on data that the project makes itself.

Two candidates share one pre-trained base and pass; a damaged one is refused and will not
be served; simulated users of an A/B split say what they prefer; the model trained on that
beats its parent under their rule, or the demo says so and fails; and it is gated.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from commands import data as data_command
from commands import experiment as experiment_command
from commands import feedback as feedback_command
from commands import gate as gating
from commands.journey import (
    ALL_ROOMS,
    GATE_ROOMS,
    JourneyError,
    Trained,
    gate_stage,
    is_checkpoint,
    refuse_failures,
    refused,
    said,
    served,
    train_stage,
)
from commands.session import Session, table
from commands.stages import Outputs, Stages
from commands.users import rule_reaction, visit
from eval.runner import Sampling, open_runner
from eval.selftest import noisy_copy
from eval.stats import win_rate
from registry.conversation import Conversation
from registry.dataset import read_dataset, read_jsonl
from registry.records import digest_of, file_sha256, short
from registry.verdict import Status
from train import synth

CONVERSATIONS = 8000
QUESTIONS = 500
VISITS = 320
USERS = 64
DUEL_QUESTIONS = 400
MODEL = "support"
MIN_RIGHT = 0.80
MAX_NEAREST_RIGHT = 0.40
MIN_POWER = 0.95


def make_data(stages: Stages) -> tuple[Path, str]:
    session = stages.session
    inputs = {"conversations": CONVERSATIONS, "questions": QUESTIONS, "seed": 0}

    def work() -> Outputs:
        path, manifest = data_command.synth_dataset(
            session, name=MODEL, conversations=CONVERSATIONS, questions=QUESTIONS, seed=0
        )
        train = list(read_jsonl(path / "train.jsonl", Conversation))
        questions = list(read_jsonl(path / "questions.jsonl", Conversation))
        nearest = synth.nearest_neighbour_baseline(train, questions)
        return {
            "path": str(path),
            "digest": manifest.digest,
            "nearest": nearest,
            "note": f"{manifest.name} {short(manifest.digest)}: "
            f"{manifest.files['train.jsonl'].rows} training conversations",
        }

    def intact(outputs: Outputs) -> bool:
        return bool(read_dataset(Path(outputs["path"])).digest == outputs["digest"])

    made = stages.run("data", inputs, work, rooms=("registry", "train"), intact=intact)
    if made["nearest"] >= MAX_NEAREST_RIGHT:
        raise JourneyError(f"nearest neighbour answers {made['nearest']:.3f}: questions too easy")
    return Path(made["path"]), made["digest"]


def damaged_copy(stages: Stages, source: Trained) -> Trained:
    """The source with noise on its weights, published like any checkpoint."""
    session = stages.session

    def work() -> Outputs:
        name = f"damaged-{short(source.digest)[:6]}"
        destination = session.home.checkpoints / name
        shutil.rmtree(destination, ignore_errors=True)
        manifest = noisy_copy(
            source.folder, destination, scale=0.5, name=name, parent=source.digest
        )
        session.ledger.record_checkpoint(manifest, str(destination))
        return {
            "name": name,
            "folder": str(destination),
            "digest": manifest.weights_digest,
            "note": f"{name}: noise of half a standard deviation on every matrix",
        }

    inputs = {"source": source.digest}
    made = stages.run("damage", inputs, work, rooms=("registry", "eval"), intact=is_checkpoint)
    return Trained(made["name"], Path(made["folder"]), made["digest"])


def refusals(stages: Stages, damaged: Trained, port: int) -> None:
    session = stages.session

    def work() -> Outputs:
        promote = refused(session, "promote", damaged.name)
        serve = refused(
            session, "serve", "--port", str(port), "--variant", f"damaged={damaged.name}"
        )
        session.say(f"  hallmark promote: {promote}")
        session.say(f"  hallmark serve: {serve}")
        return {"note": "neither promoted nor served", "promote": promote, "serve": serve}

    stages.run("refusals", {"damaged": damaged.digest}, work, rooms=ALL_ROOMS)


def ab_test(stages: Stages, variants: dict[str, Trained], port: int) -> Path:
    """Serve two variants to simulated users; gives the folder of exported preferences."""
    session = stages.session
    pair = digest_of({name: checkpoint.digest for name, checkpoint in variants.items()})
    experiment = f"demo-{short(pair)[:6]}"
    folder = session.home.root / "preferences" / experiment

    def work() -> Outputs:
        questions = synth.traffic(VISITS, seed=77)
        with (
            served(session, variants, port=port, model=MODEL, experiment=experiment) as url,
            session.progress("simulated users ask and react", "requests") as progress,
        ):
            visits = asyncio.run(
                visit(
                    url,
                    MODEL,
                    questions,
                    rule_reaction(VISITS, seed=7),
                    num_users=USERS,
                    progress=progress,
                )
            )
        refuse_failures(session, visits)
        result = experiment_command.experiment(session, experiment)
        experiment_command.show(session, experiment, result)
        feedback_command.export(session, folder, experiment=experiment, json=False)
        note = f"{said(visits)}; {result.decision}"
        files = {path.name: file_sha256(path) for path in folder.glob("*.jsonl")}
        return {"note": note, "files": files}

    def intact(outputs: Outputs) -> bool:
        return bool({p.name: file_sha256(p) for p in folder.glob("*.jsonl")} == outputs["files"])

    inputs = {name: checkpoint.digest for name, checkpoint in variants.items()}
    stages.run("serve and listen", inputs, work, rooms=ALL_ROOMS, intact=intact)
    return folder


def duel(stages: Stages, child: Trained, parent: Trained) -> Outputs:
    """The child's win-rate over its parent under the users' rule, on questions of its own."""
    session = stages.session

    def answers(checkpoint: Trained, questions: Sequence[Conversation]) -> list[str]:
        replies = open_runner(checkpoint.folder).answers(
            [question.messages for question in questions], Sampling(max_tokens=96)
        )
        return [str(reply) for reply in replies]

    def work() -> Outputs:
        questions = synth.questions(DUEL_QUESTIONS, seed=991)
        utilities = np.array(
            [
                [synth.prefers(q.tags, a) for q, a in zip(questions, texts, strict=True)]
                for texts in (answers(child, questions), answers(parent, questions))
            ]
        )
        wins = int((utilities[0] > utilities[1]).sum())
        losses = int((utilities[0] < utilities[1]).sum())
        rate, low, high = win_rate(wins, losses, len(questions) - wins - losses)
        note = f"win-rate {rate:.3f} [{low:.3f}, {high:.3f}]: {wins} won, {losses} lost"
        session.say(f"  {note}")
        if low <= 0.5:
            raise JourneyError(
                f"the fed-back model does not beat its parent: {note} of {len(questions)}"
            )
        return {"note": note, "rate": rate, "low": low, "high": high}

    inputs = {"child": child.digest, "parent": parent.digest, "questions": DUEL_QUESTIONS}
    return stages.run("win-rate", inputs, work, rooms=GATE_ROOMS)


def planned(stages: Stages, data_digest: str) -> Outputs:
    session = stages.session

    def work() -> Outputs:
        made = gating.make_plan(session, "support", "champion")
        if not made.enough or made.power is None or made.power < MIN_POWER:
            raise JourneyError(
                f"the policy's power is {made.power}, below {MIN_POWER}; see: hallmark plan"
            )
        return {"power": made.power, "note": f"power {made.power:.3f} for an equal candidate"}

    return stages.run("plan", {"data": data_digest}, work, rooms=GATE_ROOMS)


def demo(session: Session, *, port: int) -> int:
    stages = Stages(session, "the demo", num_stages=14)
    data, digest = make_data(stages)
    plan = planned(stages, digest)

    def trained(title: str, recipe: str, name: str, parent: Trained | None, seed: int) -> Trained:
        return train_stage(
            stages, title, recipe, data=(data,), data_digests=(digest,),
            parent=parent, name=name, seed=seed,
        )  # fmt: skip

    def gated(title: str, made: Trained, alias: str | None, expected: Status | None) -> Outputs:
        return gate_stage(
            stages, title, made, policy="support", alias=alias, expected=expected,
            data_digests=(digest,),
        )  # fmt: skip

    base = trained("pre-train", "base-cpu", "base", None, 0)
    first = trained("fine-tune a", "sft-cpu", "a", base, 1)
    one = gated("gate a", first, "champion", Status.PASS)
    second = trained("fine-tune b", "sft-cpu", "b", base, 2)
    two = gated("gate b", second, "challenger", Status.PASS)
    damaged = damaged_copy(stages, first)
    gated("gate damaged", damaged, None, Status.FAIL)
    refusals(stages, damaged, port)
    preferences = ab_test(stages, {"a": first, "b": second}, port)
    preference_files = [file_sha256(path) for path in sorted(preferences.glob("*.jsonl"))]
    fed_back = train_stage(
        stages, "prefer", "prefer-dpo-cpu", data=(preferences, data),
        data_digests=(*preference_files, digest), parent=first, name="fed-back", seed=3,
    )  # fmt: skip
    won = duel(stages, fed_back, first)
    last = gated("gate fed-back", fed_back, "champion", None)

    stages.show()
    right = {"a": one, "b": two, "fed-back": last}
    stored = json.loads(stages.path.read_bytes())["data"]["outputs"]
    rows = [
        (f"{name}: held-out questions right", _share(made), f"at least {MIN_RIGHT:.2f}")
        for name, made in right.items()
    ]
    rows += [
        ("nearest training answer right", f"{stored['nearest']:.3f}", f"under {MAX_NEAREST_RIGHT}"),
        ("policy power", f"{plan['power']:.3f}", f"at least {MIN_POWER}"),
        ("win-rate of fed-back over a", f"{won['rate']:.3f}", f"interval from {won['low']:.3f}"),
        ("verdict on fed-back", last["status"], ""),
    ]
    session.console.print(table("figures", ("figure", "measured", "asked"), rows))
    session.say(f"look: hallmark --home {session.home.root} status; reports in reports/")
    for name in ("a", "b"):
        value = right[name].get("values", {}).get("task_success")
        if value is not None and value < MIN_RIGHT:
            raise JourneyError(f"{name} answers {value:.3f} of held-out questions right")
    return 0


def _share(outputs: Outputs) -> str:
    value = outputs.get("values", {}).get("task_success")
    return "-" if value is None else f"{value:.3f}"
