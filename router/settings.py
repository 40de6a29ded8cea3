"""Environment to one frozen object, read once at start. No other module reads the environment.

Belongs here: names, defaults and checks of `COSTROUTER_*`, and which provider keys are set.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

LEAST_HUNG_S: Final = 2.0


class SettingsError(Exception):
    """A setting that cannot work; the message names the variable and what would be right."""


class Settings(BaseModel):
    """Everything that the environment decides. Field ``port`` is read from ``COSTROUTER_PORT``, and so on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    data_dir: Path = Path(".costrouter")
    """Journal, embedded store, generated keys. Mode 0700."""
    policies: Path | None = None
    """Directory of policies and catalog; the packaged one when unset."""
    workers: int = Field(default=0, ge=0, le=256)
    """Processes that serve; 0 means one per core, at most four."""
    redis_url: str | None = None
    """Read from ``REDIS_URL``. The embedded store when unset."""
    store_binary: str | None = None
    store_wait_s: float = Field(default=2.0, ge=0, le=60)
    """How long a request waits for a store that is away before it is refused, in seconds."""
    dev_key: SecretStr | None = None
    admin_key: SecretStr | None = None
    sim: bool | None = None
    """Simulated providers: unset means only when no provider key is found."""
    sim_speed: float = Field(default=1.0, ge=0)
    """Divides the simulated providers' waiting times; 0 means no waiting."""
    sim_batch_speed: float = Field(default=60.0, gt=0)
    """How much faster than real time the simulated providers' batches live."""
    serves: bool = True
    """Whether this node answers callers. One that does not looks after jobs only: `costrouter broker`."""
    broker: bool = True
    """Whether this node's workers look after jobs too. Without, another node's must."""
    blobs: str = ""
    """Directory or URL (``s3://…``) for payloads of jobs and batches; ``blobs`` in the data directory when empty."""
    blob_secret: SecretStr | None = None
    """What they are encrypted with, and answers that are kept; drawn and kept in the data directory when unset. A fleet's
    nodes need the same."""
    hold_s: float = Field(default=900.0, ge=0, le=86_400)
    """How long the connection of a request with a deadline is held, in seconds."""
    journal_sync_s: float = Field(default=0, ge=0, le=60)
    """How often the journal is brought to the disk itself, in seconds. With 0 the kernel sees to that: a machine that
    loses power may then lose what its disk did not have yet, a process that dies loses nothing."""
    drain_s: float = Field(default=25.0, ge=0, le=3600)
    """How long requests under way may take to end after SIGTERM, in seconds."""
    hung_s: float = Field(default=20.0, ge=0, le=3600)
    """How long a worker's event loop may stand still before another takes the worker's place, in seconds; 0 for ever."""
    linger_s: float = Field(default=0, ge=0, le=600)
    """How long a node that was told to stop serves on, /readyz down, so that load balancers send no more, in seconds."""
    max_body_mb: int = Field(default=64, ge=1, le=1024)
    attempts: int = Field(default=3, ge=1, le=10)
    """Most attempts of a request, the first among them, where its policy does not say."""
    retry_within_s: float = Field(default=30.0, ge=0, le=3600)
    """No further attempt begins later than this after the request came, where its policy does not say."""
    provider_keys: Path | None = None
    """File of providers' keys, ``NAME=value`` a line, beside those in the environment; read again when it changes."""
    breaker: bool = True
    """Whether a provider's key that fails, or whose rate has run out, is left alone for a while."""
    connect_timeout_s: float = Field(default=5.0, gt=0, le=600)
    first_byte_timeout_s: float = Field(default=120.0, gt=0, le=3600)
    chunk_timeout_s: float = Field(default=60.0, gt=0, le=3600)
    total_timeout_s: float = Field(default=600.0, gt=0, le=24 * 3600)
    """Bounds on an exchange with a provider, where neither the policy nor the catalog says."""
    upstream_proxy: str | None = None
    """URL of an HTTP proxy for calls to providers."""
    alert_url: str | None = Field(default=None, pattern="^https?://[^/@ ]+(/[^ ]*)?$")
    """Where budget alerts are sent."""
    alert_secret: SecretStr | None = None
    """Signs them."""
    alert_format: str = Field(default="json", pattern="^(json|slack)$")
    alert_private: bool = False
    """Whether they may be sent to an address that is not public."""
    idempotency_hours: int = Field(default=24, ge=1, le=24 * 30)
    """How long the answer to a request with an Idempotency-Key is kept to be given again."""
    answers_mb: int = Field(default=64, ge=1, le=65_536)
    """Most megabytes of one tenant's kept answers in the store; those that end first go first."""
    responses_days: float = Field(default=30, gt=0, le=30)
    """How long a response can be gone on from; OpenAI keeps them for 30 days."""
    responses_mb: int = Field(default=64, ge=1, le=65_536)
    """Most megabytes of one tenant's remembered responses in the store; those that end first go first."""
    traces: str = Field(default="", pattern="^(https?://[^/@ ]+(/[^ ]*)?)?$")
    """OTLP/HTTP receiver of traces, such as ``http://collector:4318/v1/traces``; none when empty."""
    traces_share: float = Field(default=1.0, ge=0, le=1)
    """Of the requests that their callers do not trace, how many are traced."""
    traces_context: str = Field(default="accept", pattern="^(off|accept|pass)$")
    """A caller's ``traceparent``: left alone, gone on from, or gone on from and passed on to providers."""
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    archive: str = ""
    """Directory or URL (``s3://…``) for rows of closed hours; ``archive`` in the data directory when empty. A store of one's own
    may have several nodes, so without a place that is named closed hours stay in it."""
    archive_after: int = Field(default=48, ge=1, le=24 * 366)
    """Hours after which a closed hour's rows go to the archive."""
    decisions_mb: int = Field(default=32, ge=0, le=4096)
    """What each worker's decision log may take of the store's memory; 0 keeps none."""
    environment: Mapping[str, str] = Field(default_factory=dict, repr=False)
    """The whole environment, for provider keys named by the catalog (`key_env`, `env:` base URLs)."""

    @field_validator("archive", "blobs")
    @classmethod
    def _place(cls, given: str) -> str:
        if re.match(r"[A-Za-z][A-Za-z0-9+]*:", given) and not re.match(r"(s3|gs|file)://[^/]", given):
            raise ValueError(f"{given!r} must be a directory, or a URL such as s3://bucket/path")
        return given

    @field_validator("hung_s")
    @classmethod
    def _patient(cls, given: float) -> float:
        if 0 < given < LEAST_HUNG_S:
            raise ValueError(f"must be at least {LEAST_HUNG_S:g}, or 0 for never: a busy worker is not one that hangs")
        return given

    @field_validator("dev_key", "admin_key")
    @classmethod
    def _sendable(cls, given: SecretStr | None) -> SecretStr | None:
        if given is None:
            return None
        key = given.get_secret_value().strip()
        if not key or not all("!" <= character <= "~" for character in key):
            raise ValueError("must be printable ASCII without spaces, as it travels in a header")
        return SecretStr(key)

    @property
    def max_body(self) -> int:
        """`max_body_mb` in bytes."""
        return self.max_body_mb * 1024 * 1024

    @property
    def archives(self) -> bool:
        """Whether closed hours leave the store by themselves."""
        return bool(self.archive) or self.redis_url is None

    @property
    def archive_place(self) -> str:
        """Where the archive lies."""
        return self.archive or str(self.data_dir.resolve() / "archive")

    @property
    def blobs_place(self) -> str:
        """Where payloads of jobs lie."""
        return self.blobs or str(self.data_dir.resolve() / "blobs")

    @property
    def loopback(self) -> bool:
        """True when only this machine can reach the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def worker_count(self) -> int:
        """Processes that serve."""
        return self.workers or min(os.cpu_count() or 1, 4)


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Settings from ``COSTROUTER_*`` and ``REDIS_URL``.

    Raises:
        SettingsError: a value that cannot work, or an unknown ``COSTROUTER_*`` name.
    """
    known = set(Settings.model_fields) - {"environment", "redis_url"}
    values: dict[str, object] = {"environment": dict(environment)}
    for name, value in environment.items():
        if not name.startswith("COSTROUTER_"):
            continue
        field = name.removeprefix("COSTROUTER_").lower()
        if field not in known:
            options = ", ".join(sorted(f"COSTROUTER_{option.upper()}" for option in known))
            raise SettingsError(f"{name} is not a setting. The settings are {options}.")
        if value != "":
            values[field] = value
    if environment.get("REDIS_URL"):
        values["redis_url"] = environment["REDIS_URL"]
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = "COSTROUTER_" + str(first["loc"][0]).upper()
        raise SettingsError(f"{name}: {first['msg']}") from None
