"""The certificate that the API shows: read again whenever its files changed, so that renewing it needs no restart."""

from __future__ import annotations

import logging
import os
import ssl

from shoal.api.listen import TlsOptions
from shoal.model.errors import InvalidArgument

_log = logging.getLogger(__name__)

Stamp = tuple[tuple[int, int, int] | None, ...]


class Certificates:
    """TLS settings that follow their files. Connections that are open keep what they began with."""

    def __init__(self, options: TlsOptions) -> None:
        """Raises InvalidArgument when the files cannot be used to begin with."""
        self._options = options
        self._seen = self._stamp()
        self._context = options.context()

    def context(self) -> ssl.SSLContext:
        """What a new connection gets. Files that cannot be used (half of a pair is new) leave the old ones in force."""
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen = stamp
            try:
                self._context = self._options.context()
            except InvalidArgument as fault:
                _log.error("the certificate is not renewed: %s", fault)
            else:
                _log.info("the API shows the certificate %s as it is now", self._options.cert)
        return self._context

    def _stamp(self) -> Stamp:
        files = (self._options.cert, self._options.key, self._options.ca)
        return tuple(_stamp(os.fspath(path)) if path else None for path in files)


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
