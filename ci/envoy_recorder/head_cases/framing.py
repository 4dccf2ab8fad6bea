"""Content-Length, Transfer-Encoding, Connection, Upgrade, TE, Expect and their kin."""

from envoy_recorder.head_cases.build import lines, only

LENGTHS = (
    "0", "5", "05", "00", "000000000000000000005", "4294967296", "9223372036854775807",
    "9223372036854775808", "18446744073709551615", "18446744073709551616",
    "99999999999999999999999", "-1", "-0", "+5", "0x5", "5x", "x", "5 5", "5, 5", "5,5", "5, 6",
    "5,", ",5", "5;", "5.0", "1e3", "", " ", "  5  ", "\t5\t", "5\x0b", "\"5\"", "5\x00", "\xb5",
    "five")
ENCODINGS = (
    "chunked", "Chunked", "CHUNKED", " chunked ", "\tchunked", "chunked,", ",chunked", "chunked ;",
    "chunked;x=1", "gzip", "gzip, chunked", "chunked, gzip", "chunked, chunked", "chunked,chunked",
    "identity", "Identity", "identity, chunked", "chunked, identity", "deflate", "compress",
    "trailers", "xchunked", "chunkedx", "chun ked", "\"chunked\"", "", " ", "chunk\x00ed", "x",
    "\x0bchunked", "chunked\x0b")


