"""Collect the evidence that a policy asks for: from the store, or measured now.

Each entry's evidence is saved as soon as it is measured, and within an entry what the
model answered (``eval.resume``), so an interrupted gate goes on where it stopped. The
checkpoint is verified always and loaded only if something is missing; then one loaded
model serves every entry.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from eval.checks import Check, Measured, NamesFiles, Progress
from eval.resume import Advance, LocalPool, Pool, ResumableRunner
from eval.runner import FactsOnly, open_runner
from registry.checkpoint import verify
from registry.evidence import Evidence, EvidenceStore, config_digest, now
from registry.records import UserError, describe_unknown, file_sha256

OpenPool = Callable[[Path], Pool]


def open_pool(folder: Path, base: Path | None = None) -> Pool:
    """The checkpoint loaded once, in this process; an adapter upon its ``base``."""
    return LocalPool(open_runner(folder, base))


class MeasureError(UserError):
    """A check is unknown, a file it reads is missing, or what it measured is not sound."""


class PolicyEntry(Protocol):
    """What is needed of a policy's entry (``eval.policy.Entry``)."""

    @property
    def name(self) -> str: ...
    @property
    def check(self) -> str: ...
    @property
    def config(self) -> BaseModel: ...


class PolicyLike(Protocol):
    @property
    def entries(self) -> Sequence[PolicyEntry]: ...


def collect(
    policy: PolicyLike,
    checks: Sequence[Check],
    folder: Path,
    store: EvidenceStore,
    *,
    progress: Progress | None = None,
    opened_by: OpenPool = open_pool,
) -> dict[str, Evidence]:
    """Evidence by entry name, of the checkpoint in ``folder``.

    Entries that share check, configuration and files share their evidence. Raises
    CheckpointError, EvidenceError where a stored file is damaged, MeasureError, and
    what a check raises on rows it cannot read.
    """
    evidence: dict[str, Evidence] = {}

    def report(part: float = 0.0) -> None:
        if progress is not None:
            progress(len(evidence) + part, len(policy.entries))

    session = _Session(
        folder,
        store,
        {check.name: check for check in checks},
        opened_by,
        lambda done, total: report(0.95 * done / total),
    )
    report()
    for entry in policy.entries:
        evidence[entry.name] = session.evidence_for(entry)
        report()
    session.close()
    return evidence


class _Session:
    """One checkpoint, one store, at most one loaded model, every file hashed once."""

    def __init__(
        self,
        folder: Path,
        store: EvidenceStore,
        checks: Mapping[str, Check],
        opened_by: OpenPool,
        advance: Advance,
    ) -> None:
        self.folder = folder
        self.store = store
        self.checks = checks
        self.opened_by = opened_by
        self.advance = advance
        self.weights_digest = verify(folder).weights_digest
        self.hashes: dict[Path, str] = {}

    @cached_property
    def runner(self) -> ResumableRunner:
        journal = self.store.journal(self.weights_digest)
        return ResumableRunner(self.opened_by(self.folder), journal, advance=self.advance)

    def close(self) -> None:
        """All evidence is stored: what was written down on the way is no longer needed."""
        self.store.journal(self.weights_digest).unlink(missing_ok=True)
        if "runner" in self.__dict__:
            self.runner.pool.close()

    def evidence_for(self, entry: PolicyEntry) -> Evidence:
        check = self.checks.get(entry.check)
        if check is None:
            raise MeasureError(describe_unknown("check", entry.check, dict(self.checks)))
        config, digest = entry_digest(entry, self._hash)
        stored = self.store.load(check.name, self.weights_digest, digest)
        if stored is not None:
            return stored
        started = time.monotonic()
        runner = self.runner if check.needs_model else FactsOnly(self.weights_digest)
        measured = check.measure(runner, entry.config)
        refuse_unsound(check.name, measured)
        evidence = Evidence(
            check=check.name,
            config=config,
            config_digest=digest,
            facts=runner.facts,
            items=measured.items,
            summary=dict(measured.summary),
            tables=dict(measured.tables),
            seconds=time.monotonic() - started,
            created_at=now(),
        )
        self.store.save(evidence)
        return evidence

    def _hash(self, path: Path) -> str:
        if path not in self.hashes:
            self.hashes[path] = file_sha256(path)
        return self.hashes[path]


def entry_digest(
    entry: PolicyEntry, hash_file: Callable[[Path], str] = file_sha256
) -> tuple[dict[str, Any], str]:
    """An entry's configuration as stored, without its paths, and the digest over it and them.

    Raises MeasureError where a file cannot be read.
    """
    paths = config_paths(entry.config)
    config = entry.config.model_dump(mode="json", exclude=set(paths) | _unset(entry.config))
    files = entry.config.files() if isinstance(entry.config, NamesFiles) else paths
    try:
        inputs = {name: hash_file(path) for name, path in files.items()}
    except OSError as error:
        raise MeasureError(
            f"entry {entry.name}: {error.filename} cannot be read ({error.strerror}); "
            "check the policy's config"
        ) from error
    return config, config_digest(entry.check, config, inputs)


def config_paths(config: BaseModel) -> dict[str, Path]:
    """The files that a check's configuration names, by field; unset ones are left out."""
    values = {name: getattr(config, name) for name in type(config).model_fields}
    return {name: value for name, value in values.items() if isinstance(value, Path)}


def _unset(config: BaseModel) -> set[str]:
    """Optional fields without a value: a field that a later version adds changes no digest."""
    return {name for name in type(config).model_fields if getattr(config, name) is None}


def refuse_unsound(check: str, measured: Measured) -> None:
    """No items, or the same key twice, is a mistake in the check, not a measurement."""
    keys = [item.key for item in measured.items]
    if not keys:
        raise MeasureError(f"check {check} measured no item; give it at least one row")
    repeated = _first_repeat(keys)
    if repeated is not None:
        raise MeasureError(f"check {check} gave two items the key {repeated!r}; make keys unique")


def _first_repeat(keys: Iterable[str]) -> Any:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return None
