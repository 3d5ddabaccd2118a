"""When a certificate is to be renewed."""

from __future__ import annotations

import random
from datetime import datetime

from cryptography import x509

from shoal.ca.root import BACKDATE


def validity(pem: bytes) -> tuple[datetime, datetime]:
    """From when until when the (first) certificate in `pem` is valid."""
    certificate = x509.load_pem_x509_certificate(pem)
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def renewal_moment(pem: bytes, rng: random.Random) -> datetime:
    """A random moment between 50 % and 80 % of the validity, so that a swarm's nodes do not come all at once."""
    start, end = validity(pem)
    issued = start + BACKDATE
    return issued + (end - issued) * rng.uniform(0.5, 0.8)


def expired(pem: bytes, now: datetime) -> bool:
    """Whether the certificate is past its end."""
    return validity(pem)[1] <= now
