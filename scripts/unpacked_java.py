"""Makes a Debian Java run from the folder it was unpacked into: its links, and its trust store.

Debian's package links its settings to ``/etc`` and leaves its trust store to a package that needs root.
"""

from __future__ import annotations

import hashlib
import ssl
import struct
import sys
import time
from pathlib import Path

# Format of Java's own key stores (JKS), version 2: all numbers big-endian, closed by a SHA-1 over the
# password, a fixed phrase and the content. Every Java since 1.2 reads it, whatever its default.
MAGIC = 0xFEEDFEED
CERTIFICATE_ENTRY = 2
PASSWORD = "changeit"
PHRASE = b"Mighty Aphrodite"


def relink(root: Path) -> None:
    """Point absolute links at the same path below ``root``, where it exists there."""
    for link in root.rglob("*"):
        if link.is_symlink() and (target := link.readlink()).is_absolute():
            here = root / target.relative_to("/")
            if here.exists():
                link.unlink()
                link.symlink_to(here.resolve())


def trust_store(certificates: list[bytes], now_ms: int) -> bytes:
    """Return a JKS trust store with these certificates (DER)."""
    body = struct.pack(">III", MAGIC, 2, len(certificates))
    for number, certificate in enumerate(certificates):
        body += struct.pack(">I", CERTIFICATE_ENTRY) + _text(f"ca-{number}") + struct.pack(">Q", now_ms)
        body += _text("X.509") + struct.pack(">I", len(certificate)) + certificate
    return body + hashlib.sha1(PASSWORD.encode("utf-16-be") + PHRASE + body).digest()


def trusted_certificates() -> list[bytes]:
    """Return the certificates (DER) that this machine trusts, by the rules of Python's ``ssl``."""
    context = ssl.create_default_context()
    if not context.get_ca_certs():
        import certifi

        context.load_verify_locations(certifi.where())
    return context.get_ca_certs(binary_form=True)


def _text(value: str) -> bytes:
    data = value.encode("ascii")
    return struct.pack(">H", len(data)) + data


def main(root: Path) -> None:
    """Prepare the Java below ``root``."""
    relink(root)
    for folder in root.glob("usr/lib/jvm/*/lib/security"):
        store = folder / "cacerts"
        if store.is_symlink() and not store.exists():
            store.unlink()
            store.write_bytes(trust_store(trusted_certificates(), int(time.time() * 1000)))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
