"""Heads with two faults at once: which one Envoy names. And what Connection may nominate."""

from envoy_recorder.head_cases.build import lines, only, parts, raw

# Fault, as a request line or header lines.
LINES = {"low version": "GET / HTTP/1.0", "fragment": "GET /#x HTTP/1.1",
         "no path": "GET http://h2.test?x HTTP/1.1", "url": "GET * HTTP/1.1",
         "method": "BREW / HTTP/1.1", "version": "GET / HTTP/x", "control": "GET /\x01 HTTP/1.1",
         "high": "GET /\xe9 HTTP/1.1", "query": "QUERY / HTTP/1.1", "fine": "GET / HTTP/1.1"}
HEADERS = {"no host": (), "two hosts": ("host: a", "host: a b"), "authority": ("host: a b",),
           "length": ("host: a", "content-length: x"),
           "both": ("host: a", "content-length: 5", "transfer-encoding: chunked"),
           "encoding": ("host: a", "transfer-encoding: gzip"),
           "control": ("host: a", "x: \x01"), "name": ("host: a", "x y: 1"),
           "nominated": ("host: a", "connection: x-forwarded-for"),
           "upgrade": ("host: a", "connection: upgrade", "upgrade: x"),
           "authority and length": ("host: a b", "content-length: x"),
           "authority and encoding": ("host: a b", "transfer-encoding: gzip"),
           "authority and nominated": ("host: a b", "connection: x-forwarded-for"),
           "authority and nominated host": ("host: a b", "connection: host"),
           "authority and nominated other": ("host: a b", "connection: x-a, close", "x-a: 1"),
           "authority and upgrade": ("host: a b", "connection: upgrade", "upgrade: x"),
           "nominated and upgrade": ("host: a", "connection: upgrade, x-forwarded-for",
                                     "upgrade: x"),
           "encoding and control": ("host: a", "transfer-encoding: gzip", "x: \x01"),
           "no host and encoding": ("transfer-encoding: gzip",),
           "no host and nominated": ("connection: x-forwarded-for",),
           "many": ("host: a b",) + ("x: 1",) * 100,
           "many and length": ("host: a", "content-length: x") + ("x: 1",) * 100}


