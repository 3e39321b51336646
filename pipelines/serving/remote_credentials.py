"""Tokens of the clients outside this machine, and the server's certificate.

Each client has a file, ``clients/NAME.header``, with the header that lets it in; what
nginx reads is made from these files. All lies in ``<data folder>/remote-access``, which
only its owner can read.
"""

import ipaddress
import os
import re
import secrets
import signal
import subprocess
from pathlib import Path

from data_prep.errors import InputError
from data_prep.paths import data_home

DAYS = 90
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,62}")


def folder() -> Path:
    """Return the folder of everything here; made when missing."""
    path = data_home() / "remote-access"
    (path / "clients").mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def header_file(client: str) -> Path:
    """Return where a client's token is kept, in the form that clients take.

    Raises:
        InputError: No such name can be given to a client.
    """
    if not NAME.fullmatch(client):
        raise InputError(
            f"'{client}' cannot name a client; use up to 63 letters, digits, . - _"
        )
    return folder() / "clients" / f"{client}.header"


def tls_files(certificate: Path | None, key: Path | None) -> tuple[Path, Path]:
    """The PEM files of a certificate chain and its key, by which a server speaks TLS.

    Args:
        certificate, key: Of a user's own; None: what `certify` has made.

    Raises:
        InputError: Only one is given, or one is missing.
    """
    if bool(certificate) != bool(key):
        raise InputError("give both --certificate and --key, or none of them")
    certificate = certificate or folder() / "certificate.pem"
    key = key or folder() / "key.pem"
    for path in certificate, key:
        if not path.is_file():
            raise InputError(
                f"there is no {path}; name others by --certificate and --key, or, for "
                "trying, make one: scripts/remote-access certify HOST"
            )
    return certificate, key


def grant(client: str) -> Path:
    """Make a token for a client; return the file to hand over to it.

    Raises:
        InputError: It has one already.
    """
    path = header_file(client)
    if path.exists():
        raise InputError(
            f"{client} has a token already: {path}; revoke it first for a new one"
        )
    write(path, f"authorization: Bearer {secrets.token_hex(32)}\n")
    renew()
    return path


def revoke(client: str) -> None:
    """Make a client's token invalid.

    Raises:
        InputError: There is no such client.
    """
    path = header_file(client)
    if not path.exists():
        raise InputError(f"there is no client '{client}'; there are: {clients()}")
    path.unlink()
    renew()


def clients() -> str:
    names = sorted(path.stem for path in (folder() / "clients").glob("*.header"))
    return ", ".join(names) or "none"


def renew() -> None:
    """Write the tokens for nginx; let a running one read them."""
    lines = []
    for path in sorted((folder() / "clients").glob("*.header")):
        token = path.read_text(encoding="ascii").strip().partition(": ")[2]
        lines.append(f'"{token}" "{path.stem}";\n')
    write(folder() / "tokens.conf", "".join(lines))
    if pid := running():
        os.kill(pid, signal.SIGHUP)


def running() -> int | None:
    """Return the process id of the nginx of this folder."""
    try:
        pid = int((folder() / "nginx.pid").read_text())
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError):
        return None
    return pid if name == "nginx" else None


def certify(names: list[str]) -> Path:
    """Make a private key and a self-signed certificate that also is its own authority.

    Raises:
        InputError: A name is none, or openssl failed.
    """
    certificate, key = folder() / "certificate.pem", folder() / "key.pem"
    command = ["openssl", "req", "-x509", "-days", str(DAYS), "-subj", "/CN=ASL server"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for extension in (
        "subjectAltName=" + ",".join(alternative(name) for name in names),
        "keyUsage=critical,digitalSignature,keyCertSign",
    ):
        command += ["-addext", extension]
    made = {"-keyout": key, "-out": certificate}
    for option, path in made.items():
        command += [option, f"{path}.new"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise InputError(
            "there is no openssl; install it (Debian: apt install openssl)"
        ) from None
    if done.returncode:
        raise InputError(f"openssl failed: {done.stderr.strip().splitlines()[-1]}")
    for path in made.values():
        os.replace(f"{path}.new", path)
    return certificate


def alternative(name: str) -> str:
    """Write a host's name as certificates do: DNS:localhost, IP:127.0.0.1."""
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        pass
    if not NAME.fullmatch(name.removeprefix("*.")):
        raise InputError(f"'{name}' is neither a host's name nor an address")
    return f"DNS:{name}"


def write(path: Path, text: str) -> None:
    """Replace a file, at once, by one that only its owner can read."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    os.replace(new, path)
