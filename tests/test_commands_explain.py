"""`hallmark explain`: one page about one answer, with nothing in it that a browser would run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from audit.live import LiveSettings, live_digest, score_new
from audit.toxicity import open_scorer
from commands.explain import ExplainError, kept_request
from commands.session import Session
from eval.torch_runner import TorchRunner
from hallmark import main
from registry.checkpoint import read_manifest
from registry.conversation import Message
from registry.evidence import now
from tests.conftest import make_verdict
from tests.ledgers import NOON, request, thumb

ATTACK = '<script>alert("x")</script><img src=x onerror=alert(1)>'
ANSWER = "It <b>left</b> & arrives on Tuesday."


@pytest.fixture
def session(tiny_checkpoint: Path, tmp_path: Path) -> Iterator[Session]:
    opened = Session.open(tmp_path / "home", None)
    manifest = read_manifest(tiny_checkpoint)
    opened.ledger.record_checkpoint(manifest, str(tiny_checkpoint))
    verdict = make_verdict(manifest.weights_digest).model_copy(update={"created_at": NOON})
    opened.ledger.record_verdict(verdict, "sha256:" + "7" * 64)
    opened.ledger.record_requests(
        [
            request(
                "r1",
                checkpoint=manifest.weights_digest,
                messages=(Message(role="user", content=f"Where is it? {ATTACK}"),),
                answer=ANSWER,
            ),
            request("r2", checkpoint=manifest.weights_digest, messages=None, answer=None),
        ]
    )
    opened.ledger.record_feedback(thumb("f1", "r1"))
    yield opened
    opened.ledger.close()


class Elements(HTMLParser):
    """Every element's name, every attribute's name, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def explained(session: Session, tmp_path: Path) -> str:
    out = tmp_path / "why.html"
    arguments = ["--home", str(session.home.root), "explain", "r1", "--out", str(out)]
    assert main(arguments) == 0
    return out.read_text()


def test_the_page_escapes_what_client_and_model_wrote_and_asks_for_nothing(session, tmp_path):
    page = explained(session, tmp_path)
    found = Elements(page)
    assert not found.names & {"script", "img", "b", "link", "iframe", "form"}
    assert not found.attributes & {"src", "href", "onerror", "onclick"}
    assert "default-src 'none'" in page
    assert ATTACK in found.text
    assert ANSWER in found.text  # its tokens, one behind the other


def test_the_page_names_what_answered_and_what_it_cannot_show(session, tmp_path, tiny_checkpoint):
    text = Elements(explained(session, tmp_path)).text
    assert read_manifest(tiny_checkpoint).weights_digest in text
    assert "PASS under test-policy" in text
    assert "hallmark sha256:777" in text
    assert "thumb 1" in text
    assert "It is no cause" in text
    assert "personal data is masked" in text


def test_json_has_the_runners_probabilities_and_the_audits_scores(session, tiny_checkpoint, capsys):
    scorer = open_scorer()
    score_new(session.ledger, scorer, LiveSettings(share=1.0), now)
    (live,) = session.ledger.live_scores(live_digest(scorer))
    assert main(["--home", str(session.home.root), "explain", "r1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    runner = TorchRunner(tiny_checkpoint)
    messages = session.ledger.request("r1").messages
    prompt = runner.render(messages, answer_next=True).rstrip()
    whole, line_break = runner.continuations([(prompt, f"\n{ANSWER}"), (prompt, "\n")])
    assert said["logprob"] == pytest.approx(whole.logprob - line_break.logprob, abs=1e-3)
    assert sum(token["logprob"] for token in said["answer"]) == pytest.approx(said["logprob"])
    assert said["scores"]["refusal"] == {"now": 0.0, "served": 0.0}
    assert said["scores"]["toxicity"]["served"] == live.scores["toxicity"]
    assert said["scores"]["toxicity"]["now"] == pytest.approx(live.scores["toxicity"], abs=1e-9)
    assert said["facts"]["variant"] == "a"
    assert Path(said["page"]).is_file()


def test_a_verdict_that_came_after_the_answer_is_not_shown_as_its_own(session, tmp_path):
    late = request(
        "r0", checkpoint=session.ledger.request("r1").checkpoint,
        started_at=NOON.replace(year=2025),
    )  # fmt: skip
    session.ledger.record_requests([late])
    out = tmp_path / "r0.html"
    main(["--home", str(session.home.root), "explain", "r0", "--out", str(out)])
    assert "none before it was served (1 since)" in out.read_text()


def test_a_request_without_its_conversation_says_how_to_keep_them(session):
    with pytest.raises(ExplainError, match="serve with --store-conversations"):
        kept_request(session, "r2")
    with pytest.raises(ExplainError, match="no request 'r9' in the ledger"):
        kept_request(session, "r9")
    assert main(["--home", str(session.home.root), "explain", "r9"]) == 4
