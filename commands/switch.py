"""The part of `hallmark promote` and `rollback` that changes servers which are running."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from commands.session import Session
from registry.checkpoint import Manifest, read_manifest
from registry.golden import GOLDEN_PROMPTS, TOLERANCES, Golden, GoldenText
from registry.records import UserError, short

if TYPE_CHECKING:
    from serve.control import Running


class SwitchError(UserError):
    """Not every running server took the checkpoint over; the alias stays where it was."""


def ensure_golden(session: Session, folder: Path, manifest: Manifest) -> None:
    """Measure and keep what the weights say of the golden texts, unless the ledger knows it."""
    if session.ledger.golden(manifest.weights_digest):
        return
    session.ledger.record_golden(measure_golden(folder, session.base_of(manifest)))


def measure_golden(folder: Path, base: Path | None = None) -> Golden:
    """The golden texts' log-probabilities by the runner that measures for the gate."""
    from eval.runner import open_runner

    runner = open_runner(folder, base)
    said = runner.continuations(GOLDEN_PROMPTS)
    return Golden(
        weights_digest=runner.facts.weights_digest,
        backend=runner.facts.backend,
        dtype=runner.facts.dtype,
        tolerance=TOLERANCES.get(runner.facts.dtype, max(TOLERANCES.values())),
        texts=tuple(
            GoldenText(
                context=context,
                continuation=continuation,
                logprob=one.logprob,
                num_tokens=one.num_tokens,
            )
            for (context, continuation), one in zip(GOLDEN_PROMPTS, said, strict=True)
        ),
        measured_at=datetime.now(UTC),
    )


def followers(session: Session, alias: str) -> list[tuple[Running, str]]:
    """Running servers of this home, each with a variant that follows the alias."""
    if not (session.home.root / "servers").is_dir():  # spares the import where nothing runs
        return []
    from serve.control import running_servers

    return [
        (server, variant)
        for server in running_servers(session.home)
        for variant, followed in server.follows.items()
        if followed == alias
    ]


def switch(session: Session, alias: str, folder: Path, manifest: Manifest) -> int:
    """Let every running variant that follows ``alias`` be answered by the checkpoint.

    Gives how many there were. Where one server refuses, those that had changed are changed
    back, and SwitchError says why.
    """
    from serve.control import ControlError, Promotion, promote_in

    following = followers(session, alias)
    if not following:
        return 0
    ensure_golden(session, folder, manifest)
    base = session.base_of(manifest)
    changed: list[tuple[Running, str, str]] = []
    for server, variant in following:
        session.say(f"  starting {manifest.name} beside variant {variant} of {server.model_name}")
        try:
            answer = promote_in(server, Promotion(variant=variant, checkpoint=folder, base=base))
        except ControlError as error:
            stuck = ""
            for other, name, before in changed:
                old = session.stored(before)
                back = Promotion(
                    variant=name, checkpoint=old, base=session.base_of(read_manifest(old))
                )
                try:
                    promote_in(other, back)
                except ControlError as second:
                    stuck += f"; process {other.pid} could not be changed back: {second}"
            raise SwitchError(f"{error}{stuck}; {alias} stays where it was") from error
        changed.append((server, variant, str(answer["before"])))
        session.say(
            f"  variant {variant} answers with {short(manifest.weights_digest)} now; "
            f"{short(str(answer['before']))} finishes what it has"
        )
    return len(following)
