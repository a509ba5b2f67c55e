"""What a checkpoint answered, written down as it comes, so that an interrupted gate goes on.

``ResumableRunner`` asks for distinct requests in shards and appends each finished shard to
a journal, one line with its own digest; a line that a kill cut short counts as never
written. What a judge said of its answers is noted there too. Shards are cut the same
way when a run is resumed, so the numbers, and with them the evidence's digest, are those
of a run that was never interrupted. The journal is no cache between gates:
``eval.measure`` removes it once all evidence is stored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from eval.runner import Answer, Continuation, Runner, Sampling
from registry.conversation import Message
from registry.evidence import ModelFacts
from registry.records import canonical_json, digest_of

SHARD_SIZES = {"continuations": 1024, "documents": 64, "answers": 128, "completions": 128}

Advance = Callable[[int, int], None]  # requests (answered, asked for) of one call


class Pool(Protocol):
    """Whatever answers shards of requests: this process, or several workers."""

    @property
    def facts(self) -> ModelFacts: ...

    def run(
        self, method: str, shards: Sequence[Sequence[Any]], sampling: Sampling | None
    ) -> Iterator[tuple[int, list[Any]]]:
        """(index of the shard, its results in order), in whatever order they are ready."""
        ...

    def render(self, dialogue: Sequence[Message], *, answer_next: bool) -> str: ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]: ...

    def close(self) -> None:
        """Give back what it holds: the measurement is over."""
        ...


def ask(
    runner: Runner, method: str, requests: Sequence[Any], sampling: Sampling | None
) -> list[Any]:
    """One call of a runner's method by its name."""
    call = getattr(runner, method)
    return list(call(requests) if sampling is None else call(requests, sampling))


class LocalPool:
    """One runner in this process."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.facts = runner.facts
        self.render = runner.render
        self.count_tokens = runner.count_tokens

    def run(
        self, method: str, shards: Sequence[Sequence[Any]], sampling: Sampling | None
    ) -> Iterator[tuple[int, list[Any]]]:
        for index, shard in enumerate(shards):
            yield index, ask(self.runner, method, shard, sampling)

    def close(self) -> None:
        """Nothing: the runner goes with the last reference to it."""


def _encode(result: Any) -> Any:
    if isinstance(result, Continuation):
        return [result.logprob, result.greedy, result.num_tokens]
    if isinstance(result, Answer):
        return [str(result), result.unscored]
    return result


_DECODE: Mapping[str, Callable[[Any], Any]] = {
    "continuations": lambda body: Continuation(*body),
    "documents": float,
    "answers": lambda body: Answer(*body),
    "completions": lambda body: Answer(*body),
}


class ResumableRunner:
    """A ``Runner`` over a pool, that never asks twice what its journal holds."""

    def __init__(self, pool: Pool, journal: Path, *, advance: Advance | None = None) -> None:
        self.pool = pool
        self.journal = journal
        self.advance = advance
        self._known = _read(journal, pool.facts)

    @property
    def facts(self) -> ModelFacts:
        return self.pool.facts

    def render(self, dialogue: Sequence[Message], *, answer_next: bool) -> str:
        return self.pool.render(dialogue, answer_next=answer_next)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self.pool.count_tokens(texts)

    def continuations(self, requests: Sequence[tuple[str, str]]) -> list[Continuation]:
        return self._all("continuations", requests, [list(r) for r in requests], None)

    def documents(self, texts: Sequence[str]) -> list[float]:
        return self._all("documents", texts, list(texts), None)

    def answers(self, dialogues: Sequence[Sequence[Message]], sampling: Sampling) -> list[Answer]:
        plain = [[message.model_dump() for message in dialogue] for dialogue in dialogues]
        return self._all("answers", dialogues, plain, sampling)

    def completions(self, prompts: Sequence[str], sampling: Sampling) -> list[Answer]:
        return self._all("completions", prompts, list(prompts), sampling)

    def recall(self, key: str) -> Any:
        return self._known.get(key)

    def note(self, said: Mapping[str, Any], done: int, total: int) -> None:
        if said:
            self._write(list(said), list(said.values()))
        self._report(done, total)

    def _all(
        self,
        method: str,
        requests: Sequence[Any],
        plain: Sequence[Any],
        sampling: Sampling | None,
    ) -> list[Any]:
        """Results in the order asked; what the journal lacks is asked for, shard by shard."""
        drawn = sampling is not None and sampling.temperature > 0
        keys: list[str] = []
        repeats: dict[str, list[str]] = {}  # a request that is drawn twice has two answers
        request_of: dict[str, Any] = {}
        for request, body in zip(requests, plain, strict=True):
            base = digest_of([method, body, repr(sampling)])
            own = repeats.setdefault(base, [])
            if drawn or not own:
                own.append(f"{base}/{len(own)}")
                request_of[own[-1]] = request
            keys.append(own[-1])
        shards = _shards(method, repeats.values(), self._known)
        total = len(request_of)
        done = total - sum(map(len, shards))
        self._report(done, total)
        asked = [[request_of[key] for key in shard] for shard in shards]
        for index, results in self.pool.run(method, asked, sampling):
            self._write(shards[index], [_encode(result) for result in results])
            done += len(results)
            self._report(done, total)
        decode = _DECODE[method]
        return [decode(self._known[key]) for key in keys]

    def _report(self, done: int, total: int) -> None:
        if self.advance is not None and total:
            self.advance(done, total)

    def _write(self, keys: Sequence[str], results: Sequence[Any]) -> None:
        body = dict(zip(keys, results, strict=True))
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        lines = [] if self.journal.exists() else [_line(self.facts.model_dump(mode="json"))]
        with self.journal.open("ab") as file:
            file.write(b"".join([*lines, _line(body)]))
            file.flush()
            os.fsync(file.fileno())
        self._known.update(body)


def _shards(method: str, groups: Any, known: Mapping[str, Any]) -> list[list[str]]:
    """Missing requests in the order asked, all draws of one prompt in the same shard."""
    shards: list[list[str]] = []
    for group in groups:
        if all(key in known for key in group):
            continue
        if not shards or len(shards[-1]) >= SHARD_SIZES[method]:
            shards.append([])
        shards[-1].extend(group)
    return shards


def _line(body: Any) -> bytes:
    return canonical_json([digest_of(body), body]) + b"\n"


def _read(journal: Path, facts: ModelFacts) -> dict[str, Any]:
    """What earlier runs got from the same model in the same way; damaged lines are left out.

    A journal of another model, or one whose first line is damaged, is removed.
    """
    known: dict[str, Any] = {}
    if not journal.exists():
        return known
    data = journal.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    bodies = [_checked(line) for line in whole.splitlines()]
    if not bodies or bodies[0] != facts.model_dump(mode="json"):
        journal.unlink()
        return known
    if len(whole) < len(data):
        os.truncate(journal, len(whole))  # or the next line would be glued to the torn one
    for body in bodies[1:]:
        known.update(body or {})
    return known


def _checked(line: bytes) -> Any:
    try:
        digest, body = json.loads(line)
    except ValueError:
        return None
    return body if digest == digest_of(body) else None
