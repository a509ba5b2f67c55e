"""What the gateway is told: what to serve, where, within which limits.

``ServeSettings`` is one frozen value. ``settings_from_environment`` is the only place
of this room that reads the environment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator

from registry.home import Home
from registry.records import Record, UserError

PREFIX = "HALLMARK_"
ENGINE_PREFIX = "HALLMARK_ENGINE_"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class SettingsError(UserError):
    """A setting is missing or out of its bounds; the message names it."""


class VariantPlan(Record):
    """One checkpoint of an experiment and its share of the units."""

    name: str = Field(pattern=NAME)
    checkpoint: Path
    weight: float = Field(default=1.0, ge=0)


class ServingPlan(Record):
    """Which checkpoints answer under which model name. ``salt`` fixes who sees which."""

    model_name: str = Field(pattern=NAME)
    experiment: str | None = Field(default=None, min_length=1, max_length=128)
    salt: str = ""
    variants: tuple[VariantPlan, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _can_be_split(self) -> ServingPlan:
        names = [variant.name for variant in self.variants]
        if len(set(names)) != len(names):
            raise ValueError(f"variant names repeat: {', '.join(sorted(names))}")
        if not math.fsum(variant.weight for variant in self.variants) > 0:
            raise ValueError("the variants' weights add up to 0; give one of them a weight")
        return self


class EngineOptions(Record):
    """How each variant's vLLM process runs."""

    dtype: str = "auto"
    """``auto``: float32 on a CPU build (see engine_process), else as the checkpoint says."""
    max_model_len: int | None = Field(default=None, ge=1)
    """Tokens of context; None takes the checkpoint's own."""
    max_num_seqs: int | None = Field(default=None, ge=1)
    """Sequences that one step works on; None takes ``max_in_flight``."""
    kv_cache_gib: float | None = Field(default=None, gt=0)
    """None: a quarter of a GiB on a CPU build, vLLM's own share of the memory on a GPU."""
    compile: bool | None = None
    """torch.compile at the start: None does it on a GPU and not on a CPU build."""
    fork: bool = True
    """On a CPU build: fork the engine process instead of spawning it (see cpu_server)."""
    cores: tuple[int, ...] | None = None
    """CPU cores for all engines together, split among them; None takes all there are."""
    start_timeout_seconds: float = Field(default=600.0, gt=0)
    max_start_attempts: int = Field(default=5, ge=1)
    """Starts in a row that may fail before a variant is given up."""
    extra_args: tuple[str, ...] = ()
    """Handed to vLLM's server as they are."""


class ServeSettings(Record):
    """Everything the gateway needs to know before it starts."""

    plan: ServingPlan
    home: Path
    ledger_url: str | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    max_in_flight: int = Field(default=64, ge=1)
    """Requests of one variant answered at a time; one more gets 429."""
    max_body_bytes: int = Field(default=4 * 2**20, ge=1)
    request_timeout_seconds: float = Field(default=600.0, gt=0)
    """Longest silence of an engine within one request."""
    grace_seconds: float = Field(default=30.0, ge=0)
    """How long running answers may take to finish after SIGTERM."""
    api_keys: tuple[SecretStr, ...] = ()
    """Accepted bearer tokens; none means that no key is asked for."""
    store_conversations: bool = False
    """Keep questions and answers, personal data masked."""
    record_queue: int = Field(default=10_000, ge=1)
    """Request records that may wait for the ledger; more are dropped and counted."""
    engine: EngineOptions = EngineOptions()

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().resolve()

    @property
    def house(self) -> Home:
        return Home.at(self.home, self.ledger_url)

    @property
    def logs(self) -> Path:
        return self.home / "logs"


def settings_from_environment(environ: Mapping[str, str], **given: Any) -> ServeSettings:
    """``given`` wins; what it leaves open comes from ``HALLMARK_...`` variables.

    Read are HALLMARK_HOST, _PORT, _MAX_IN_FLIGHT, _MAX_BODY_BYTES, _REQUEST_TIMEOUT_SECONDS,
    _GRACE_SECONDS, _API_KEYS (comma between), _STORE_CONVERSATIONS, _RECORD_QUEUE, and every
    field of EngineOptions as HALLMARK_ENGINE_FIELD (lists with a comma between).
    Raises SettingsError naming the variable.
    """
    skipped = {"plan", "engine", "home", "ledger_url"}
    values = _read(environ, PREFIX, set(ServeSettings.model_fields) - skipped)
    engine = _read(environ, ENGINE_PREFIX, set(EngineOptions.model_fields))
    try:
        return ServeSettings.model_validate({"engine": engine, **values, **given})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        variable = PREFIX + "_".join(str(part) for part in first["loc"]).upper()
        hint = f" (from {variable})" if variable in environ else ""
        raise SettingsError(f"setting {place}{hint}: {first['msg']}; change it") from error


def _read(environ: Mapping[str, str], prefix: str, fields: set[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in sorted(fields):
        text = environ.get(prefix + field.upper())
        if text is None or not text.strip():
            continue
        if field in ("api_keys", "extra_args", "cores"):
            values[field] = tuple(part.strip() for part in text.split(",") if part.strip())
        else:
            values[field] = text.strip()
    return values
