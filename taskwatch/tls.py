"""TLS as the files say it: whom to trust, as whom to show oneself.

Invariants:
- TLS 1.2 at least; who answers is verified unless the configuration says otherwise.
- An own CA is trusted *instead of* the system's: where somebody names who may answer, a public CA
  that was tricked is nobody to ask. To trust both, one writes both into the file.
- Errors name the file and the remedy, never what stands in it.
- Files that change are read again beside the traffic. Until they can be used, those read before go on.
"""

import asyncio
import os
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from taskwatch.errors import TaskwatchError
from taskwatch.telemetry import Logger

MAX_FILE_BYTES: Final = 4 * 1024 * 1024  # all public CAs together have a quarter of a megabyte


class TlsUnusableError(TaskwatchError):
    """The files of a TLS section cannot be used. The text names the file and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom a connection trusts, and as whom it shows itself."""

    ca: Path | None = None  # instead of the system's
    cert: Path | None = None
    key: Path | None = None  # None: it stands in the file of the certificate
    verify: bool = True

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(file for file in (self.ca, self.cert, self.key) if file is not None)

    @property
    def secret(self) -> Path | None:
        """The file that holds the private key."""
        return self.key or self.cert


class Tls:
    """The TLS of all that trust alike, as its files say it now."""

    def __init__(self, trust: Trust, *, log: Logger) -> None:
        self._trust = trust
        self._log = log
        self._context: ssl.SSLContext | None = None
        self._seen: _Traces = ()
        self._reading: asyncio.Task[ssl.SSLContext] | None = None
        self._problem: str | None = None  # of the last reading; told once

    async def context(self) -> ssl.SSLContext:
        """Return the context to connect with. Raises TlsUnusableError while there has never been one."""
        traces = _traces(self._trust.files)
        if self._context is not None and traces == self._seen:
            return self._context
        if self._reading is None:
            # Of its own, and shared: whoever asked first may be cancelled while others wait for it.
            self._reading = asyncio.create_task(self._read(traces), name="read certificates")
            self._reading.add_done_callback(_retrieve)
        return await asyncio.shield(self._reading)

    async def _read(self, traces: "_Traces") -> ssl.SSLContext:
        try:
            context = await asyncio.to_thread(open_context, self._trust)
        except TlsUnusableError as error:
            if self._context is None:
                raise
            if str(error) != self._problem:
                self._problem = str(error)
                self._log.warning("certificates_unusable", error=str(error))
            return self._context
        else:
            if self._context is not None:
                self._log.info("certificates_renewed", files=[str(file) for file in self._trust.files])
            self._context, self._seen, self._problem = context, traces, None
            return context
        finally:
            self._reading = None


def _retrieve(reading: "asyncio.Task[ssl.SSLContext]") -> None:
    """Take what came of it: everybody who waited may have been cancelled."""
    if not reading.cancelled():
        reading.exception()


class TlsPool:
    """One Tls for all that trust alike: contexts are large, and connections are shared within one."""

    def __init__(self, *, log: Logger) -> None:
        self._log = log
        self._pool: dict[Trust, Tls] = {}

    def of(self, trust: Trust) -> Tls:
        if trust not in self._pool:
            self._pool[trust] = Tls(trust, log=self._log)
        return self._pool[trust]


_Traces = tuple[tuple[int, int, int] | None, ...]


def _traces(files: tuple[Path, ...]) -> _Traces:
    """Return what tells one state of the files from the next; None for one that is not there."""
    return tuple(_trace(file) for file in files)


def _trace(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def open_context(trust: Trust) -> ssl.SSLContext:
    """Make the context of a client. It reads files; raises TlsUnusableError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for file in trust.files:
        _require_readable(file)
    if not trust.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif trust.ca is not None:
        _load_ca(context, trust.ca)
    else:
        context.load_default_certs()
    if trust.cert is not None:
        _load_certificate(context, trust.cert, trust.key)
    return context


def _require_readable(file: Path) -> None:
    try:
        found = file.stat()
        if stat.S_ISREG(found.st_mode):  # a pipe would be waited for
            with file.open("rb"):
                pass
    except OSError as error:
        raise TlsUnusableError(f"cannot read {file}: {error.strerror}; {_remedy(error)}") from error
    if not stat.S_ISREG(found.st_mode):
        raise TlsUnusableError(f"{file} is not a regular file; name a file in PEM format")
    if found.st_size > MAX_FILE_BYTES:
        raise TlsUnusableError(f"{file} has more than {MAX_FILE_BYTES} bytes; name a file in PEM format")


def _remedy(error: OSError) -> str:
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return "write it there, or name another"
        case PermissionError():
            return f"let user id {os.geteuid()} read it"
        case _:
            return "mend that, or name another"


def _load_ca(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(cafile=ca)
    except (OSError, ValueError):  # SSLError is an OSError
        pass
    else:
        if context.cert_store_stats()["x509_ca"]:
            return
    raise TlsUnusableError(f"{ca} holds no certificate of a CA; write it there in PEM format")


def _load_certificate(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    place = f"{cert} and {key}" if key is not None else f"{cert}"
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except _EncryptedError:
        text = f"the key in {key or cert} is encrypted; write it without a password, readable for the daemon alone"
        raise TlsUnusableError(text) from None
    except ssl.SSLError as error:
        if "MISMATCH" in (error.reason or ""):
            text = f"the key in {key or cert} is not that of the certificate in {cert}; write the pair"
        else:
            text = f"{place} hold no certificate with its key; write both there in PEM format"
        raise TlsUnusableError(text) from None
    except (OSError, ValueError):
        raise TlsUnusableError(f"{place} cannot be read; write certificate and key there") from None


class _EncryptedError(Exception):
    """A password was asked for; without this, OpenSSL would ask the terminal."""


def _no_password() -> str:
    raise _EncryptedError
