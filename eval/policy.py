"""A gate's policy: what is measured, how much may be lost, who says so and why.

The YAML is what people write; ``load_policy`` reads it, binds each entry to its
check, validates the check's own configuration and finds its files. It does not
judge anything: that is ``eval.gate``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from eval.checks import Check
from eval.policy_yaml import Marked, PolicyError, explain, read_marked
from registry.records import Record, UserError, describe_unknown, digest_of
from registry.verdict import Tier, absent
from train.overlap import NGRAM, SHORTEST

DATASET_PREFIX = "dataset:"
BUILT_IN = Path(__file__).parent / "policies"
MARGIN_REFUSED = (
    "{} is judged by its limit alone: a change against the baseline is not defined for the "
    "furthest of several groups; remove the margin"
)

Resolve = Callable[[str], Path]


class Limit(Record):
    """An absolute bound on the candidate's own value, judged by its interval:
    with ``min`` the interval's lower bound must reach it, with ``max`` the upper one
    must stay at or below it."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Limit:
        if (self.min is None) == (self.max is None):
            raise ValueError("set exactly one of min and max")
        return self

    @property
    def value(self) -> float:
        bound = self.max if self.min is None else self.min
        assert bound is not None
        return bound


class Assumed(Record):
    """What planning takes for granted where nothing was measured yet."""

    discordance: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of items on which candidate and baseline differ (0/1 checks)."""
    sd: Annotated[float, Field(gt=0)] | None = None
    """Standard deviation of an item's difference (numeric checks and bits per byte)."""
    design_effect: Annotated[float, Field(ge=1)] = 1.0
    """How much clusters inflate the variance: n items count as n / design_effect."""
    difference: float = 0.0
    """True candidate minus baseline, signed so that higher is better."""
    value: float | None = None
    """The candidate's own true value, for the limit."""
    value_sd: Annotated[float, Field(gt=0)] | None = None
    """Standard deviation of an item's own value, for the limit of a numeric check."""


class ContaminationLimit(Record):
    """How much of an entry the candidate may have been trained on (``train.overlap``)."""

    max_share: Annotated[float, Field(ge=0, lt=1)]
    """Share of the items; past it the entry FAILs."""
    ngram: Annotated[int, Field(ge=SHORTEST, le=50)] = NGRAM
    """Words in a run that an item and a training document share; shorter items are looked
    for as a whole."""


class Rule(Record):
    """One entry as written."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=80)]
    check: str
    config: dict[str, Any] = Field(default_factory=dict)
    tier: Tier
    margin: Annotated[float, Field(ge=0)] | None = None
    """Largest loss against the baseline that is accepted, in the check's unit."""
    limit: Limit | None = None
    min_items: Annotated[int, Field(ge=1)]
    alpha: Annotated[float, Field(gt=0, le=0.25)] = 0.025
    """One-sided error of each bound; .025 is the usual two-sided 95% interval."""
    max_unscored: Annotated[int, Field(ge=0)] = 0
    """Items without a value that are accepted on either side. One without a value on one
    side only counts as the worst for the candidate or the best for the baseline."""
    reason: Annotated[str, Field(min_length=1)]
    owner: Annotated[str, Field(min_length=1)]
    assumed: Assumed | None = None
    contamination: ContaminationLimit | None = Field(default=None, exclude_if=absent)

    @model_validator(mode="after")
    def _judged_by_something(self) -> Rule:
        if self.tier != "watch" and self.margin is None and self.limit is None:
            raise ValueError(f"a {self.tier} entry needs a margin, a limit, or both")
        return self


