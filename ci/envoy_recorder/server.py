"""A running Envoy: started from a configuration, ended by its process id."""

import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from envoy_recorder import RecorderError

START_SECONDS = 20


class Envoy:
    """A context manager: Envoy on loopback with one worker, gone when the block ends."""

    def __init__(self, binary: Path, config: Callable[[Path], dict]):
        """`config` gets the folder of this run, for access logs, and gives the bootstrap."""
        self.binary = binary
        self.config = config
        self.folder = Path(tempfile.mkdtemp(prefix="twinmesh-envoy-"))
        self.process: subprocess.Popen | None = None
        self.admin = ""

    def __enter__(self) -> "Envoy":
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_exception) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        config = dict(self.config(self.folder))
        config["admin"] = {
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
        path = self.folder / "config.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        admin = self.folder / "admin"
        log = self.folder / "log"
        with log.open("wb") as sink:
            self.process = subprocess.Popen(
                [str(self.binary), "--config-path", str(path), "--concurrency", "1",
                 "--disable-hot-restart", "--admin-address-path", str(admin),
                 "--log-level", "warning", "--file-flush-interval-msec", "20"],
                stdout=sink, stderr=sink, stdin=subprocess.DEVNULL)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            if not self.admin and admin.is_file():
                self.admin = admin.read_text(encoding="utf-8").strip()
            if self.admin and self._ready():
                return
            time.sleep(0.05)
        tail = log.read_text(encoding="utf-8", errors="replace").strip()[-1500:]
        state = "did not become ready" if self.process.poll() is None else "ended at once"
        raise RecorderError(f"Envoy {state}; its log:\n{tail}")

    def _ready(self) -> bool:
        try:
            if self.get("/ready").strip() != "LIVE":
                return False
            # LIVE may come before the worker has taken its listeners.
            stats = self.get("/stats?filter=listener_manager.workers_started")
            return stats.strip().endswith(": 1")
        except (urllib.error.URLError, OSError):
            return False

    def get(self, path: str) -> str:
        """GET from the admin interface."""
        with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=30) as answer:
            return answer.read().decode("utf-8")

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process is not None and self.process.poll() is None

    def listener_ports(self) -> dict[str, int]:
        """The port that each listener has got, by name."""
        listed = json.loads(self.get("/listeners?format=json"))
        return {status["name"]: status["local_address"]["socket_address"]["port_value"]
                for status in listed["listener_statuses"]}

    def entries(self, name: str) -> list[dict]:
        """The complete lines of a JSON access log in this run's folder."""
        try:
            text = (self.folder / name).read_text(encoding="utf-8", errors="surrogateescape")
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.split("\n")[:-1]]
