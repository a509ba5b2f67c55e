"""The ledger: checkpoints, datasets, verdicts, aliases, experiments, answers and feedback.

One SQL database, so that one walk leads from a served answer to its variant, checkpoint,
verdict and dataset rows, and back. It keeps what it is told and judges nothing. A ledger
may be used by several threads and processes at once.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from registry import tables
from registry.aliases import standing
from registry.api_keys import ApiKeys
from registry.canaries import CanaryRows
from registry.checkpoint import Manifest
from registry.database import LedgerError, lock_for_writing
from registry.dataset import DatasetManifest
from registry.erasure import Erasures
from registry.evidence import Evidence
from registry.experiments import ExperimentRows
from registry.golden import GoldenRows
from registry.labels import LabelRows
from registry.live import LiveScores
from registry.opinions import Opinions
from registry.records import describe_unknown, short
from registry.rows import AliasChange, CheckpointRow, DatasetRow, EvidenceRow, VerdictRow
from registry.traffic import Traffic
from registry.verdict import Verdict

__all__ = [
    "AliasChange",
    "CheckpointRow",
    "DatasetRow",
    "EvidenceRow",
    "Ledger",
    "LedgerError",
    "VerdictRow",
]

MIN_PREFIX = 8  # hex digits of a digest that name it
LISTED = 10  # of what there is, in an error


class Ledger(
    Traffic,
    LiveScores,
    CanaryRows,
    ApiKeys,
    ExperimentRows,
    GoldenRows,
    Opinions,
    LabelRows,
    Erasures,
):
    """``Ledger(url)`` opens, creates or migrates the database there. Raises LedgerError."""

    # Checkpoints and datasets

    def record_checkpoint(self, manifest: Manifest, uri: str) -> None:
        """Remember a checkpoint and where it is; again with another address, the new one holds."""
        row = {
            "digest": manifest.weights_digest,
            "name": manifest.name,
            "uri": uri,
            "stage": manifest.stage,
            "parent_digest": manifest.parent_digest,
            "manifest": manifest.model_dump(mode="json"),
            "created_at": manifest.created_at,
        }
        with self._writing.begin() as connection:
            self._put(connection, tables.checkpoints, row)
            links = tables.checkpoint_datasets
            connection.execute(
                links.delete().where(links.c.checkpoint_digest == manifest.weights_digest)
            )
            used = [
                {
                    "checkpoint_digest": manifest.weights_digest,
                    "dataset_digest": dataset.digest,
                    "split": dataset.split,
                    "dataset_name": dataset.name,
                }
                for dataset in manifest.datasets
            ]
            self._add(connection, links, used)

    def checkpoints(self) -> list[CheckpointRow]:
        """Newest first."""
        return [CheckpointRow(*row) for row in self._all(_checkpoint_query())]

    def manifest(self, digest: str) -> Manifest:
        """The manifest as it was recorded, wherever the folder is now."""
        table = tables.checkpoints
        rows = self._all(sa.select(table.c.manifest).where(table.c.digest == digest))
        if not rows:
            raise LedgerError(self._no_checkpoint(digest))
        return Manifest.model_validate(rows[0].manifest)

    def resolve(self, ref: str) -> CheckpointRow:
        """The checkpoint of an alias, a name (the newest), a digest or 8 digits of one."""
        table, query = tables.checkpoints, _checkpoint_query()
        if (digest := self.alias(ref)) is not None:
            rows = self._all(query.where(table.c.digest == digest))
        else:
            rows = self._all(query.where(table.c.name == ref).limit(1))
        if not rows and (prefix := _digest_prefix(ref)):
            rows = self._all(query.where(table.c.digest.startswith(prefix)))
        if not rows:
            raise LedgerError(self._no_checkpoint(ref))
        if len(rows) > 1:
            raise LedgerError(
                f"{ref!r} fits {len(rows)} checkpoints: "
                f"{', '.join(row.digest for row in rows)}; give more digits"
            )
        return CheckpointRow(*rows[0])

    def ancestry(self, digest: str) -> list[CheckpointRow]:
        """The checkpoint, its parent, and so on as far as the ledger knows."""
        known = {row.digest: row for row in self.checkpoints()}
        line: list[CheckpointRow] = []
        current: str | None = digest
        while current in known and known[current] not in line:
            line.append(known[current])
            current = known[current].parent_digest
        return line

    def record_dataset(self, manifest: DatasetManifest, uri: str | Path) -> None:
        row = {
            "name": manifest.name,
            "digest": manifest.digest,
            "uri": str(uri),
            "licence": manifest.licence,
            "source": manifest.source,
            "num_rows": sum(file.rows for file in manifest.files.values()),
            "manifest": manifest.model_dump(mode="json"),
            "created_at": manifest.created_at,
        }
        with self._writing.begin() as connection:
            self._put(connection, tables.datasets, row)

    def datasets(self) -> list[DatasetRow]:
        """Newest first."""
        return [DatasetRow(*row) for row in self._all(_dataset_query())]

    def dataset(self, ref: str) -> DatasetRow:
        """The dataset of a name (the newest), a digest or 8 digits of one."""
        table, query = tables.datasets, _dataset_query()
        rows = self._all(query.where(table.c.name == ref).limit(1))
        if not rows and (prefix := _digest_prefix(ref)):
            rows = self._all(query.where(table.c.digest.startswith(prefix)))
        if not rows:
            known = {f"{row.name} ({short(row.digest)})": row for row in self.datasets()[:LISTED]}
            raise LedgerError(
                f"{describe_unknown('dataset', ref, known)}; make one with `hallmark data`"
            )
        if len({row.digest for row in rows}) > 1:
            raise LedgerError(
                f"{ref!r} fits {', '.join(row.digest for row in rows)}; give more digits"
            )
        return DatasetRow(*rows[0])

    # Evidence and verdicts

    def index_evidence(self, evidence: Evidence, path: str | Path) -> None:
        row = {
            "weights_digest": evidence.facts.weights_digest,
            "check_name": evidence.check,
            "config_digest": evidence.config_digest,
            "digest": evidence.digest,
            "path": str(path),
            "created_at": evidence.created_at,
        }
        with self._writing.begin() as connection:
            self._put(connection, tables.evidence, row)

    def evidence(self, weights_digest: str) -> list[EvidenceRow]:
        """What was measured on these weights, by check."""
        table = tables.evidence
        query = (
            sa.select(
                table.c.check_name,
                table.c.weights_digest,
                table.c.config_digest,
                table.c.digest,
                table.c.path,
                table.c.created_at,
            )
            .where(table.c.weights_digest == weights_digest)
            .order_by(table.c.check_name, table.c.config_digest)
        )
        return [EvidenceRow(*row) for row in self._all(query)]

    def record_verdict(self, verdict: Verdict, envelope_digest: str | None) -> int:
        """The verdict's number. Recording it again only adds the digest of its hallmark."""
        table = tables.verdicts
        row = {
            "digest": verdict.digest,
            "candidate_digest": verdict.candidate_digest,
            "status": verdict.status.value,
            "policy_digest": verdict.policy_digest,
            "envelope_digest": envelope_digest,
            "body": verdict.model_dump(mode="json"),
            "created_at": verdict.created_at,
        }
        same = table.c.digest == verdict.digest
        with self._writing.begin() as connection:
            self._add(connection, table, [row])
            if envelope_digest is not None:
                connection.execute(
                    table.update().where(same).values(envelope_digest=envelope_digest)
                )
            number: int = connection.execute(sa.select(table.c.id).where(same)).scalar_one()
            return number

    def verdicts(self, candidate_digest: str) -> list[VerdictRow]:
        """In the order of recording: the last one is the newest, and the one that holds."""
        table = tables.verdicts
        query = (
            sa.select(table.c.id, table.c.body, table.c.envelope_digest)
            .where(table.c.candidate_digest == candidate_digest)
            .order_by(table.c.id)
        )
        return [
            VerdictRow(row.id, Verdict.model_validate(row.body), row.envelope_digest)
            for row in self._all(query)
        ]

    # Aliases and revocations

    def alias(self, name: str) -> str | None:
        """The weights digest that an alias points to; None where it was never set."""
        table = tables.alias_changes
        query = sa.select(table.c.digest).where(table.c.name == name).order_by(table.c.id.desc())
        rows = self._all(query.limit(1))
        return rows[0].digest if rows else None

    def aliases(self) -> dict[str, str]:
        table = tables.alias_changes
        newest = sa.select(sa.func.max(table.c.id)).group_by(table.c.name)
        query = sa.select(table.c.name, table.c.digest).where(table.c.id.in_(newest))
        return {row.name: row.digest for row in self._all(query.order_by(table.c.name))}

    def set_alias(self, name: str, digest: str, *, by: str, reason: str) -> None:
        """Point an alias to a recorded checkpoint. Where it points there already, nothing is."""
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]*", name):
            raise LedgerError(f"{name!r} is no name for an alias; begin with a letter, no spaces")
        table = tables.checkpoints
        with self._writing.begin() as connection:
            lock_for_writing(connection)
            known = connection.execute(sa.select(table.c.digest).where(table.c.digest == digest))
            if known.first() is None:
                raise LedgerError(self._no_checkpoint(digest))
            if standing(self._history(connection, name))[-1:] != [digest]:
                self._change(connection, AliasChange(name, digest, "set", by, reason, _now()))

    def alias_history(self, name: str) -> list[AliasChange]:
        """Every change, oldest first."""
        with self._engine.connect() as connection:
            return self._history(connection, name)

    def rollback(self, name: str, *, by: str, reason: str) -> str:
        """Point an alias back to where it pointed before, and return that digest.

        This is a change like others and stays in the history; a second rollback goes one
        further back. LedgerError where there is nothing to go back to.
        """
        with self._writing.begin() as connection:
            lock_for_writing(connection)
            digests = standing(self._history(connection, name))
            if len(digests) < 2:
                pointed = (
                    f"only ever pointed to {short(digests[0])}" if digests else "was never set"
                )
                raise LedgerError(
                    f"the alias {name!r} {pointed}, so there is nothing to roll back to; "
                    "promote another checkpoint with `hallmark promote`"
                )
            self._change(connection, AliasChange(name, digests[-2], "rollback", by, reason, _now()))
            return digests[-2]

    def revoke(self, envelope_digest: str, reason: str) -> None:
        """Never admit this hallmark again; the first reason stays."""
        row = {"envelope_digest": envelope_digest, "reason": reason, "revoked_at": _now()}
        with self._writing.begin() as connection:
            self._add(connection, tables.revocations, [row])

    def revoked(self) -> frozenset[str]:
        rows = self._all(sa.select(tables.revocations.c.envelope_digest))
        return frozenset(row.envelope_digest for row in rows)

    def _history(self, connection: sa.Connection, name: str) -> list[AliasChange]:
        table = tables.alias_changes
        query = (
            sa.select(
                table.c.name,
                table.c.digest,
                table.c.kind,
                table.c.changed_by,
                table.c.reason,
                table.c.changed_at,
            )
            .where(table.c.name == name)
            .order_by(table.c.id)
        )
        return [AliasChange(*row) for row in connection.execute(query)]

    def _change(self, connection: sa.Connection, change: AliasChange) -> None:
        connection.execute(
            tables.alias_changes.insert(),
            {
                "name": change.name,
                "digest": change.digest,
                "kind": change.kind,
                "changed_by": change.by,
                "reason": change.reason,
                "changed_at": change.at,
            },
        )

    def _no_checkpoint(self, ref: str) -> str:
        newest = self.checkpoints()[:LISTED]
        known = [*self.aliases(), *(f"{row.name} ({short(row.digest)})" for row in newest)]
        return (
            f"{describe_unknown('checkpoint', ref, known)}; give an alias, a name or "
            f"at least {MIN_PREFIX} digits of a digest"
        )


def _checkpoint_query() -> sa.Select[Any]:
    table = tables.checkpoints
    return sa.select(
        table.c.digest,
        table.c.name,
        table.c.uri,
        table.c.stage,
        table.c.parent_digest,
        table.c.created_at,
    ).order_by(table.c.created_at.desc(), table.c.digest)


def _dataset_query() -> sa.Select[Any]:
    table = tables.datasets
    return sa.select(
        table.c.name,
        table.c.digest,
        table.c.uri,
        table.c.licence,
        table.c.source,
        table.c.num_rows,
        table.c.created_at,
    ).order_by(table.c.created_at.desc(), table.c.digest)


def _digest_prefix(ref: str) -> str | None:
    """What the digest begins with that ``ref`` may mean; None where it cannot mean one."""
    digits = ref.removeprefix("sha256:")
    if len(digits) < MIN_PREFIX or not re.fullmatch(r"[0-9a-f]{1,64}", digits):
        return None
    return f"sha256:{digits}"


def _now() -> datetime:
    return datetime.now(UTC)
