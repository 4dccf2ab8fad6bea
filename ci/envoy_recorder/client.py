"""Sends one request of a traffic file, over a connection of its own, and reads the answer."""

import socket
import ssl

from envoy_recorder import RecorderError

ANSWER_SECONDS = 5


class Answer:
    """What came back, and the address that the connection came from."""

    def __init__(self, source: str, received: bytes | None):
        self.source = source
        # None: nobody listens there.
        self.received = received

    def header(self, name: str) -> str | None:
        """A response header's value."""
        if not self.received:
            return None
        for line in self.received.split(b"\r\n\r\n", 1)[0].split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.lower() == name.encode():
                return value.strip().decode("latin-1")
        return None

    def body(self) -> bytes:
        """What follows the response's head."""
        return (self.received or b"").partition(b"\r\n\r\n")[2]


def send(request: dict, index: int, target: tuple[str, int], proxied: bool) -> Answer:
    """Sends the request to `target`. `proxied`: its addresses go ahead in a PROXY header;
    else its source is bound. Without one, its index gives it a source of its own, by which the
    access log tells requests apart."""
    with socket.socket() as connection:
        connection.settimeout(ANSWER_SECONDS)
        if "source" in request and not proxied:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bind(connection, request)
        else:
            connection.bind((f"127.1.{index // 250}.{index % 250 + 1}", 0))
        try:
            connection.connect(target)
        except ConnectionRefusedError:
            return Answer("", None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = connection.getsockname()
        source = f"{name[0]}:{name[1]}"
        data = b""
        if proxied:
            data = proxy_header(request)
        tls = request.get("tls", "sni" in request or "alpn" in request)
        data += client_hello(request) if tls else head(request)
        received = b""
        try:
            connection.sendall(data)
            while not complete(final(received), request.get("method", "GET")):
                chunk = connection.recv(65536)
                if not chunk:
                    break
                received += chunk
        except (ConnectionResetError, BrokenPipeError):
            pass
        except socket.timeout as error:
            raise RecorderError(f"request {request['id']}: no answer") from error
        return Answer(source, final(received))


def bind(connection: socket.socket, request: dict) -> None:
    """Binds the source that the request names."""
    host, _, port = request["source"].rpartition(":")
    try:
        connection.bind((host, int(port)))
    except OSError as error:
        raise RecorderError(
            f"request {request['id']}: cannot send from {request['source']}: {error}") from error


def head(request: dict) -> bytes:
    """The head as twinmesh writes it: the request line, host, the headers in order."""
    lines = [f"{request.get('method', 'GET')} {request.get('path', '/')} HTTP/1.1"]
    if request.get("authority") is not None:
        lines.append(f"host: {request['authority']}")
    lines += [f"{name}: {value}" for name, value in request.get("headers", [])]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8")


def proxy_header(request: dict) -> bytes:
    """The PROXY protocol's first version."""
    source, _, source_port = request["source"].rpartition(":")
    destination, _, port = request["destination"].rpartition(":")
    family = "TCP6" if ":" in source else "TCP4"
    return (f"PROXY {family} {source.strip('[]')} {destination.strip('[]')} "
            f"{source_port} {port}\r\n").encode()


def client_hello(request: dict) -> bytes:
    """The ClientHello that OpenSSL sends for the request's server name and protocols."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if request.get("alpn"):
        context.set_alpn_protocols(request["alpn"].split(","))
    outgoing = ssl.MemoryBIO()
    session = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=request.get("sni"))
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def final(received: bytes) -> bytes:
    """What follows any 100 Continue."""
    while received.startswith(b"HTTP/1.1 100 ") and b"\r\n\r\n" in received:
        received = received.split(b"\r\n\r\n", 1)[1]
    return received


def complete(received: bytes, method: str) -> bool:
    """Whether the answer has come whole."""
    head_part, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    if method == "HEAD":
        return True
    for line in head_part.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(body) >= int(value)
    return True
