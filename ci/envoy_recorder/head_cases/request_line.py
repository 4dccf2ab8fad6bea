"""The request line: method, spaces, version, line ends, what comes before it."""

from envoy_recorder.head_cases.build import ALL_BYTES, HOST, first, parts, raw


def heads() -> list[dict]:
    """See the module."""
    listed = [first(f"{method} / HTTP/1.1") for method in (
        "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "CONNECT",
        "get", "Get", "post", "BREW", "PROPFIND", "M-SEARCH", "PURGE", "QUERY", "PRI", "X",
        "FOO_BAR", "FOO.BAR", "1GET", "GE\x00T", "G,ET", "G:ET", "GET,POST")]
    listed += [parts(("M", count), (" / HTTP/1.1\r\n" + HOST + "\r\n", 1))
               for count in (16, 63, 64, 1000, 8000, 61000)]
    listed += [first(line) for line in (
        "GET  / HTTP/1.1", "GET /  HTTP/1.1", "GET / HTTP/1.1 ", "GET / HTTP/1.1  ",
        " GET / HTTP/1.1", "\tGET / HTTP/1.1", "GET\t/ HTTP/1.1", "GET /\tHTTP/1.1",
        "GET\t/\tHTTP/1.1", "GET / HTTP/1.1\t", "GET \t/ HTTP/1.1", "GET / \tHTTP/1.1",
        "GET\x0b/ HTTP/1.1", "GET\x0c/ HTTP/1.1", "GET\xa0/ HTTP/1.1", "GET /\x0bHTTP/1.1",
        "GET / HTTP/1.1 x", "GET / x HTTP/1.1", "GET /a b HTTP/1.1", "GET / HTTP/1.1 HTTP/1.1",
        "GET HTTP/1.1", "GET", "GET ", "GET /", "GET / ", "/ HTTP/1.1", "HTTP/1.1", " ", "  ",
        "GET  HTTP/1.1", " / HTTP/1.1", "GET /HTTP/1.1", "x")]
    listed += [first(f"GET / {version}") for version in (
        "HTTP/0.9", "HTTP/1.0", "HTTP/1.2", "HTTP/1.9", "HTTP/2.0", "HTTP/2", "HTTP/3.0",
        "HTTP/1", "HTTP/1.", "HTTP/.1", "HTTP/1.10", "HTTP/1.01", "HTTP/01.1", "HTTP/1.1a",
        "HTTP/11", "HTTP/9.9", "HTTP/-1.1", "HTTP/1,1", "http/1.1", "Http/1.1", "HTTP 1.1",
        "HTTP/ 1.1", "HTTP/1 .1", "HTTP/A.B", "HTTPS/1.1", "XTTP/1.1", "HTTP", "HTTP/", "ICE/1.0",
        "1.1", "HTTP/1.1;", "HTTP/1.\xb1", "\x00HTTP/1.1", "HTTP/1.1\x00")]
    listed += [first(f"GET / {version}", listener="accept_http_10") for version in (
        "HTTP/1.0", "HTTP/1.1", "HTTP/0.9", "HTTP/1.2", "HTTP/2.0")]
    listed += [
        raw("GET /\r\n", listener="accept_http_10"), raw("GET /\r\n"),
        raw("GET /\r\n\r\n", listener="accept_http_10"), raw("GET /\r\n\r\n"),
        raw("GET / HTTP/1.0\r\n\r\n", listener="accept_http_10"), raw("GET / HTTP/1.0\r\n\r\n"),
        raw("GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n",
            listener="accept_http_10"),
    ]
    # Line ends.
    listed += [
        first("GET / HTTP/1.1", end="\n"),
        raw("GET / HTTP/1.1\nhost: h.test\n\n"),
        raw("GET / HTTP/1.1\r\nhost: h.test\n\n"),
        raw("GET / HTTP/1.1\r\nhost: h.test\n\r\n"),
        raw("GET / HTTP/1.1\r\nhost: h.test\r\n\n"),
        raw("GET / HTTP/1.1\nhost: h.test\r\n\r\n"),
        raw("GET / HTTP/1.1\r\nhost: h.test\nx-a: 1\nx-b: 2\r\n\r\n"),
        first("GET / HTTP/1.1", end="\r"),
        raw("GET / HTTP/1.1\rhost: h.test\r\r"),
        first("GET / HTTP/1.1", end="\r\r\n"),
        first("GET / HTTP/1.1\r", end="\n"),
        first("GET / HTTP/1.1\r ", end="\r\n"),
        first("GET /\r HTTP/1.1"),
        first("GET\r / HTTP/1.1"),
        first("GET /\rx HTTP/1.1"),
        first("\rGET / HTTP/1.1"),
        raw("GET / HTTP/1.1\r\nhost: h.test\r\r\n"),
        raw("GET / HTTP/1.1\r\nhost: h.test\r\r\n\r\n"),
        raw("GET / HTTP/1.1\r\nhost: h.test\r\n\r\r\n"),
        raw("GET / HTTP/1.1\r\nhost: h.test\r\nx-a: 1\r\r\n\r\n"),
        raw("GET / HTTP/1.1\r\nhost: h.test\r\n \r\n"),
        raw("GET / HTTP/1.1\r\nhost: h.test\r\n \r\n\r\n"),
        raw("GET / HTTP/1.1\r\nhost: h.test\r\n\t\r\n\r\n"),
        raw("GET / HTTP/1.1\r\nhost: h.test"),
        raw("GET / HTTP/1.1\r\nhost: h.test\r\n"),
        raw("GET / HTTP/1.1\r\nhost: h.test\r\n\r"),
        raw("GET / HTTP/1.1\r\n"),
        raw("GET"),
        raw("GET / HTTP/1.1\r\n\r\n"),
        raw("GET / HTTP/1.1\n\n"),
    ]
    # Before the request line.
    listed += [first(before + "GET / HTTP/1.1") for before in (
        "\r\n", "\n", "\r\n\r\n", "\n\n\n", "\r\n" * 20, "\r\r\n", "\r\n ", " \r\n", "\r\n\t",
        "\x00", "\xef\xbb\xbf", "\r\nx\r\n")]
    listed += [raw("\r\n"), raw("\r\n\r\n"), raw("\n")]
    listed += [raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
               raw("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"),
               raw("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n"),
               raw("GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: b\r\n\r\n"),
               raw("GET / HTTP/1.1\r\nhost: a\r\n\r\nx")]
    # Each byte value once: inside, at the start and at the end of the method.
    listed += [first(f"GE{byte}T / HTTP/1.1") for byte in ALL_BYTES]
    listed += [first(f"{byte}GET / HTTP/1.1") for byte in ALL_BYTES if byte in "\r\n\t !\"#()*,/:"]
    listed += [first(f"GET{byte} / HTTP/1.1") for byte in ALL_BYTES if byte in "\r\n\t !\"#()*,/:"]
    return listed
