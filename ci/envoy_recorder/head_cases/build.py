"""Short forms for writing heads down."""

HOST = "host: h.test\r\n"


def raw(head: str, **more) -> dict:
    """The bytes as they are (latin-1)."""
    return {"head": head, **more}


def first(line: str, end: str = "\r\n", **more) -> dict:
    """A request line before a plain Host header."""
    return raw(line + end + HOST + "\r\n", **more)


def lines(*headers: str, method: str = "GET", **more) -> dict:
    """Header lines after a plain Host header."""
    return raw(f"{method} / HTTP/1.1\r\n{HOST}" + "".join(h + "\r\n" for h in headers) + "\r\n",
               **more)


def only(*headers: str, line: str = "GET / HTTP/1.1", **more) -> dict:
    """Header lines, and no other Host header."""
    return raw(f"{line}\r\n" + "".join(h + "\r\n" for h in headers) + "\r\n", **more)


def parts(*pieces: tuple[str, int]) -> dict:
    """A long head: texts with how often each is repeated."""
    return {"parts": [list(piece) for piece in pieces]}


ALL_BYTES = [chr(code) for code in range(256)]
