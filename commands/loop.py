"""`hallmark loop`: the whole loop on public conversations, texts, benchmarks and ratings.

Pre-train on books and dialogues, fine-tune on SGD and Taskmaster-4, gate on WikiText-2,
BLiMP, HellaSwag, dialogue answers, CrowS-Pairs and toxicity, serve with real vLLM, learn
from people's ratings (KTO on Taskmaster's rewards), and gate again. The figures are those
of a small model, as they come.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands.data import prepared, publish
from commands.demo import damaged_copy, refusals
from commands.journey import (
    ALL_ROOMS,
    JourneyError,
    Trained,
    gate_stage,
    refuse_failures,
    said,
    served,
    train_stage,
)
from commands.session import Session, table
from commands.stages import Outputs, Stages
from commands.users import say_nothing, visit
from eval import public_data
from registry.conversation import Conversation
from registry.dataset import read_dataset, read_jsonl
from registry.records import UserError, short
from registry.verdict import Status
from train import sources
from train.clean import clean_rewards, masked

MODEL = "dialogues"
NEEDED = ("classic_books", "tinyshakespeare", "sgd", "taskmaster4", "taskmaster_rewards",
          "wikitext2_eval", "blimp", "hellaswag", "crows_pairs")  # fmt: skip
RECIPES = ("real-base-cpu", "real-sft-cpu", "real-prefer-cpu")
BLIMP_PER_PARADIGM = 20
HELLASWAG_ITEMS = 1000
REQUESTS = 120
USERS = 30


@dataclass(frozen=True)
class Made:
    """A published dataset version."""

    folder: Path
    digest: str


def dialogues(session: Session, data: Path) -> dict[str, list[Conversation]]:
    """SGD by its own splits, Taskmaster-4 by a hash of the conversation, both cleaned."""
    mixed = prepared(
        session, sources.read(data / "taskmaster4" / "dialogs.jsonl.gz", "taskmaster4"), seed=0
    )
    for ours, theirs in {"train": "train", "validation": "dev", "test": "test"}.items():
        rows = sources.read(data / "sgd" / f"{theirs}.jsonl.gz", "sgd")
        if ours != "train":  # as many as Taskmaster-4 gives; more would measure SGD alone
            rows = itertools.islice(rows, len(mixed[ours]))
        splits = prepared(session, rows, seed=0)
        mixed[ours] += [row for split in splits.values() for row in split]
    return mixed


def make_datasets(stages: Stages, data: Path) -> dict[str, Made]:
    """Everything the loop reads, as dataset versions in the ledger."""
    session = stages.session
    made: dict[str, Made] = {}

    def one(name: str, licence: str, files: Mapping[str, Iterable[Any]]) -> None:
        folder, manifest = publish(
            session, files, name=name, licence=licence, source=name, recipe={"seed": 0}
        )
        made[name] = Made(folder, manifest.digest)
        rows = ", ".join(f"{file} {entry.rows}" for file, entry in manifest.files.items())
        session.say(f"  {name} {short(manifest.digest)}: {rows}")

    def work() -> Outputs:
        missing = [name for name in NEEDED if not (data / name).is_dir()]
        if missing:
            raise UserError(f"{data} has no {', '.join(missing)}; give the folder with --data")
        one("texts", "public domain, MIT", {"train": public_data.texts(data)})
        talk = dialogues(session, data)
        questions = open_questions(talk["test"])
        one("dialogues", "CC-BY-SA-4.0, CC-BY-4.0", {**talk, "questions": questions})
        one("wikitext", "CC-BY-SA-3.0", public_data.wikitext(data))
        blimp = public_data.blimp(data, per_paradigm=BLIMP_PER_PARADIGM, seed=0)
        one("blimp", "CC-BY-4.0", {"items": blimp})
        one("hellaswag", "MIT", {"items": public_data.hellaswag(data, HELLASWAG_ITEMS, seed=0)})
        one("crows_pairs", "CC-BY-SA-4.0", {"pairs": public_data.crows_pairs(data)})
        rated = [
            row
            for path in sorted((data / "taskmaster_rewards").glob("*.jsonl.gz"))
            for row in sources.read_rewards(path)
        ]
        one("ratings", "CC-BY-4.0", {"labels": clean_rewards(rated)})
        datasets = {name: {"folder": str(d.folder), "digest": d.digest} for name, d in made.items()}
        return {"datasets": datasets, "note": f"{len(datasets)} datasets: {', '.join(datasets)}"}

    def intact(outputs: Outputs) -> bool:
        return all(
            read_dataset(Path(d["folder"])).digest == d["digest"]
            for d in outputs["datasets"].values()
        )

    outputs = stages.run(
        "data", {"data": str(data)}, work, rooms=("registry", "train"), intact=intact
    )
    return {name: Made(Path(d["folder"]), d["digest"]) for name, d in outputs["datasets"].items()}


def serve_and_ask(
    stages: Stages, variants: dict[str, Trained], questions: list[Conversation], port: int
) -> None:
    session = stages.session

    def work() -> Outputs:
        with (
            served(session, variants, port=port, model=MODEL, experiment="loop") as url,
            session.progress("people ask", "requests") as progress,
        ):
            visits = asyncio.run(
                visit(url, MODEL, questions, say_nothing, num_users=USERS, progress=progress)
            )
        refuse_failures(session, visits)
        return {"note": said(visits)}

    inputs = {name: checkpoint.digest for name, checkpoint in variants.items()}
    stages.run("serve", inputs, work, rooms=ALL_ROOMS)


def open_questions(rows: Iterable[Conversation]) -> list[Conversation]:
    """Dialogues up to their last user's message, the last three messages of each."""
    found = []
    for row in rows:
        messages = list(row.messages)
        while messages and messages[-1].role != "user":
            messages.pop()
        if messages:
            found.append(masked(row.model_copy(update={"messages": tuple(messages[-3:])})))
    return found


