"""`hallmark selftest`: plant regressions in the champion and see which the gate refuses."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from commands.gate import baseline_digest
from commands.measuring import contaminations, measure
from commands.policies import ALL_CHECKS, open_policy
from commands.session import Session, print_json, table
from eval import selftest
from eval.contamination import Contamination, leaked_items
from eval.gate import Policy, judge
from eval.measure import OpenPool, collect, entry_digest, open_pool
from eval.selftest import Plant, Planted, SelftestError
from registry.evidence import Evidence, EvidenceStore, now
from registry.verdict import Status


@dataclass
class _Champion:
    """What every plant is compared with, and where the plants are grown."""

    session: Session
    policy: Policy
    folder: Path
    digest: str
    against: str
    baseline: Mapping[str, Evidence]
    training: Mapping[str, Contamination]
    garden: Path

    def candidate(
        self, name: str, folder: Path, policy: Policy, opened_by: OpenPool = open_pool
    ) -> dict[str, Evidence]:
        store = EvidenceStore(self.garden / f"evidence-{name}")
        with self.session.progress(f"measuring {name}", "items") as progress:
            return collect(
                policy, ALL_CHECKS, folder, store, progress=progress, opened_by=opened_by
            )

    def judged(
        self,
        plant: Plant,
        candidate: Mapping[str, Evidence],
        digest: str,
        training: Mapping[str, Contamination] | None = None,
    ) -> Planted:
        verdict = judge(
            self.policy,
            candidate,
            self.baseline,
            candidate_digest=digest,
            baseline_digest=self.digest,
            against=self.against,
            now=now(),
            contamination=self.training if training is None else training,
        )
        return selftest.outcome(plant, verdict)


def run_selftest(session: Session, reference: str, against: str) -> list[Planted]:
    """All plants, judged. Nothing of it is recorded, promoted or signed.

    Raises SelftestError where there is no champion to start from.
    """
    policy = open_policy(session, reference)
    digest = baseline_digest(session, against)
    if digest is None:
        raise SelftestError(
            "there is no champion to plant regressions in; promote one first: hallmark promote"
        )
    row = session.ledger.resolve(digest)
    folder = session.stored(digest)
    baseline = measure(session, policy, folder, f"{against} ({row.name})")
    training = contaminations(session, policy, digest)
    with tempfile.TemporaryDirectory(prefix="selftest-", dir=session.home.root) as garden:
        champion = _Champion(
            session, policy, folder, digest, against, baseline, training, Path(garden)
        )
        return _planted(champion)


def _planted(champion: _Champion) -> list[Planted]:
    source, garden, policy = champion.folder, champion.garden, champion.policy
    copy = selftest.noisy_copy(
        source, garden / "copy", scale=1e-6, name="selftest-copy", parent=champion.digest
    ).weights_digest
    noised = selftest.noisy_copy(
        source, garden / "noised", scale=0.5, name="selftest-noised", parent=champion.digest
    ).weights_digest
    same = champion.judged(selftest.SAME, champion.baseline, champion.digest)
    as_it_is = champion.candidate("copy", garden / "copy", policy)
    cut = champion.candidate("truncated", garden / "copy", policy, selftest.truncating)
    return [
        same,
        champion.judged(selftest.COPY, as_it_is, copy),
        champion.judged(
            selftest.NOISED, champion.candidate("noised", garden / "noised", policy), noised
        ),
        champion.judged(selftest.TRUNCATED, cut, copy),
        champion.judged(selftest.LEAKED, as_it_is, copy, _leaked(policy)),
        _swapped(champion, copy),
    ]


def _leaked(policy: Policy) -> dict[str, Contamination]:
    """What is found where the training data holds every item word for word."""
    found = {}
    for entry in policy.entries:
        rule, texts_of = entry.rule.contamination, entry.row.texts
        if rule is None or texts_of is None:
            continue
        texts = texts_of(entry.config)
        documents = [text for parts in texts.values() for text in parts]
        found[entry.name] = Contamination(
            check=entry.check,
            config_digest=entry_digest(entry)[1],
            ngram=rule.ngram,
            training=("sha256:planted",),
            num_items=len(texts),
            leaked=tuple(sorted(leaked_items(texts, documents, ngram=rule.ngram))),
        )
    return found


def _swapped(champion: _Champion, digest: str) -> Planted:
    plant = selftest.SWAPPED
    try:
        policy = selftest.swapped_labels(champion.policy, champion.garden)
    except SelftestError as error:
        return Planted(plant=plant.name, expected=plant.expected, status=None, reason=str(error))
    evidence = champion.candidate("swapped", champion.garden / "copy", policy)
    return champion.judged(plant, evidence, digest)


def command(session: Session, *, policy: str, against: str, json: bool) -> int:
    """0 where the gate said of every plant what it must, else 1."""
    planted = run_selftest(session, policy, against)
    if json:
        print_json([one.model_dump(mode="json") | {"caught": one.caught} for one in planted])
    else:
        says = {plant.name: plant.says for plant in selftest.PLANTS}
        rows = [
            (
                one.plant,
                says[one.plant],
                " or ".join(one.expected),
                one.status or "not planted",
                "[green]as it must[/]" if one.caught else "[red]WRONG[/]",
            )
            for one in planted
        ]
        columns = ("plant", "what it is", "expected", "verdict", "")
        session.console.print(table(f"selftest of policy {policy}", columns, rows))
        for one in planted:
            if one.status is not Status.PASS:
                session.say(f"  {one.plant}: {one.reason}")
        right = sum(one.caught for one in planted)
        session.say(f"{right} of {len(planted)} as they must be, against {against}")
    return 0 if all(one.caught for one in planted) else 1
