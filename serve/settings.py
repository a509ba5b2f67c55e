"""What the gateway is told: what to serve, where, within which limits.

``ServeSettings`` is one frozen value. ``settings_from_environment`` is the only place
of this room that reads the environment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator

from registry.home import Home
from registry.records import Record, UserError
from serve.experiment_files import ExperimentDesign
from serve.feedback_kinds import Metric, load_metrics

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
    base: Path | None = None
    """The base's folder where ``checkpoint`` is a LoRA adapter; adapters of one base share
    its engine."""
    replicas: int = Field(default=1, ge=1, le=64)
    """Engines that answer for this variant on this machine."""
    engines: tuple[str, ...] = ()
    """Addresses of engines that `hallmark engine` started elsewhere, instead of ones here."""
    follows: str | None = None
    """The alias that chose the checkpoint; `hallmark promote` and `rollback` change both."""


class ServingPlan(Record):
    """Which checkpoints answer under which model name. ``salt`` fixes who sees which."""

    model_name: str = Field(pattern=NAME)
    experiment: str | None = Field(default=None, min_length=1, max_length=128)
    salt: str = ""
    cross_to: str | None = None
    """Variant that answers where the assigned one is not up; None: nobody crosses. Such
    answers are recorded outside the experiment."""
    variants: tuple[VariantPlan, ...] = Field(min_length=1)
    design: ExperimentDesign | None = None
    """The declared experiment that ``experiment`` names; its variants are these."""

    @model_validator(mode="after")
    def _can_be_split(self) -> ServingPlan:
        names = [variant.name for variant in self.variants]
        if len(set(names)) != len(names):
            raise ValueError(f"variant names repeat: {', '.join(sorted(names))}")
        if not math.fsum(variant.weight for variant in self.variants) > 0:
            raise ValueError("the variants' weights add up to 0; give one of them a weight")
        if self.cross_to is not None and self.cross_to not in names:
            raise ValueError(f"cross_to names {self.cross_to!r}; have {', '.join(sorted(names))}")
        if self.design is not None:
            declared = [variant.name for variant in self.design.variants]
            if declared != names or self.design.name != self.experiment:
                raise ValueError(
                    f"experiment {self.design.name} declares {', '.join(declared)}; the plan of "
                    f"{self.experiment} has {', '.join(names)}"
                )
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
    key: SecretStr | None = None
    """What gateways and engines on other machines show each other."""


class ServeSettings(Record):
    """Everything the gateway needs to know before it starts."""

    plan: ServingPlan
    home: Path
    ledger_url: str | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    max_in_flight: int = Field(default=64, ge=1)
    """Requests that one engine answers at a time; more of them wait, see ``max_queued``."""
    max_queued: int = Field(default=32, ge=0)
    """Requests of one variant that may wait for a slot; one more gets 429 at once."""
    queue_seconds: float = Field(default=1.0, gt=0)
    """How long a request may wait for a slot before it gets 429."""
    max_body_bytes: int = Field(default=4 * 2**20, ge=1)
    max_header_bytes: int = Field(default=32 * 2**10, ge=256)
    """Of a request's line and headers together; more gets 431."""
    header_timeout_seconds: float = Field(default=10.0, gt=0)
    """How long a request's line and headers may take to arrive; longer gets 408."""
    body_timeout_seconds: float = Field(default=60.0, gt=0)
    request_timeout_seconds: float = Field(default=600.0, gt=0)
    """Longest silence of an engine within one request."""
    answer_timeout_seconds: float = Field(default=3600.0, gt=0)
    """Longest that one answer may take altogether, however steadily it trickles."""
    reader_timeout_seconds: float = Field(default=60.0, gt=0)
    """How long a client may leave 64 KiB of its answer unread before it is cut off."""
    traces_endpoint: str | None = Field(default=None, pattern=r"^https?://")
    """Where spans go by OTLP over HTTP, as http://HOST:4318/v1/traces; None makes none."""
    grace_seconds: float = Field(default=30.0, ge=0)
    """How long running answers may take to finish after SIGTERM."""
    api_keys: tuple[SecretStr, ...] = ()
    """Keys of those who run the gateway, with every scope and no limit; everybody else's are
    made by `hallmark keys create`. Without any key of either kind none is asked for."""
    redis_url: SecretStr | None = None
    """Where several workers or gateways count the limits of keys together."""
    workers: int = Field(default=1, ge=1, le=256)
    """Processes that answer requests."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may ask from a browser, each as https://HOST; none by default."""
    store_conversations: bool = False
    """Keep questions and answers, personal data masked."""
    require_consent: bool = False
    """Keep them only where the request says that the person agreed (x-hallmark-consent)."""
    feedback_metrics: tuple[Metric, ...] = ()
    """Metrics beside those of serve.feedback_kinds; from the environment, a YAML file's."""
    record_queue: int = Field(default=10_000, ge=1)
    """Request records that may wait for the ledger; more are dropped and counted."""
    engine: EngineOptions = EngineOptions()

    @field_validator("cors_origins")
    @classmethod
    def _named_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]+", origin):
                raise ValueError(
                    f"{origin!r} is no origin; write https://HOST or https://HOST:PORT, "
                    "without a path and without *"
                )
        return origins

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

    Read are HALLMARK_HOST, _PORT, _MAX_IN_FLIGHT, _MAX_QUEUED, _QUEUE_SECONDS,
    _MAX_BODY_BYTES, _REQUEST_TIMEOUT_SECONDS, _GRACE_SECONDS, _API_KEYS (comma between),
    _STORE_CONVERSATIONS, _REQUIRE_CONSENT, _FEEDBACK_METRICS (a YAML file),
    _RECORD_QUEUE, _MAX_HEADER_BYTES, _HEADER_TIMEOUT_SECONDS,
    _BODY_TIMEOUT_SECONDS, _ANSWER_TIMEOUT_SECONDS, _READER_TIMEOUT_SECONDS, _REDIS_URL,
    _TRACES_ENDPOINT (else OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT),
    _WORKERS, _CORS_ORIGINS (comma between), and every
    field of EngineOptions as HALLMARK_ENGINE_FIELD (lists with a comma between).
    Raises SettingsError naming the variable.
    """
    skipped = {"plan", "engine", "home", "ledger_url"}
    values = _read(environ, PREFIX, set(ServeSettings.model_fields) - skipped)
    engine = _read(environ, ENGINE_PREFIX, set(EngineOptions.model_fields))
    if endpoint := _otel_endpoint(environ):
        values.setdefault("traces_endpoint", endpoint)
    try:
        return ServeSettings.model_validate({"engine": engine, **values, **given})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        variable = PREFIX + "_".join(str(part) for part in first["loc"]).upper()
        hint = f" (from {variable})" if variable in environ else ""
        raise SettingsError(f"setting {place}{hint}: {first['msg']}; change it") from error


def _otel_endpoint(environ: Mapping[str, str]) -> str | None:
    """https://opentelemetry.io/docs/specs/otel/protocol/exporter/: the base wants its path."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    base = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip()
    traces = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "").strip()
    return traces or (f"{base.rstrip('/')}/v1/traces" if base else None)


def _read(environ: Mapping[str, str], prefix: str, fields: set[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in sorted(fields):
        text = environ.get(prefix + field.upper())
        if text is None or not text.strip():
            continue
        if field in ("api_keys", "extra_args", "cores", "cors_origins"):
            values[field] = tuple(part.strip() for part in text.split(",") if part.strip())
        elif field == "feedback_metrics":
            values[field] = load_metrics(Path(text.strip()))
        else:
            values[field] = text.strip()
    return values
