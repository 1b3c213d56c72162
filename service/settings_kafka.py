"""Settings of the brokers, of how they are trusted, and of the topics."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from service.settings_types import Group, Topic


class SecuritySettings(Group):
    """How the brokers are to be trusted, and how we show who we are."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """As the brokers' listener has it."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """The strongest that the client speaks is the default."""
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    """A file that holds the password, as Docker and Kubernetes mount secrets."""
    ssl_cafile: Path | None = None
    """The authority's certificate; without it the system's own authorities are trusted."""
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None

    @field_validator("password_file", "ssl_cafile", "ssl_certfile", "ssl_keyfile")
    @classmethod
    def _readable(cls, path: Path | None) -> Path | None:
        if path is not None and not (path.is_file() and os.access(path, os.R_OK)):
            raise ValueError(f"there is no readable file {path}")
        return path

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.password is not None and self.password_file is not None:
            raise ValueError("both password and password_file are set; keep one")
        if self.sasl and (self.username is None or (self.password is None and self.password_file is None)):
            raise ValueError(f"{self.protocol} needs username and password (or password_file); set them")
        if not self.sasl and (self.username or self.password or self.password_file):
            raise ValueError(
                f"username and password are not used by {self.protocol}; use SASL_SSL or remove them"
            )
        if not self.ssl and (self.ssl_cafile or self.ssl_certfile or self.ssl_keyfile):
            raise ValueError(
                f"certificates are not used by {self.protocol}; use SSL or SASL_SSL or remove them"
            )
        if (self.ssl_certfile is None) != (self.ssl_keyfile is None):
            raise ValueError("ssl_certfile and ssl_keyfile go together; set both or neither")
        return self

    @property
    def sasl(self) -> bool:
        """Whether a name and a password are asked for."""
        return self.protocol.startswith("SASL")

    @property
    def ssl(self) -> bool:
        """Whether the connection is encrypted."""
        return self.protocol.endswith("SSL")

    def read_password(self) -> str | None:
        """Return the password, from its file if it is in one. Never log it."""
        if self.password_file is not None:
            return self.password_file.read_text(encoding="utf-8").rstrip("\r\n")
        return None if self.password is None else self.password.get_secret_value()


class KafkaSettings(Group):
    """The brokers and the consumer group."""

    bootstrap_servers: str = "localhost:9092"
    """`host:port`, several by commas."""
    group_id: str = Field(default="onward", min_length=1)
    session_timeout_seconds: float = Field(default=10.0, ge=6.0, le=300.0)
    """How long the partitions of a killed worker stay without one. 6 is the least that brokers allow by
    default; heartbeats have a thread of their own, so a busy worker does not miss them."""
    security: SecuritySettings = SecuritySettings()

    @field_validator("bootstrap_servers")
    @classmethod
    def _host_and_port(cls, servers: str) -> str:
        parts = [part.strip() for part in servers.split(",") if part.strip()]
        for part in parts:
            if not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}", part):
                raise ValueError("host:port is needed, several by commas, such as kafka-1:9092,kafka-2:9092")
        if not parts:
            raise ValueError("at least one host:port is needed, such as localhost:9092")
        return ",".join(parts)


class TopicSettings(Group):
    """The topics. `onward doctor` checks them and says how to create what is missing."""

    events: Topic = "onward.events"
    labels: Topic = "onward.labels"
    """Reserved for labels that come apart from their events; nothing reads it yet."""
    predictions: Topic = "onward.predictions"
    dead_letters: Topic = "onward.dead-letters"
    checkpoints: Topic = "onward.checkpoints"
    create: bool = True
    """Whether a worker makes the topics that are missing."""
    partitions: int = Field(default=6, ge=1, le=10_000)
    """Of topics that are made, where there is no events topic to go by; the most workers that can share them."""
    replication_factor: int | None = Field(default=None, ge=1, le=32)
    """Of topics that are made; without it three, or as many as there are brokers."""

    @model_validator(mode="after")
    def _different(self) -> Self:
        names = [self.events, self.labels, self.predictions, self.dead_letters, self.checkpoints]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(
                f"{', '.join(sorted(twice))} is used for two things; give each topic its own name"
            )
        return self