def heads() -> list[dict]:
    """See the module."""
    listed = [only(*headers, line=line) for line in LINES.values() for headers in HEADERS.values()]
    listed += [lines(*header) for header in (
        ["connection: a,b,c,d,e,f,g,h,i"], ["connection: a,b,c,d,e,f,g,h,i,j"],
        ["connection: a,b,c,d,e,f,g,h,i,j,k"], ["connection: a,,,,,,,,,,,,b"],
        ["connection: a", "connection: b,c,d,e,f,g,h,i,j"],
        ["connection: close,close,close,close,close,close,close,close,close,close"],
        ["connection:  x-a  ,x-b", "x-a: 1", "x-b: 2"], ["connection: x-a;x-b", "x-a: 1"],
        ["connection: \"x-a\"", "x-a: 1"], ["connection: x-a", "x-a: 1", "x-a: 2"],
        ["connection: connection, x-a", "x-a: 1"], ["connection: keep-alive", "keep-alive: 5"],
        ["connection: close", "close: 1"], ["connection: upgrade", "upgrade: "],
        ["connection: Close, X-A", "x-a: 1"], ["connection: KEEP-ALIVE", "keep-alive: 1"],
        ["connection: Upgrade"], ["connection: X-Forwarded-For"], ["connection: x-forwarded-for"],
        ["connection: x-forwarded-port", "x-forwarded-port: 1"], ["connection: :method"],
        ["connection: :x"], ["connection: x:y"], ["connection: x-request-id", "x-request-id: a"],
        ["connection: x-envoy-foo", "x-envoy-foo: 1"], ["connection: expect", "expect: x"],
        ["connection: te", "te: " + "a" * 255], ["connection: te", "te: " + "a" * 256],
        ["connection: te", "te: " + "a" * 246 + ",trailers"],
        ["te: " + "a" * 300 + ",trailers"], ["connection: te"], ["connection: TE", "te: gzip"],
        ["connection: proxy-connection", "proxy-connection: x"], ["connection: x_a", "x_a: 1"],
        ["connection: upgrade", "upgrade: h2c", "x-a: 1"], ["upgrade: h2c", "x-a: 1"],
        ["connection: upgrade", "upgrade: h2c, foo"], ["connection: upgrade", "upgrade: foo, h2c"],
        ["connection: upgrade", "upgrade: H2C"], ["connection: upgrade, x-a", "upgrade: h2c",
                                                  "x-a: 1"],
        ["connection: xupgrade", "upgrade: foo"], ["connection: upgrade;q=1", "upgrade: foo"],
        ["connection: x", "connection: upgrade", "upgrade: foo"], ["connection: UPGRADE",
                                                                   "upgrade: foo"],
        ["transfer-encoding: chunked", "connection: upgrade", "upgrade: h2c"],
    )]
    listed += [raw("GET / HTTP/1.1\r\nhost: a\r\n" + "connection: x\r\n" * 9 + "\r\n"),
               raw("GET / HTTP/1.1\r\nhost: a\r\n" + "connection: x\r\n" * 10 + "\r\n")]
    # White space in the request line, and CR as such.
    listed += [raw(line + "\r\nhost: h.test\r\n\r\n") for line in (
        "GET\r/ HTTP/1.1", "GET /\rHTTP/1.1", "GET / HTTP/1.1\rx", "GET / HTTP/1.1\r\t\r",
        "GET\r\r/\r\rHTTP/1.1", "\r\rGET / HTTP/1.1", "\r\n\r\r\nGET / HTTP/1.1", "\rx",
        "GET \t\r / HTTP/1.1", "GET / HTTP/\r1.1", "G\rET / HTTP/1.1", "GET http://a/\r HTTP/1.1")]
    # CR and folding inside header lines.
    listed += [lines(*header) for header in (
        ["x-a: 1\r", " 2"], ["x-a: 1\r2", " 3\r"], ["x-a: \r\r"], ["x-a: \r 1"], ["x-a: 1 \r "],
        ["x-a:\r1"], ["x\r-a: 1"], ["\r x-a: 1"], ["x-a: 1", "\r 2"], ["x-a: 1", " \r2"],
        ["x-a: 1", " :2"], ["x-a: 1", "\t\t2"], ["x-a: ", " ", " 1"], ["x-a:", " ", " "],
        ["content-length: ", " 5"], ["content-length: 5", " "], ["content-length: 5", " 5"],
        ["transfer-encoding: chunked", " "], ["transfer-encoding:", " chunked"],
        ["content-length: 5\r"], ["content-length: \r5"], ["content-length: 5\r5"],
        ["transfer-encoding: chun\rked"], ["accept: a\rb"], ["connection: x-\ra", "x-a: 1"])]
    # What counts as an internal request decides which x-envoy headers survive.
    listed += [lines(f"x-forwarded-for: {address}", "x-envoy-retry-on: 5xx", "x-envoy-internal: x",
                     "x-envoy-max-retries: 1", "x-envoy-upstream-rq-timeout-ms: 5",
                     "x-envoy-force-trace: 1", "x-envoy-downstream-service-cluster: a",
                     "x-envoy-original-url: a", "x-envoy-expected-rq-timeout-ms: 5")
               for address in ("10.0.0.1", "127.0.0.1", "192.168.0.1", "1.2.3.4", "10.0.0.1, 10.0.0.2",
                               "1.2.3.4, 10.0.0.1", "::1", "fd00::1", "bad", "")]
    # The largest head, to the byte.
    for total in range(61436, 61446):
        for start, end in (("GET / HTTP/1.1\r\nhost: h.test\r\nx-a: ", "\r\n\r\n"),
                           ("GET /", " HTTP/1.1\r\nhost: h.test\r\n\r\n"),
                           ("GET / HTTP/1.1\nhost: ", "\n\n"),
                           ("\r\n\r\nGET / HTTP/1.1\r\nhost: h.test\r\nx-a: ", "\r\n\r\n")):
            listed += [parts((start, 1), ("a", total - len(start) - len(end)), (end, 1))]
    listed += [only(*headers, line="OPTIONS * HTTP/1.1") for headers in (
        ("host: a", "connection: x-forwarded-for"), ("host: a", "connection: x-a"),
        ("host: a b", "connection: x-a"), ("connection: x-a",))]
    return listed
