"""Certificates made on the spot."""

from __future__ import annotations

import ssl
import warnings
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Authority:
    """A private authority and the files it hands out, below `folder`."""

    ca: trustme.CA
    ca_file: Path
    folder: Path

    @classmethod
    def made_in(cls, folder: Path) -> Authority:
        folder.mkdir(exist_ok=True)
        ca = trustme.CA()
        ca_file = folder / "ca.pem"
        ca.cert_pem.write_to_path(str(ca_file))
        return cls(ca, ca_file, folder)

    def client_files(self) -> tuple[Path, Path]:
        """Certificate and key of a client."""
        issued = self.ca.issue_cert("client@games.example")
        certificate, key = self.folder / "client.pem", self.folder / "client.key"
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        issued.private_key_pem.write_to_path(str(key))
        return certificate, key

    def server(self, *names: str, asks_clients: bool = False) -> ssl.SSLContext:
        """A server's side of TLS, certified for `names`."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca.issue_cert(*(names or ("127.0.0.1",))).configure_cert(context)
        if asks_clients:
            context.verify_mode = ssl.CERT_REQUIRED
            self.ca.configure_trust(context)
        return context

    def old_server(self) -> ssl.SSLContext:
        """One that never learned anything newer than TLS 1.1."""
        context = self.server()
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        return context