class Written(Record):
    """The policy file as parsed, before its files are looked up: the digest is over this."""

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=80)]
    power: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Chance that planning asks for: all required entries of an equal candidate PASS."""
    include: tuple[str, ...] = ()
    """Files, relative to this one, whose ``entries`` come before its own. What is loaded has
    their entries in it and no include, so the digest is over what is judged by."""
    entries: tuple[Rule, ...] = ()


class Included(Record):
    """A file of entries that several policies share; a whole policy may be included too."""

    entries: Annotated[tuple[Rule, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Entry:
    """One rule bound to its row in the table of checks.

    ``config`` is the check's own validated configuration with every file found.
    """

    rule: Rule
    row: Check
    config: BaseModel

    @property
    def name(self) -> str:
        return self.rule.name

    @property
    def check(self) -> str:
        return self.rule.check


@dataclass(frozen=True)
class Policy:
    """A policy ready to measure and to judge by."""

    written: Written
    entries: tuple[Entry, ...]

    @property
    def name(self) -> str:
        return self.written.name

    @property
    def digest(self) -> str:
        """Over the policy as written, its file references unresolved: machine-independent."""
        return digest_of(self.written)

    @property
    def required(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.rule.tier == "required")


def policy_path(name_or_path: str) -> Path:
    """A file as given, or a policy shipped with the package by its name."""
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"} or path.exists():
        return path
    shipped = {file.stem: file for file in sorted(BUILT_IN.glob("*.yaml"))}
    if name_or_path in shipped:
        return shipped[name_or_path]
    raise PolicyError(
        f"{describe_unknown('policy', name_or_path, shipped)}; or give the path of a .yaml file"
    )


def policy_schema() -> dict[str, Any]:
    """JSON Schema of the YAML file, for editors and for CI."""
    return Written.model_json_schema()


def load_policy(path: Path, checks: Sequence[Check], resolve: Resolve) -> Policy:
    """Read, validate and bind a policy. Raises PolicyError naming file, line, entry and key.

    A configuration string ``dataset:NAME/FILE`` becomes ``resolve(that string)``; any
    other relative file of a check is relative to the policy's folder and must exist.
    """
    marked = read_marked(path)
    written = _validated(Written, marked)
    shared = [_included(marked, index) for index in range(len(written.include))]
    parts = [(part, _entries_of(part)) for part in shared]
    parts.append((marked, written.entries))
    placed = [(rule, part, at) for part, rules in parts for at, rule in enumerate(rules)]
    if not placed:
        raise marked.error(("entries",), "a policy needs at least one entry, its own or included")
    table = {check.name: check for check in checks}
    entries: list[Entry] = []
    for rule, part, index in placed:
        at = ("entries", index)
        if any(rule.name == other.name for other in entries):
            raise part.error((*at, "name"), f"two entries are named {rule.name!r}; rename one")
        row = table.get(rule.check)
        if row is None:
            raise part.error((*at, "check"), describe_unknown("check", rule.check, table))
        _refuse_pointless_limit(rule, row, part, (*at, "limit"))
        if row.kind == "contrasts" and rule.margin is not None:
            raise part.error((*at, "margin"), MARGIN_REFUSED.format(row.name))
        if rule.contamination is not None and row.texts is None:
            have = ", ".join(sorted(name for name, check in table.items() if check.texts))
            raise part.error(
                (*at, "contamination"),
                f"{row.name} does not say what its items are, so they cannot be looked for in "
                f"training data; these checks do: {have}",
            )
        config = _bind_config(rule, row, part, (*at, "config"), resolve)
        entries.append(Entry(rule, row, config))
    rules = tuple(rule for rule, _, _ in placed)
    return Policy(written.model_copy(update={"include": (), "entries": rules}), tuple(entries))


M = TypeVar("M", Written, Included)


def _validated(model: type[M], marked: Marked) -> M:
    try:
        return model.model_validate(marked.value)
    except ValidationError as error:
        raise explain(error, model, marked) from None


def _entries_of(part: Marked) -> tuple[Rule, ...]:
    """The entries of an included file: a list of them, or a whole policy's own."""
    if "name" not in part.value:
        return _validated(Included, part).entries
    policy = _validated(Written, part)
    if policy.include:
        raise part.error(("include",), "an included policy may not include others; name them here")
    return policy.entries


def _included(policy: Marked, index: int) -> Marked:
    """The index-th included file. Raises PolicyError at the line that names it."""
    file = policy.path.parent / policy.value["include"][index]
    if not file.is_file():
        raise policy.error(
            ("include", index), f"no file {file}; included files are relative to the policy"
        )
    return read_marked(file)


def _refuse_pointless_limit(
    rule: Rule, row: Check, marked: Marked, at: tuple[str | int, ...]
) -> None:
    if rule.limit is None:
        return
    wanted = "min" if row.higher_is_better else "max"
    if getattr(rule.limit, wanted) is None:
        better = "higher" if row.higher_is_better else "lower"
        other = "max" if wanted == "min" else "min"
        raise marked.error(at, f"{better} is better for {row.name}: set {wanted}, not {other}")
    low, high = row.bounds
    value = rule.limit.value
    if (low is not None and value < low) or (high is not None and value > high):
        raise marked.error(
            (*at, wanted), f"{value} lies outside {row.name}'s range {_range(low, high)}"
        )
    if row.kind == "contrasts" and value <= 0:
        raise marked.error((*at, wanted), "no interval lies within 0 on both sides; set more")


def _range(low: float | None, high: float | None) -> str:
    return f"[{'-inf' if low is None else low}, {'inf' if high is None else high}]"


def _bind_config(
    rule: Rule, row: Check, marked: Marked, at: tuple[str | int, ...], resolve: Resolve
) -> BaseModel:
    config = dict(rule.config)
    for key, value in rule.config.items():
        if not isinstance(value, str):
            continue
        if value.startswith(DATASET_PREFIX):
            try:
                config[key] = resolve(value)
            except UserError as error:
                raise marked.error((*at, key), str(error)) from error
        elif _takes_a_path(row.config, key, value):
            file = marked.path.parent / value
            if not file.exists():
                raise marked.error((*at, key), f"no file {file}; paths are relative to the policy")
            config[key] = file
    try:
        return row.config.model_validate(config)
    except ValidationError as error:
        raise explain(error, row.config, marked, prefix=at, shown=rule.config) from None


def _takes_a_path(model: type[BaseModel], key: str, value: str) -> bool:
    """Whether a value is a file's path; where a name is allowed too, YAML files are paths."""
    field = model.model_fields.get(key)
    if field is None:
        return False
    kinds = (field.annotation, *get_args(field.annotation))
    return Path in kinds and (str not in kinds or value.endswith((".yaml", ".yml")))


def file_references(config: Mapping[str, Any]) -> list[str]:
    """The ``dataset:`` references of an entry's configuration as written."""
    return [v for v in config.values() if isinstance(v, str) and v.startswith(DATASET_PREFIX)]
