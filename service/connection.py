"""How to reach the brokers: the settings as the arguments of aiokafka's producers, consumers and admin clients."""

from __future__ import annotations

import ssl
from typing import Any

from service.settings import KafkaSettings, SecuritySettings


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return what every aiokafka client takes: the brokers and the security. Never log it: a password may be in it.

    >>> client_options(KafkaSettings(bootstrap_servers="a:9092,b:9092"))
    {'bootstrap_servers': ['a:9092', 'b:9092'], 'security_protocol': 'PLAINTEXT'}
    """
    security = kafka.security
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap_servers.split(","),
        "security_protocol": security.protocol,
    }
    if security.ssl:
        options["ssl_context"] = ssl_context(security)
    if security.sasl:
        options |= {
            "sasl_mechanism": security.sasl_mechanism,
            "sasl_plain_username": security.username,
            "sasl_plain_password": security.read_password(),
        }
    return options


def ssl_context(security: SecuritySettings) -> ssl.SSLContext:
    """Return the context that checks the brokers' certificates and names, and shows ours if there is one."""
    context = ssl.create_default_context(cafile=security.ssl_cafile)
    if security.ssl_certfile is not None:
        context.load_cert_chain(security.ssl_certfile, security.ssl_keyfile)
    return context
