"""Certificates for tests, made by the ``openssl`` program.

There is an authority, and there are the certificates that it signs.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

OPENSSL: Final = shutil.which("openssl")
CONFIG: Final = """\
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key, each a file in PEM."""

    cert: Path
    key: Path

    def together(self) -> Path:
        """Return a file with key and certificate, as Kafka's PEM key store wants them."""
        path = self.cert.with_suffix(".both.pem")
        path.write_text(self.key.read_text() + self.cert.read_text())
        return path


def make_authority(folder: Path, name: str) -> Certificate:
    """Return a new authority that signs itself."""
    return _make(folder, name, "authority", CONFIG, [])


def sign(authority: Certificate, folder: Path, name: str, hosts: str = "", password: str = "") -> Certificate:
    """Return a certificate for ``CN=name``.

    ``hosts`` is written as ``IP:127.0.0.1,DNS:localhost``; ``password`` encrypts the key.
    """
    config = CONFIG + (f"subjectAltName = {hosts}\n" if hosts else "")
    made = _make(folder, name, "leaf", config, ["-CA", str(authority.cert), "-CAkey", str(authority.key)])
    if password:
        _openssl(
            "pkey", "-in", str(made.key), "-aes256", "-passout", "stdin", "-out", str(made.key) + ".new", given=password
        )
        Path(f"{made.key}.new").replace(made.key)
    return made


def _make(folder: Path, name: str, extensions: str, config: str, more: list[str]) -> Certificate:
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    file = folder / f"{name}.cnf"
    file.write_text(config)
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
        *("-config", str(file), "-extensions", extensions, "-subj", f"/CN={name}"),
        *("-keyout", str(made.key), "-out", str(made.cert)),
        *more,
    )
    return made


def _openssl(*arguments: str, given: str = "") -> None:
    subprocess.run([str(OPENSSL), *arguments], input=given.encode(), check=True, capture_output=True, timeout=30)
