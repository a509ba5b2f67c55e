"""A model behind an OpenAI-compatible address: which one, and the client that asks it.

A configuration holds the name of the environment variable with the API key, never the
key. Evidence and digests hold the address' host and port, not its path: two judges at
two addresses are two judges, and some paths are secrets.
"""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, computed_field, model_validator

from registry.records import Record, UserError

NO_KEY = "none"  # openai's client wants one, and would take OPENAI_API_KEY where it gets none


class EndpointError(UserError):
    """An endpoint's key is not there, or it refuses everything that is asked of it."""


class Endpoint(Record):
    """One model at one address."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    base_url: str = Field(exclude=True)
    """Up to and with the version: ``http://127.0.0.1:8000/v1``."""
    model: str = Field(min_length=1)
    api_key_env: str | None = Field(default=None, exclude=True)
    """Name of the environment variable that holds the API key; None for a server without."""

    # One validator of the whole: an error about a field would print what stands in it, and
    # people paste keys.
    @model_validator(mode="after")
    def _no_secrets_and_an_address(self) -> Endpoint:
        if self.api_key_env is not None and not re.fullmatch(
            r"[A-Za-z_][A-Za-z0-9_]*", self.api_key_env
        ):
            raise ValueError(
                "api_key_env names an environment variable (letters, digits and _); "
                "never write the key itself"
            )
        url = urlsplit(self.base_url)
        if url.scheme not in {"http", "https"} or not url.hostname:
            raise ValueError("base_url starts with http:// or https:// and a host")
        if "@" in url.netloc or url.query or url.fragment:
            raise ValueError(
                "base_url holds no user, password or query; give the key by api_key_env"
            )
        return self

    @computed_field  # type: ignore[prop-decorator]  # as pydantic documents it
    @property
    def host(self) -> str:
        """Host and port: what evidence and digests hold of the address."""
        return urlsplit(self.base_url).netloc

    def key(self) -> str:
        """The API key from the environment. Raises EndpointError where the variable is not set."""
        if self.api_key_env is None:
            return NO_KEY
        value = os.environ.get(self.api_key_env, "").strip()
        if not value:
            raise EndpointError(
                f"the environment variable {self.api_key_env} is not set; it holds the API key "
                f"for {self.model} at {self.host}"
            )
        return value

    def client(self) -> Any:
        """An ``openai.AsyncOpenAI`` that neither retries nor logs: the caller does, and counts."""
        from openai import AsyncOpenAI

        return AsyncOpenAI(base_url=self.base_url, api_key=self.key(), max_retries=0)


class JudgeEndpoint(Endpoint):
    """A model that judges answers, and how patiently it is asked."""

    name: str = Field(min_length=1, max_length=80)
    """What people call this judge; change it when the model behind the address changes."""
    max_tokens: int = Field(default=1024, ge=1)
    """Of one of the judge's answers."""
    concurrency: int = Field(default=4, ge=1, le=256, exclude=True)
    """Calls under way at once."""
    timeout_seconds: float = Field(default=60.0, gt=0)
    """For one call, from sending to the last byte."""
    retries: int = Field(default=2, ge=0, le=10)
    """Further tries after HTTP 408, 409, 429 and 5xx, after timeouts and lost connections, and
    after answers that are not the JSON asked for. Nothing else is tried again."""
