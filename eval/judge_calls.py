"""One judge asked through ragas: bounded calls and retries, every failure with its reason.

ragas gives the prompts, the structured answers and the arithmetic; this module gives what
it lacks: a limit on every call, retries that are counted, a look at whether the verdicts
fit what was asked, and reasons without secrets in them.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import math
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from eval.endpoint import Endpoint, EndpointError, JudgeEndpoint

MAX_REASON = 160
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 30.0
ASK_AGAIN = "\n\nYour last answer was not the JSON asked for. Give that JSON and nothing else."

Outcome = tuple[float | None, str | None]  # (value in [0, 1], None) or (None, reason)


@dataclass(frozen=True)
class Metric:
    """One metric of ragas: its class, what it looks at, and what an empty answer is worth.

    ``silence`` is None where a metric is undefined without an answer: nothing was stated
    whose truth could be looked up.
    """

    ragas_name: str
    looks_at: tuple[str, ...]
    silence: float | None = None

    @property
    def judges_the_answer(self) -> bool:
        return "response" in self.looks_at


METRICS = {
    "faithfulness": Metric("Faithfulness", ("user_input", "response", "retrieved_contexts")),
    "answer_relevancy": Metric("AnswerRelevancy", ("user_input", "response"), silence=0.0),
    "factual_correctness": Metric("FactualCorrectness", ("response", "reference"), silence=0.0),
    "context_utilization": Metric(
        "ContextUtilization", ("user_input", "response", "retrieved_contexts")
    ),
    "context_precision": Metric(
        "ContextPrecision", ("user_input", "reference", "retrieved_contexts")
    ),
    "context_recall": Metric("ContextRecall", ("user_input", "reference", "retrieved_contexts")),
}


@dataclass(frozen=True)
class Judged:
    """Outcomes in the rows' order, calls sent, and those that brought nothing usable."""

    outcomes: tuple[Outcome, ...]
    calls: int
    failures: int


def judge_rows(
    metric: Metric,
    rows: Sequence[Mapping[str, Any]],
    judge: JudgeEndpoint,
    embeddings: Endpoint | None = None,
) -> Judged:
    """Score rows of ``looks_at`` fields, all of them at once within the judge's concurrency.

    Raises EndpointError where the key is not set, and where the judge turns down or cannot
    be reached for the very first calls; whatever fails later costs its own row only.
    """
    with _discreet():
        return asyncio.run(_judge_rows(metric, rows, judge, embeddings))


async def _judge_rows(
    metric: Metric,
    rows: Sequence[Mapping[str, Any]],
    judge: JudgeEndpoint,
    embeddings: Endpoint | None,
) -> Judged:
    session = _Session(judge, embeddings)
    try:
        # gather keeps the order, and return_exceptions that one bad row loses no other.
        results = await asyncio.gather(
            *(session.score(metric, row) for row in rows), return_exceptions=True
        )
    finally:
        await session.close()
    if session.refused is not None:
        raise session.refused
    outcomes = tuple(session.outcome(result) for result in results)
    return Judged(outcomes, session.calls, session.failures)


@contextmanager
def _discreet() -> Iterator[None]:
    """instructor logs what a server says to a failed call, which may hold the key, and ragas
    sends usage figures home unless told not to."""
    os.environ.setdefault("RAGAS_DO_NOT_TRACK", "true")
    logger = logging.getLogger("instructor")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


class _Misfit(ValueError):
    """An answer in the right form that does not answer what was asked."""


class _RowFailed(RuntimeError):
    """A call of one row failed for good; the message is the reason."""