def heads() -> list[dict]:
    """See the module."""
    listed = [lines(f"content-length: {value}", method="POST") for value in LENGTHS]
    listed += [lines(*(f"content-length: {value}" for value in values), method="POST")
               for values in (("5", "5"), ("5", "6"), ("5", "05"), ("0", "0"), ("5", ""), ("", "5"),
                              ("", ""), ("5", "5", "5"), ("5", "5", "6"), ("5", "x"), ("x", "5"),
                              ("5, 5", "5"), ("0", "5"))]
    listed += [lines("content-length: 5", method=method)
               for method in ("GET", "HEAD", "OPTIONS", "TRACE", "DELETE", "BREW")]
    listed += [lines("content-length: 0"), lines("content-length: 5", "Content-Length: 5"),
               lines("content-length:5"), lines("Content-Length: 5"), lines("content-length : 5"),
               lines("content_length: 5"), lines("content-length: x")]
    listed += [lines(f"transfer-encoding: {value}", method="POST") for value in ENCODINGS]
    listed += [lines(*(f"transfer-encoding: {value}" for value in values), method="POST")
               for values in (("chunked", "chunked"), ("gzip", "chunked"), ("chunked", "gzip"),
                              ("identity", "chunked"), ("chunked", "identity"), ("", "chunked"),
                              ("chunked", ""))]
    listed += [lines("transfer-encoding: chunked", method=method)
               for method in ("GET", "HEAD", "OPTIONS", "TRACE", "DELETE")]
    both = [("content-length: 5", "transfer-encoding: chunked"),
            ("transfer-encoding: chunked", "content-length: 5"),
            ("content-length: 0", "transfer-encoding: chunked"),
            ("content-length: x", "transfer-encoding: chunked"),
            ("content-length:", "transfer-encoding: chunked"),
            ("content-length: 5", "transfer-encoding: identity"),
            ("content-length: 5", "transfer-encoding: gzip"),
            ("content-length: 5", "transfer-encoding: gzip, chunked"),
            ("content-length: 5", "transfer-encoding:"),
            ("content-length: 5", "content-length: 5", "transfer-encoding: chunked"),
            ("content-length: 5", "content-length: 6", "transfer-encoding: chunked")]
    listed += [lines(*headers, method="POST") for headers in both]
    listed += [lines("Transfer-Encoding: chunked", method="POST"),
               lines("transfer-encoding:chunked", method="POST"),
               lines("transfer-encoding : chunked", method="POST"),
               lines("transfer_encoding: chunked", method="POST")]
    listed += [only("host: a", *headers, line="POST / HTTP/1.0", listener="accept_http_10")
               for headers in (["transfer-encoding: chunked"], ["content-length: 5"], [],
                               ["content-length: 5", "transfer-encoding: chunked"],
                               ["transfer-encoding: gzip"])]
    # CONNECT has no body.
    listed += [only("host: a:80", *headers, line="CONNECT a:80 HTTP/1.1")
               for headers in (["content-length: 0"], ["content-length: 5"], ["content-length: 00"],
                               ["transfer-encoding: chunked"], ["transfer-encoding:"],
                               *([f"content-length: {length}", f"transfer-encoding: {encoding}"]
                                 for length in ("0", "00", "5")
                                 for encoding in ("chunked", "gzip", "")),
                               ["transfer-encoding: gzip", "content-length: 0"])]
    # And what its Connection names stays.
    listed += [only("host: a:80", *headers, line="CONNECT a:80 HTTP/1.1")
               for headers in (["connection: close"], ["connection: x-forwarded-proto"],
                               ["connection: :path"], ["connection: te", "te: trailers"],
                               ["connection: " + ",".join("abcdefghijkl")],
                               ["connection: x-forwarded-for", "upgrade:"],
                               ["connection: upgrade, x-forwarded-for"],
                               ["connection: upgrade, x-forwarded-for", "upgrade: foo"],
                               ["connection: host"], ["connection: upgrade", "upgrade: h2c"],
                               ["connection: x-forwarded-for, upgrade", "upgrade: h2c"])]
    listed += [lines(*headers) for headers in (
        ["connection: close"], ["connection: keep-alive"], ["Connection: Close"],
        ["connection: x-a", "x-a: 1"], ["connection: close, x-a", "x-a: 1"],
        ["connection: X-A", "x-a: 1", "x-b: 2"], ["x-a: 1", "connection: x-a"],
        ["connection: x-a", "connection: x-b", "x-a: 1", "x-b: 2"],
        ["connection: te", "te: trailers"], ["connection: te, close", "te: trailers"],
        ["connection: host"], ["connection: content-length", "content-length: 0"],
        ["connection: transfer-encoding"], ["connection: :authority"], ["connection: cookie",
                                                                         "cookie: a=1"],
        ["connection: x-forwarded-for", "x-forwarded-for: 1.2.3.4"],
        ["connection: x-forwarded-proto", "x-forwarded-proto: https"],
        ["connection: x-forwarded-host", "x-forwarded-host: a"],
        ["connection: user-agent", "user-agent: a"],
        ["connection: x a"], ["connection:"], ["connection: ,"], ["connection: close, close"],
        ["connection: upgrade"], ["connection: Upgrade", "upgrade: websocket"],
        ["connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__"],
        ["upgrade: websocket"], ["upgrade: h2c"], ["upgrade: foo"], ["upgrade:"],
        ["connection: upgrade", "upgrade: h2c"], ["connection: upgrade", "upgrade: foo"],
        ["connection: upgrade", "upgrade: WebSocket", "sec-websocket-key: a"],
        ["connection: keep-alive, upgrade", "upgrade: websocket"],
        ["connection: upgrade", "upgrade: websocket", "upgrade: foo"],
        ["connection: upgrade", "upgrade: h2c, websocket", "http2-settings: AAMAAABkAAQAAP__"],
        ["connection: upgrade", "upgrade: TLS/1.0"],
        ["connection: upgrade", "upgrade: websocket", "content-length: 5"],
        ["connection: upgrade", "upgrade: websocket", "transfer-encoding: chunked"],
        ["connection: upgrade, x-a", "upgrade: websocket", "x-a: 1"],
        ["http2-settings: a"], ["connection: http2-settings", "http2-settings: a"],
        ["te: trailers"], ["te: gzip"], ["te: trailers, deflate"], ["TE: Trailers"], ["te:"],
        ["te: trailers;q=0.5"], ["te: deflate,trailers "], ["te: trailers", "te: gzip"],
        ["connection: te", "te: gzip"], ["connection: te", "te: gzip, trailers"],
        ["expect: 100-continue"], ["Expect: 100-Continue"], ["expect: foo"], ["expect:"],
        ["expect: 100-continue", "content-length: 5"], ["expect: 100-continue", "expect: foo"],
        ["proxy-connection: close"], ["proxy-connection: keep-alive"], ["proxy-connection: x"],
        ["proxy-connection: close", "connection: keep-alive"],
        ["keep-alive: timeout=5"], ["keep-alive: timeout=5", "connection: keep-alive"],
        ["proxy-authorization: a"], ["proxy-authenticate: a"], ["trailer: a"],
        ["content-encoding: gzip"], ["content-transfer-encoding: a"],
    )]
    return listed