def own_recipes(folder: Path | None) -> dict[str, str]:
    """The recipe for each training of the loop: the shipped one, or of that name in the folder.

    Raises UserError where the folder has none of them.
    """
    if folder is None:
        return {name: name for name in RECIPES}
    found = {name: folder / f"{name}.yaml" for name in RECIPES}
    if not any(path.is_file() for path in found.values()):
        raise UserError(f"{folder} has none of {', '.join(p.name for p in found.values())}")
    return {name: str(path) if path.is_file() else name for name, path in found.items()}


def loop(session: Session, *, data: Path, port: int, recipes: Path | None = None) -> int:
    if not data.is_dir():
        raise UserError(f"no folder {data}; give the public data sets with --data FOLDER")
    recipe_of = own_recipes(recipes)
    stages = Stages(session, "the loop on real data", num_stages=9)
    made = make_datasets(stages, data)
    texts, talk, ratings = made["texts"], made["dialogues"], made["ratings"]
    measured = tuple(d.digest for name, d in made.items() if name != "ratings")

    def trained(title: str, recipe: str, name: str, parent: Trained | None, *sets: Made) -> Trained:
        return train_stage(
            stages,
            title,
            recipe_of[recipe],
            data=[d.folder for d in sets],
            data_digests=[d.digest for d in sets],
            parent=parent,
            name=name,
            seed=0,
        )

    def gated(title: str, one: Trained, alias: str | None, expected: Status | None) -> Outputs:
        return gate_stage(
            stages, title, one, policy="real", alias=alias, expected=expected,
            data_digests=measured,
        )  # fmt: skip

    base = trained("pre-train", "real-base-cpu", "real-base", None, texts, talk)
    tuned = trained("fine-tune", "real-sft-cpu", "real-tuned", base, talk)
    first = gated("gate fine-tuned", tuned, "champion", Status.PASS)
    damaged = damaged_copy(stages, tuned)
    bad = gated("gate damaged", damaged, None, None)
    if bad["status"] == str(Status.PASS):
        raise JourneyError("the gate passed a damaged checkpoint")
    refusals(stages, damaged, port)
    rated = trained("prefer", "real-prefer-cpu", "real-rated", tuned, ratings, talk)
    second = gated("gate rated", rated, "champion", None)
    variants = {"tuned": tuned}
    if second["status"] == str(Status.PASS):
        variants["rated"] = rated
    questions = itertools.islice(
        read_jsonl(talk.folder / "questions.jsonl", Conversation), REQUESTS
    )
    serve_and_ask(stages, variants, list(questions), port)

    stages.show()
    columns = ("measure", "fine-tuned", "damaged", "rated")
    names = list(first["values"])
    rows = [(name, *(_value(outputs, name) for outputs in (first, bad, second))) for name in names]
    rows.append(("verdict", first["status"], bad["status"], second["status"]))
    session.console.print(table("figures", columns, rows))
    session.say(f"look: hallmark --home {session.home.root} status; reports in reports/")
    return 0


def _value(outputs: Outputs, name: str) -> str | None:
    value = outputs.get("values", {}).get(name)
    return None if value is None else f"{value:.4f}"
