"""A CA and certificates of it, made with openssl."""

import shutil
import subprocess
from pathlib import Path

import pytest


def make_certificates(folder: Path) -> None:
    """`ca.pem`, and `.pem` and `.key` of a server and a client that are called localhost."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make certificates with")
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    short = ("-days", "2", "-addext")
    _openssl(folder, *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=CA", "-days", "2")
    for name in ("server", "client"):
        _openssl(
            *(
                folder,
                *new,
                "-keyout",
                f"{name}.key",
                "-out",
                f"{name}.pem",
                "-subj",
                f"/CN={name}",
            ),
            *("-CA", "ca.pem", "-CAkey", "ca.key", *short, "subjectAltName=DNS:localhost"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
        )


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["openssl", *arguments],  # noqa: S607
        cwd=folder,
        check=True,
        capture_output=True,
    )
