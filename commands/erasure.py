"""`hallmark feedback erase` and `retention`: what the ledger and the datasets forget."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

from commands.session import Session, print_json, table
from registry.dataset import DatasetError, DatasetManifest, publish_dataset, verify_dataset
from registry.erasure import ErasedDataset, Receipt
from registry.records import UserError, canonical_json, digest_of, short, write_atomically
from registry.rows import DatasetRow
from registry.served import user_digest


def unit_digests(session: Session, user: str) -> frozenset[str]:
    """Under which a person's requests are kept where only an experiment's unit named them."""
    return frozenset(
        "sha256:" + hashlib.sha256(f"{salt}:{user}".encode("utf-8", "surrogatepass")).hexdigest()
        for salt in session.ledger.salts()
    )


def erase(session: Session, user: str, *, json: bool) -> int:
    """Files first, the ledger last: where this is interrupted, the same command goes on."""
    if not user.strip():
        raise UserError("--user is empty; give the id that requests carried, as in x-hallmark-unit")
    ledger, digest, units = session.ledger, user_digest(user), unit_digests(session, user)
    traces = ledger.traces(digest, units)
    found = {row.digest: row for row in reversed(ledger.datasets())}
    order = [name for name in found if name in traces.dataset_rows]
    order += sorted(traces.dataset_rows.keys() - found.keys())
    datasets = [
        next_version(session, one, found.get(one), traces.dataset_rows[one]) for one in order
    ]
    for request_id in traces.request_ids:
        session.home.explained(request_id).unlink(missing_ok=True)
    receipt = ledger.erase(
        digest,
        units,
        datasets=datasets,
        checkpoints=ledger.tainted(traces.dataset_rows),
        now=datetime.now(UTC),
    )
    path = session.home.reports / f"{receipt.erasure_id}.json"
    write_atomically(path, canonical_json(receipt) + b"\n", mode=0o600)
    if json:
        print_json({**receipt.model_dump(mode="json"), "digest": receipt.digest})
    else:
        show(session, receipt, path)
    return 0


def next_version(
    session: Session, digest: str, row: DatasetRow | None, row_digests: Collection[str]
) -> ErasedDataset:
    """Publish a dataset version again without some rows; it becomes the newest of its name."""
    count = len(row_digests)
    if row is None:
        reason = "the ledger does not know where this version is"
        return ErasedDataset(name="unknown", digest=digest, rows=count, reason=reason)
    home, folder = session.home, Path(row.uri)
    try:
        manifest = verify_dataset(folder)
        with tempfile.TemporaryDirectory(dir=home.datasets, prefix=".erasing-") as staging:
            removed = without_rows(folder, manifest, Path(staging), row_digests)
            path, made = publish_dataset(
                Path(staging),
                home.datasets,
                name=manifest.name,
                licence=manifest.licence,
                source=manifest.source,
                recipe={**manifest.recipe, "without_rows_of": digest},
            )
    except (DatasetError, OSError) as error:
        return ErasedDataset(name=row.name, digest=digest, rows=count, reason=str(error))
    # The same rows may have been a version before; from now on it is the newest.
    made = made.model_copy(update={"created_at": datetime.now(UTC)})
    session.ledger.record_dataset(made, path)
    kept = [one for one in session.ledger.dataset_rows(digest) if one[0] not in row_digests]
    session.ledger.record_dataset_rows(made.digest, kept)
    return ErasedDataset(name=row.name, digest=digest, rows=removed, successor=made.digest)


def without_rows(
    folder: Path, manifest: DatasetManifest, staging: Path, row_digests: Collection[str]
) -> int:
    """Copy a version's files without the lines of these digests; how many were left out."""
    removed = 0
    for name in manifest.files:
        with (folder / name).open("rb") as source, (staging / name).open("wb") as target:
            for line in source:
                if digest_of(line.rstrip(b"\n")) in row_digests:
                    removed += 1
                else:
                    target.write(line)
    return removed


def show(session: Session, receipt: Receipt, path: Path) -> None:
    counts = ", ".join(f"{count} {name}" for name, count in receipt.removed.items())
    session.say(f"removed: {counts}")
    for dataset in receipt.datasets:
        after = f"next version {short(dataset.successor)}" if dataset.successor else dataset.reason
        session.say(f"  {dataset.name} {short(dataset.digest)}: {dataset.rows} rows; {after}")
    if receipt.checkpoints:
        rows = [
            (one.name, short(one.digest), "by descent" if one.inherited else "itself")
            for one in receipt.checkpoints
        ]
        columns = ("checkpoint", "digest", "saw the data")
        session.console.print(table("trained on these versions", columns, rows))
        session.say("retrain these on the next versions; old versions can be deleted then")
    session.say(f"receipt {short(receipt.digest)}: {path}")


def retention(session: Session, days: float, *, json: bool) -> int:
    """Remove texts older than so many days."""
    before = datetime.now(UTC) - timedelta(days=days)
    counts = session.ledger.sweep(before)
    old = [
        page
        for page in session.home.reports.glob("explain-*.html")
        if page.stat().st_mtime < before.timestamp()
    ]
    for page in old:
        page.unlink(missing_ok=True)
    counts["explained answers"] = len(old)
    if json:
        print_json(counts)
    else:
        session.say("removed: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    return 0


def publish_export(
    session: Session, folder: Path, rows: Collection[tuple[str, str]], experiment: str | None
) -> str:
    """Make an export a dataset version, with the answers that its rows were made of.

    ``folder`` gets the version's manifest too, so that a training names it by that digest.
    """
    home = session.home
    home.datasets.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.datasets, prefix=".staging-") as staging:
        for file in folder.glob("*.jsonl"):
            shutil.copyfile(file, Path(staging) / file.name)
        path, manifest = publish_dataset(
            Path(staging),
            home.datasets,
            name="feedback",
            licence="private",
            source="hallmark feedback export",
            recipe={"experiment": experiment},
        )
    # The rows of an erased person are gone; should they be the same again, they are new.
    session.ledger.record_dataset(
        manifest.model_copy(update={"created_at": datetime.now(UTC)}), path
    )
    session.ledger.record_dataset_rows(manifest.digest, rows)
    write_atomically(folder / "dataset.json", canonical_json(manifest))
    return manifest.digest
