"""Endpoints that follow an endpoint script (docs/formats.md), over HTTP/1.1 on loopback."""

import socket
import threading
import time

from envoy_recorder import RecorderError
from envoy_recorder.backend import first_lines


class Scripted:
    """A context manager: every address but those that the script has gone for ever accepts. Each
    connection has a thread."""

    def __init__(self, addresses: list[tuple[str, int]], script: dict):
        self.entries = script.get("endpoint", [])
        self.addresses = [it for it in addresses if not self._is_gone(name(it))]
        self.listeners: list[socket.socket] = []
        self.turns: dict[tuple, int] = {}
        self.lock = threading.Lock()

    def __enter__(self) -> "Scripted":
        for address in self.addresses:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listeners.append(listener)
            try:
                listener.bind(address)
                listener.listen(64)
            except OSError as error:
                self.__exit__()
                raise RecorderError(f"cannot listen as endpoint {name(address)}: {error}") from error
            threading.Thread(target=self._accept, args=(listener, name(address)), daemon=True).start()
        return self

    def __exit__(self, *_exception) -> None:
        for listener in self.listeners:
            # Whoever waits in accept(2) wakes up.
            try:
                listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            listener.close()

    def restart(self) -> None:
        """All rules start over: another run begins."""
        with self.lock:
            self.turns.clear()

    def _is_gone(self, endpoint: str) -> bool:
        gone = False
        for entry in self.entries:
            if entry["address"] not in ("*", endpoint):
                continue
            for outage in entry.get("outage", []):
                if outage != {"kind": "refused"}:
                    raise RecorderError("only an outage by refused connections that lasts for ever "
                                        "can be recorded")
                gone = True
        return gone

    def _accept(self, listener: socket.socket, endpoint: str) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection, endpoint), daemon=True).start()

    def _serve(self, connection: socket.socket, endpoint: str) -> None:
        received = b""
        with connection:
            try:
                while True:
                    while b"\r\n\r\n" not in received:
                        data = connection.recv(65536)
                        if not data:
                            return
                        received += data
                    head, _, received = received.partition(b"\r\n\r\n")
                    if not answer(connection, head, self._reply(endpoint, head)):
                        return
            except OSError:
                return

    def _reply(self, endpoint: str, head: bytes) -> dict:
        for place, entry in enumerate(self.entries):
            if entry["address"] not in ("*", endpoint):
                continue
            for index, rule in enumerate(entry.get("rule", [])):
                if fits(rule, head):
                    return self._turn((place, index, endpoint), rule["answers"])
        return {}

    def _turn(self, key: tuple, answers: list[dict]) -> dict:
        with self.lock:
            turn = self.turns.get(key, 0)
            self.turns[key] = turn + 1
        left = turn % sum(it.get("times", 1) for it in answers)
        for found in answers:
            left -= found.get("times", 1)
            if left < 0:
                return found
        return {}


def name(address: tuple[str, int]) -> str:
    """As scripts name it."""
    return f"{address[0]}:{address[1]}"


def fits(rule: dict, head: bytes) -> bool:
    """Whether a rule is for a request; only by paths, which nothing rewrites."""
    if set(rule) - {"path", "path_prefix", "answers"}:
        raise RecorderError(f"only rules by path can be recorded, found {sorted(rule)}")
    path = head.split(b" ")[1].partition(b"?")[0].decode("latin-1")
    return rule.get("path", path) == path and path.startswith(rule.get("path_prefix", ""))


def answer(connection: socket.socket, head: bytes, reply: dict) -> bool:
    """Answers; whether the connection goes on."""
    time.sleep(reply.get("latency_us", 0) / 1_000_000)
    reset = reply.get("reset")
    if reset not in (None, "before_headers", "after_headers"):
        raise RecorderError(f"a reset by {reset} cannot be recorded")
    if reset == "before_headers":
        return False
    headers = [*reply.get("headers", []), ("x-head", first_lines(head).decode())]
    body = b"" if "grpc_status" in reply else b"body"
    if "grpc_status" in reply:
        headers.append(("grpc-status", str(reply["grpc_status"])))
    lines = "".join(f"{key}: {value}\r\n" for key, value in headers)
    text = f"HTTP/1.1 {reply.get('status', 200)} Scripted\r\n{lines}content-length: {len(body)}\r\n\r\n"
    if reset == "after_headers":
        connection.sendall(text.encode() + body[:2])
        return False
    connection.sendall(text.encode() + body)
    return True
