"""`hallmark explain`: why a request was answered so, as far as can honestly be shown.

From the ledger: variant, checkpoint, verdict, and what the client sent, masked as it is
kept. From the checkpoint, loaded again: how likely each token of the answer was, and
which input tokens weighed on it. From the audits' scorers: what they say of the answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.live import live_digest, score_text
from audit.toxicity import open_scorer
from commands.session import Session, print_json, table
from eval.attribution import AnswerToken, Attributed, InputToken, attribute_reply
from eval.torch_runner import TorchRunner
from registry.checkpoint import read_manifest, verify
from registry.records import UserError, short, write_atomically
from registry.rows import VerdictRow
from registry.served import FeedbackRecord, RequestRecord

TEMPLATES = Path(__file__).parent / "templates"
UNLIKELY_SHOWN = 5  # tokens of the answer that the summary names
SURPRISE_NATS = 6.0  # a token of probability .0025 has the darkest shade

LIMITS = (
    "Attribution is first order: it tells where the answer's likelihood is sensitive near this "
    "input. It is no cause, and other methods may rank the tokens otherwise.",
    "A token of no gradient may still have mattered, where what it does is saturated; tokens that "
    "work together share their weight in no particular way.",
    "Texts are shown as they were kept: personal data is masked, so the model that answered read "
    "other words at those places, and probabilities around them are not the original ones.",
    "The checkpoint was run again in float32 by the offline runner. The server may have used "
    "another precision, and sampling settings that are not recorded.",
    "The answer's text was encoded anew, which may cut it into other tokens than were generated.",
    "Nothing here says which training data an answer comes from, or what the model intends.",
)


class ExplainError(UserError):
    """The request cannot be explained: unknown, without its texts, or without its checkpoint."""


@dataclass(frozen=True)
class Shown:
    """What the page says besides the tokens. ``scores``: (name, now, when it was served)."""

    request: RequestRecord
    facts: list[tuple[str, str]]
    scores: list[tuple[str, float, float | None]]
    scorer: str
    feedback: tuple[FeedbackRecord, ...]


def explain(session: Session, request_id: str, *, out: Path | None, json: bool) -> int:
    """Write the page, and a summary to the terminal or as JSON."""
    request = kept_request(session, request_id)
    assert request.messages is not None  # kept_request demands both
    assert request.answer is not None
    folder = _folder(session, request.checkpoint)
    runner = TorchRunner(folder, base=session.base_of(read_manifest(folder)))
    attributed = attribute_reply(runner, request.messages, request.answer)
    shown = gather(session, request)
    path = out or session.home.explained(request_id)
    write_atomically(path, page(shown, attributed).encode())
    if json:
        print_json(as_json(shown, attributed) | {"page": str(path)})
        return 0
    session.console.print(table(f"request {request_id}", ("", ""), shown.facts))
    least = sorted(attributed.answer, key=lambda token: token.logprob)[:UNLIKELY_SHOWN]
    unlikely = ", ".join(f"{token.text.strip()!r} {math.exp(token.logprob):.3f}" for token in least)
    session.say(f"least likely tokens of the answer: {unlikely}")
    session.say(", ".join(f"{name} {value:.3f}" for name, value, _ in shown.scores))
    session.say(f"  {path}")
    return 0


def kept_request(session: Session, request_id: str) -> RequestRecord:
    """The request with its texts. Raises ExplainError."""
    request = session.ledger.request(request_id)
    if request is None:
        raise ExplainError(
            f"no request {request_id!r} in the ledger; every answer carries its id in the header "
            "x-request-id"
        )
    if request.messages is None or not request.answer:
        raise ExplainError(
            f"of request {request_id!r} no conversation was kept, so there is nothing to explain; "
            "serve with --store-conversations"
        )
    return request


def _folder(session: Session, digest: str) -> Path:
    """The very checkpoint that answered."""
    folder = session.stored(digest)
    if verify(folder).weights_digest != digest:
        raise ExplainError(
            f"{folder} holds other weights than {short(digest)}, which answered; "
            "put that checkpoint back, and record it with `hallmark verify FOLDER`"
        )
    return folder


def gather(session: Session, request: RequestRecord) -> Shown:
    scorer = open_scorer()
    digest = live_digest(scorer)
    scores = score_text(request.answer or "", scorer)
    then: Mapping[str, float] = {}
    for one in session.ledger.live_scores_of(request.request_id):
        if one.scorer_digest == digest:
            then = one.scores
    return Shown(
        request=request,
        facts=_facts(session, request),
        scores=[(name, value, then.get(name)) for name, value in sorted(scores.items())],
        scorer=f"{scorer.name} {short(scorer.digest)}",
        feedback=tuple(session.ledger.feedback(request.request_id)),
    )


def _facts(session: Session, request: RequestRecord) -> list[tuple[str, str]]:
    line = session.ledger.ancestry(request.checkpoint)
    manifest = session.ledger.manifest(request.checkpoint)
    datasets = ", ".join(f"{each.name} {short(each.digest)}" for each in manifest.datasets)
    aliases = [name for name, at in session.ledger.aliases().items() if at == request.checkpoint]
    return [
        (
            "served",
            f"{request.started_at:%Y-%m-%d %H:%M:%S} UTC, finished: {request.finish_reason}",
        ),
        ("variant", request.variant + (" (pinned)" if request.pinned else "")),
        ("experiment", request.experiment or "none"),
        ("checkpoint", f"{manifest.name} {request.checkpoint}"),
        ("verdict", _verdict(session.ledger.verdicts(request.checkpoint), request)),
        ("aliases now", ", ".join(sorted(aliases)) or "none"),
        ("comes from", " <- ".join(f"{row.name} {short(row.digest)}" for row in line)),
        ("trained on", datasets or "not recorded"),
    ]


def _verdict(rows: list[VerdictRow], request: RequestRecord) -> str:
    """The newest verdict at the time of serving."""
    before = [row for row in rows if row.verdict.created_at <= request.started_at]
    if not before:
        return f"none before it was served ({len(rows)} since)"
    row = before[-1]
    stamp = "no hallmark" if row.envelope_digest is None else f"hallmark {row.envelope_digest[:19]}"
    return (
        f"{row.verdict.status} under {row.verdict.policy_name} on "
        f"{row.verdict.created_at:%Y-%m-%d %H:%M} UTC, {stamp}"
    )


def page(shown: Shown, attributed: Attributed) -> str:
    """The whole page: one file, no script, no request; all texts escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["exp"] = math.exp
    read = [token for token in attributed.inputs if not token.of_answer]
    strongest = max((abs(token.attribution) for token in read), default=0.0)
    weight = sum(abs(token.attribution) for token in attributed.inputs)
    own = sum(abs(token.attribution) for token in attributed.inputs if token.of_answer)
    return environment.get_template("explain.html.j2").render(
        shown=shown,
        attributed=attributed,
        perplexity=math.exp(-attributed.logprob / len(attributed.answer)),
        strongest=strongest,
        own_share=own / weight if weight else 0.0,
        surprise=_surprise,
        heat=lambda token: _heat(token, strongest),
        limits=LIMITS,
    )


def _surprise(token: AnswerToken) -> str:
    return f"rgba(176,96,0,{min(-token.logprob / SURPRISE_NATS, 1.0) * 0.7:.3f})"


def _heat(token: InputToken, strongest: float) -> str:
    share = abs(token.attribution) / strongest * 0.8 if strongest else 0.0
    colour = "31,90,200" if token.attribution >= 0 else "200,40,40"
    return f"rgba({colour},{share:.3f})"


def as_json(shown: Shown, attributed: Attributed) -> dict[str, Any]:
    return {
        "request": shown.request.model_dump(mode="json"),
        "facts": dict(shown.facts),
        "logprob": attributed.logprob,
        "answer": [vars(token) for token in attributed.answer],
        "inputs": [vars(token) for token in attributed.inputs],
        "tokens_cut": attributed.cut,
        "scores": {name: {"now": value, "served": then} for name, value, then in shown.scores},
        "feedback": [said.model_dump(mode="json") for said in shown.feedback],
        "limits": list(LIMITS),
    }
