"""The endpoints: one server on many loopback addresses that answers with the head it got."""

import selectors
import socket
import threading

from envoy_recorder import RecorderError


class Backend:
    """A context manager: accepts on every address given, until the block ends."""

    def __init__(self, addresses: list[tuple[str, int]]):
        self.addresses = addresses
        self.selector = selectors.DefaultSelector()
        self.received: dict[socket.socket, bytes] = {}
        # The endpoints that got a request, by its x-request-id: copies have the same.
        self.heads: dict[str, list[str]] = {}
        self.waker, self.woken = socket.socketpair()
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "Backend":
        for address in self.addresses:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(address)
                listener.listen(64)
            except OSError as error:
                listener.close()
                self._close()
                raise RecorderError(
                    f"cannot listen as endpoint {address[0]}:{address[1]}: {error}") from error
            listener.setblocking(False)
            self.selector.register(listener, selectors.EVENT_READ, self._accept)
        self.selector.register(self.woken, selectors.EVENT_READ, None)
        self.thread.start()
        return self

    def __exit__(self, *_exception) -> None:
        self.waker.send(b"x")
        self.thread.join(5)
        self._close()

    def _close(self) -> None:
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()
        self.waker.close()
        self.woken.close()

    def _serve(self) -> None:
        while True:
            for key, _ in self.selector.select():
                if key.data is None:
                    return
                key.data(key.fileobj)

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.setblocking(True)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received[connection] = b""
        self.selector.register(connection, selectors.EVENT_READ, self._read)

    def _read(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(65536)
        except OSError:
            data = b""
        # A ClientHello ends it: TCP proxies are only asked where they connect to.
        if not data or data[0] == 0x16:
            self.selector.unregister(connection)
            del self.received[connection]
            connection.close()
            return
        self.received[connection] += data
        while b"\r\n\r\n" in self.received[connection]:
            head, _, rest = self.received[connection].partition(b"\r\n\r\n")
            self.received[connection] = rest
            body = b"" if head.startswith(b"HEAD ") else head
            ip, port = connection.getsockname()
            self.heads.setdefault(request_id(head), []).append(f"{ip}:{port}")
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nx-head: %s\r\ncontent-length: %d\r\n\r\n%s"
                % (first_lines(head), len(body), body))


def first_lines(head: bytes) -> bytes:
    """The request target and the host that came, in hexadecimal."""
    # A rewritten target may have blanks inside.
    target = head.partition(b"\r\n")[0].partition(b" ")[2].rpartition(b" ")[0]
    host = b""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"host":
            host = value.strip()
    return target.hex().encode() + b"," + host.hex().encode()


def request_id(head: bytes) -> str:
    """The x-request-id of a head."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"x-request-id":
            return value.strip().decode("latin-1")
    return ""
