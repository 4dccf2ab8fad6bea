"""Sends raw request heads to a real Envoy and notes what it makes of each."""

import json
import re
import socket
import time
from pathlib import Path

from envoy_recorder import RecorderError
from envoy_recorder.client import final
from envoy_recorder.server import Envoy

HCM = ("type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
       "HttpConnectionManager")
LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"

# Runs after the connection manager has chosen the route, so it sees what header matchers saw.
SCRIPT = """
local function hex(text)
  return (text:gsub(".", function(c) return string.format("%02x", c:byte()) end))
end
function envoy_on_request(handle)
  local lines = {}
  for name, value in pairs(handle:headers()) do
    lines[#lines + 1] = hex(name) .. " " .. hex(value)
  end
  local seen = table.concat(lines, ",")
  -- A header's value where it fits, as the answer to HEAD has no body.
  if #seen < 16000 then
    handle:respond({[":status"] = "200", ["x-seen"] = seen}, "")
  else
    handle:respond({[":status"] = "200"}, seen)
  end
end
"""

# Envoy gives up on an unfinished head after this time, and answers 408.
HEAD_TIMEOUT = "0.400s"
ANSWER_SECONDS = 1.5
LONG = 2048
UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def config(folder: Path) -> dict:
    """Default options, a listener that also takes HTTP/1.0, and three that strip the authority."""
    return {"static_resources": {"listeners": [
        listener("default", folder, {}),
        listener("accept_http_10", folder, {"http_protocol_options": {"accept_http_10": True}}),
        listener("strip_trailing_host_dot", folder, {"strip_trailing_host_dot": True}),
        listener("strip_any_host_port", folder, {"strip_any_host_port": True}),
        listener("strip_dot_and_port", folder, {
            "strip_trailing_host_dot": True, "strip_any_host_port": True}),
    ]}}


def listener(name: str, folder: Path, options: dict) -> dict:
    """A listener whose only virtual host takes everything."""
    manager = {
        "@type": HCM, "stat_prefix": name, "request_headers_timeout": HEAD_TIMEOUT,
        "route_config": {"name": "rc", "virtual_hosts": [{
            "name": "v", "domains": ["*"],
            "routes": [{"name": "r", "match": {"prefix": "/"},
                        "direct_response": {"status": 204}}]}]},
        "http_filters": [
            {"name": "lua", "typed_config": {
                "@type": LUA, "default_source_code": {"inline_string": SCRIPT}}},
            {"name": "router", "typed_config": {"@type": ROUTER}}],
        "access_log": [{"name": "log", "typed_config": {
            "@type": FILE_LOG, "path": str(folder / "access"),
            "log_format": {"json_format": {
                "from": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", "status": "%RESPONSE_CODE%",
                "details": "%RESPONSE_CODE_DETAILS%", "flags": "%RESPONSE_FLAGS%",
                "route": "%ROUTE_NAME%"}}}}],
        **options,
    }
    return {"name": name,
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
            "filter_chains": [{"filters": [{
                "name": "hcm", "typed_config": manager}]}]}


def record(binary: Path, heads: list[dict]) -> list[dict]:
    """One verdict for each head, in order."""
    with Envoy(binary, config) as envoy:
        ports = envoy.listener_ports()
        answers = []
        for index, head in enumerate(heads):
            port = ports[head.get("listener", "default")]
            answers.append(send(peer(index), port, head_text(head).encode("latin-1")))
            if not envoy.alive():
                raise RecorderError(f"Envoy ended at head {head['id']}")
        time.sleep(0.5)
        logged: dict[str, list[dict]] = {}
        for entry in envoy.entries("access"):
            logged.setdefault(entry["from"], []).append(entry)
    return [verdict(head, answer, logged.get(peer(index), []))
            for index, (head, answer) in enumerate(zip(heads, answers))]


def head_text(head: dict) -> str:
    """A head's bytes, as Latin-1: `head`, or `parts` repeated."""
    if "head" in head:
        return head["head"]
    return "".join(text * count for text, count in head["parts"])


def peer(index: int) -> str:
    """A source address of its own for each head, by which the access log tells them apart."""
    return f"127.1.{index // 250}.{index % 250 + 1}"


def send(source: str, port: int, head: bytes) -> bytes | None:
    """Everything Envoy answers; `None`: the connection stayed open without an answer."""
    with socket.socket() as connection:
        connection.bind((source, 0))
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(("127.0.0.1", port))
        received = b""
        try:
            connection.sendall(head)
            while not complete(received):
                data = connection.recv(65536)
                if not data:
                    return received
                received += data
            connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(65536):
                received += data
        except socket.timeout:
            return received or None
        except (ConnectionResetError, BrokenPipeError):
            pass
        return received


def complete(received: bytes) -> bool:
    """Whether one final answer has come whole."""
    head, end, body = final(received).partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(body) >= int(value)
    return True


def verdict(head: dict, received: bytes | None, entries: list[dict]) -> dict:
    """The head with what became of it."""
    result = dict(head)
    entry = entries[0] if entries else {}
    if received is None:
        result["outcome"] = "incomplete"
        return result
    if received.startswith(b"\x00\x00"):  # a SETTINGS frame
        result["outcome"] = "http2"
        return result
    answer, _, body = final(received).partition(b"\r\n\r\n")
    if not answer:
        result["outcome"] = "closed"
    else:
        if not answer.startswith((b"HTTP/1.0 ", b"HTTP/1.1 ")):
            raise RecorderError(f"head {head['id']}: Envoy answered {received!r}")
        status = int(answer.split(b" ")[1])
        result["outcome"] = {408: "incomplete"}.get(status, "bad_request")
        result["status"] = status
        if entry.get("details") == "lua_response":
            result["outcome"] = "accepted"
            del result["status"]
    if len(entries) > 1:
        result["requests"] = len(entries)
    if result["outcome"] == "accepted":
        result["route"] = entry.get("route")
        seen(result, answer, body)
    else:
        result["details"] = entry.get("details")
    return result


def seen(result: dict, answer: bytes, body: bytes) -> None:
    """What header matchers saw, from the script's answer."""
    for line in answer.split(b"\r\n"):
        if line.startswith(b"x-seen: "):
            body = line[len(b"x-seen: "):]
    headers = []
    for pair in body.split(b","):
        name, value = (bytes.fromhex(part.decode()).decode("latin-1")
                       for part in pair.split(b" "))
        if name.startswith(":"):
            result[name[1:]] = value if len(value) < LONG else {"length": len(value)}
        elif name == "x-request-id" and UUID.fullmatch(value) and value not in head_text(result):
            headers.append([name, None])  # made by Envoy, another one each time
        else:
            headers.append([name, value])
    if len(body) < LONG * 2:
        result["headers"] = headers
    else:
        result["header_count"] = len(headers)


def text(verdicts: list[dict]) -> str:
    """JSON Lines."""
    return "".join(json.dumps(verdict, ensure_ascii=True) + "\n" for verdict in verdicts)