class _Session:
    """One judge and its clients in one running loop."""

    def __init__(self, judge: JudgeEndpoint, embeddings: Endpoint | None) -> None:
        from ragas.embeddings.base import embedding_factory
        from ragas.llms import llm_factory

        self.judge = judge
        self.slots = asyncio.Semaphore(judge.concurrency)
        self.calls = self.failures = self.answered = 0
        self.refused: EndpointError | None = None
        self.clients = [judge.client()]
        self.secrets = [judge.key()]
        # No cache: ragas' own does not know which judge an answer is from.
        self.llm = llm_factory(
            judge.model,
            client=self.clients[0],
            temperature=0.0,
            top_p=1.0,
            max_tokens=judge.max_tokens,
            max_retries=0,
        )
        self.more: dict[str, Any] = {}
        if embeddings is not None:
            self.clients.append(embeddings.client())
            self.secrets.append(embeddings.key())
            model = embedding_factory("openai", model=embeddings.model, client=self.clients[1])
            self.more["embeddings"] = self._bounded_embeddings(model, embeddings)

    async def close(self) -> None:
        for client in self.clients:
            await client.close()

    async def score(self, metric: Metric, row: Mapping[str, Any]) -> float:
        from ragas.metrics import collections

        scorer = getattr(collections, metric.ragas_name)(llm=self._bounded_llm(), **self.more)
        result = await scorer.ascore(**{name: row[name] for name in metric.looks_at})
        return math.nan if result.value is None else float(result.value)

    def outcome(self, result: float | BaseException) -> Outcome:
        if isinstance(result, _RowFailed):
            return None, self._discreetly(str(result))
        if isinstance(result, BaseException):
            return None, self._discreetly(f"the metric failed: {type(result).__name__}: {result}")
        if math.isnan(result):
            return None, "the judge found no statement to judge"
        if not -1 <= result <= 1 + 1e-6:
            return None, f"the judge's figures give {result:g}, outside [0, 1]"
        # ragas divides by a sum + 1e-10, and a cosine may lie below 0: no likeness at all.
        return min(max(round(result, 9), 0.0), 1.0), None

    def _bounded_llm(self) -> Any:
        """The judge for one row: each of its calls bounded, and looked at."""
        llm = copy.copy(self.llm)
        num_stated: list[int] = []

        async def agenerate(prompt: str, response_model: Any) -> Any:
            async def call(hint: str) -> Any:
                result = await self.llm.agenerate(prompt + hint, response_model)
                _refuse_misfit(result, num_stated)
                return result

            return await self._bounded(call, self.judge, "the judge")

        llm.agenerate = agenerate
        return llm

    def _bounded_embeddings(self, model: Any, endpoint: Endpoint) -> Any:
        def bounded(embed: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
            async def embedded(text: Any) -> Any:
                return await self._bounded(lambda hint: embed(text), endpoint, "the embeddings")

            return embedded

        model.aembed_text = bounded(model.aembed_text)
        model.aembed_texts = bounded(model.aembed_texts)
        return model

    async def _bounded(
        self, call: Callable[[str], Awaitable[Any]], endpoint: Endpoint, who: str
    ) -> Any:
        """One call with its retries. Raises _RowFailed, or EndpointError where all must fail."""
        from instructor.core import InstructorError
        from openai import OpenAIError

        hint = ""
        tries = self.judge.retries + 1
        for attempt in range(tries):
            async with self.slots:
                if self.refused is not None:
                    raise self.refused
                self.calls += 1
                try:
                    async with asyncio.timeout(self.judge.timeout_seconds):
                        result = await call(hint)
                    self.answered += 1
                    return result
                # What a server sends is looked into by three libraries, each with its errors.
                except (
                    OpenAIError, InstructorError, TimeoutError,
                    ValueError, LookupError, TypeError, AttributeError,
                ) as error:  # fmt: skip
                    self.failures += 1
                    problem = _problem(error, self.judge.timeout_seconds)
            last = not problem.again or attempt + 1 == tries
            if last and not self.answered and (said := _refusal(problem, endpoint, who)):
                self.refused = self.refused or EndpointError(self._discreetly(said))
            if last:
                times = f" ({attempt + 1} tries)" if attempt else ""
                raise _RowFailed(f"{who}: {problem.reason}{times}") from None
            hint = ASK_AGAIN if problem.misunderstood else ""
            wait = FIRST_WAIT_SECONDS * 2**attempt if problem.wait is None else problem.wait
            await asyncio.sleep(min(wait, LONGEST_WAIT_SECONDS))
        raise AssertionError("unreachable")

    def _discreetly(self, reason: str) -> str:
        """In one line, shortened, and without any key."""
        for secret in self.secrets:
            reason = reason.replace(secret, "[key]") if len(secret) > 4 else reason
        flat = " ".join(reason.split())
        return flat if len(flat) <= MAX_REASON else f"{flat[: MAX_REASON - 3]}..."


@dataclass(frozen=True)
class _Problem:
    """What went wrong with a call, and whether the same call may go better."""

    reason: str
    again: bool
    misunderstood: bool = False
    status: int | None = None
    unreachable: bool = False
    wait: float | None = None
    """Seconds the server asked to wait; None where it did not say."""


def _problem(error: Exception, timeout_seconds: float) -> _Problem:
    from instructor.core import IncompleteOutputException
    from openai import APIConnectionError, APIStatusError, APITimeoutError

    if isinstance(error, IncompleteOutputException):
        return _Problem("its answer was cut at max_tokens", again=False)
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    for one in (error, cause):
        if isinstance(one, TimeoutError | APITimeoutError):
            return _Problem(f"no answer within {timeout_seconds:g} s", again=True)
        if isinstance(one, APIConnectionError):
            return _Problem("no connection, or it was lost", again=True, unreachable=True)
        if isinstance(one, APIStatusError):
            return _status_problem(one.status_code, one)
        if isinstance(one, _Misfit):
            return _Problem(str(one), again=True, misunderstood=True)
    return _Problem("its answer is not the JSON asked for", again=True, misunderstood=True)


def _status_problem(status: int, error: Any) -> _Problem:
    again = status in {408, 409, 429} or status >= 500
    # Of a refused key servers quote a part; the other refusals say what is wrong with a row.
    quoted = "" if again or status in {401, 403, 404} else f": {error.message}"
    after = error.response.headers.get("retry-after", "")
    wait = float(after) if after.replace(".", "", 1).isdigit() else None
    return _Problem(f"HTTP {status}{quoted}", again=again, status=status, wait=wait)


def _refusal(problem: _Problem, endpoint: Endpoint, who: str) -> str | None:
    """Why no call can succeed, said so that it can be mended; None where one may."""
    where = f"{who} {endpoint.model} at {endpoint.host}"
    if problem.unreachable:
        return f"{where} cannot be reached; start it, or correct base_url"
    if problem.status in {401, 403}:
        key = f"the key in {endpoint.api_key_env}" if endpoint.api_key_env else "calls without key"
        return f"{where} refuses {key} (HTTP {problem.status}); check api_key_env"
    if problem.status == 404:
        return f"{where} is not there (HTTP 404); check model, and base_url up to its /v1"
    return None


def _refuse_misfit(result: Any, num_stated: list[int]) -> None:
    """Raise _Misfit where verdicts are not 0 or 1, or not as many as the statements before.

    ``num_stated`` keeps how many statements the row's last answer took a text apart into.
    """
    lists = [value for value in vars(result).values() if isinstance(value, list)]
    parts = [result, *(part for one in lists for part in one)]
    verdicts = [
        getattr(part, name)
        for part in parts
        for name in ("verdict", "attributed", "noncommittal")
        if hasattr(part, name)
    ]
    strange = [verdict for verdict in verdicts if verdict not in (0, 1)]
    if strange:
        raise _Misfit(f"a verdict of {strange[0]!r}, 0 or 1 is asked for")
    if any(isinstance(part, str) for one in lists for part in one):
        num_stated[:] = [len(lists[0])]
    elif num_stated and lists:
        if len(lists[0]) != num_stated[0]:
            raise _Misfit(f"{len(lists[0])} verdicts on {num_stated[0]} statements")
        num_stated.clear()
