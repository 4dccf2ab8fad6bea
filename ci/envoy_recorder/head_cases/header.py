"""Header lines: names, colons, folding, white space, values, counts and sizes."""

from envoy_recorder.head_cases.build import ALL_BYTES, HOST, lines, parts, raw


def heads() -> list[dict]:
    """See the module."""
    listed = [lines(*header) for header in (
        ["x-a: 1"], ["x-a:1"], ["x-a:"], ["x-a: "], ["x-a:  "], ["x-a:\t"], ["x-a: \t 1 \t "],
        ["x-a:\t1"], ["x-a: 1\t"], ["x-a: 1 2"], ["x-a: 1\t2"], ["x-a: 1  2"], ["X-A: 1"],
        ["X-a: One"], ["x-a"], ["x-a "], ["x-a 1"], [":"], [": 1"], [" : 1"], [":x: 1"],
        [":path: /b"], [":method: PUT"], [":scheme: https"], ["::: 1"], ["x-a : 1"], ["x-a\t: 1"],
        ["x a: 1"], ["x-a  : 1"], ["x-a:: 1"], ["x-a:b:c"], ["x-a: b: c"], [" x-a: 1"], ["\tx-a: 1"],
        ["  x-a: 1"], ["x-a: 1", " 2"], ["x-a: 1", "\t2"], ["x-a: 1", "  2  "], ["x-a:", " 1"],
        ["x-a: 1", " 2", " 3"], ["x-a: 1", " b: 2"], ["x-a: 1", " "], ["x-a: 1", "\t"],
        ["x-a: 1", " ", "x-b: 2"], ["x-a: 1", " 2", "x-b: 3"], ["x-a", " : 1"],
        ["x-a: 1", "x-a: 2"], ["x-a: 1", "x-a: 1"], ["x-a: 1", "X-A: 2", "x-b: 3", "x-A: 4"],
        ["x-a: 1, 2"], ["x-a: ,"], ["x-a:", "x-a: 1"], ["x-a: 1", "x-a:"],
        ["x_a: 1"], ["_: 1"], ["x-a_b: 1", "x_a: 2"], ["1: 1"], ["-: 1"], ["!#$%&'*+-.^_`|~: 1"],
        ["x-a: \"q\""], ["x-a: (c)"], ["x-a: \\"], ["x-a: \xe9"], ["x-a: \xc3\xa9"],
        ["x-\xe9: 1"], ["x-a: a\rb"], ["x-a: a\r"], ["x-a: \ra"], ["x-a\r: 1"], ["x-a: a\r b"],
        ["\rx-a: 1"], ["\r"], ["x-a: 1\x00"], ["x-a: \x00"], ["\x00: 1"], ["x-a: \x7f"],
        ["x-a: \x1b[0m"], ["x-a: \x0b"], ["x-a: \x0c"], ["x-a:\x0b1"], ["x-a: 1\x0c"],
        ["x-a:\xa01"], ["x-a: 1\xa0"], ["HTTP/1.1 200 OK"], ["GET / HTTP/1.1"], ["="],
        ["cookie: a=1; b=2"], ["cookie: a=1", "cookie: b=2"], ["Cookie: a=1;b=2", "cookie: a=3"],
        ["set-cookie: a=1", "set-cookie: b=2"],
        ["user-agent: u", "user-agent: v"], ["accept: a", "accept: b"],
        ["content-type: a", "content-type: b"], ["authorization: a", "authorization: b"],
        ["referer: a"], ["referer: http://a/b", "referer: c"], ["referer: /a b"],
        ["x-forwarded-for: 1.2.3.4"], ["x-forwarded-for: 1.2.3.4", "x-forwarded-for: 5.6.7.8"],
        ["x-forwarded-for: bad"], ["x-forwarded-proto: a", "x-forwarded-proto: b"],
        ["x-forwarded-port: 1"], ["x-forwarded-client-cert: a"], ["forwarded: for=a"],
        ["x-request-id: abc"], ["x-request-id:"], ["x-request-id: a", "x-request-id: b"],
        ["x-request-id: 5a8f1c9e-95a7-4c1e-b1f5-1f6ee6dd7c8d"],
        ["x-envoy-internal: true"], ["x-envoy-external-address: 1.2.3.4"],
        ["x-envoy-original-path: /o"], ["x-envoy-original-host: o"],
        ["x-envoy-retry-on: 5xx"], ["x-envoy-max-retries: 1"],
        ["x-envoy-upstream-rq-timeout-ms: 5"], ["x-envoy-expected-rq-timeout-ms: 5"],
        ["x-envoy-decorator-operation: a"], ["x-envoy-downstream-service-cluster: a"],
        ["x-envoy-downstream-service-node: a"], ["x-envoy-force-trace: 1"],
        ["x-envoy-attempt-count: 5"], ["x-envoy-peer-metadata: a"], ["x-envoy-foo: a"],
        ["x-envoy-hedge-on-per-try-timeout: true"], ["x-envoy-ip-tags: a"],
        ["x-envoy-original-dst-host: 1.2.3.4:80"], ["x-envoy-upstream-alt-stat-name: a"],
        ["x-b3-traceid: a"], ["traceparent: a"], ["via: 1.1 a"], ["date: a"], ["server: s"],
        ["x-client-trace-id: a"], ["grpc-timeout: 1S"], ["origin: a"], ["trailer: x-t"],
        ["content-type: application/grpc"], ["x-http-method-override: PUT"], ["location: a"],
    )]
    listed += [
        raw("GET / HTTP/1.1\r\n host: h.test\r\n\r\n"),
        raw("GET / HTTP/1.1\r\n\thost: h.test\r\n\r\n"),
        raw("GET / HTTP/1.1\r\n x: 1\r\nhost: h.test\r\n\r\n"),
        raw("GET / HTTP/1.1\r\n \r\nhost: h.test\r\n\r\n"),
        raw("GET / HTTP/1.1\r\nhost:\r\n h.test\r\n\r\n"),
        raw("GET / HTTP/1.1\r\nhost: h\r\n .test\r\n\r\n"),
        raw("GET / HTTP/1.1\r\nhost: h.test\nx-a: 1\n 2\n\n"),
        raw("GET / HTTP/1.1\r\nhost: h.test\r\nx-a: 1\n 2\r\n\r\n"),
        raw("GET / HTTP/1.1\r\nx-a: 1\r\nhost: h.test\r\n\r\n"),
        raw("GET / HTTP/1.1\r\n: 1\r\nhost: h.test\r\n\r\n"),
        raw("GET / HTTP/1.1\r\nx-a\r\nhost: h.test\r\n\r\n"),
        raw("GET / HTTP/1.1\r\nhost: h.test\r\nx-a\n\r\n"),
        raw("GET / HTTP/1.1\r\nhost: h.test\r\nx-a: \n\r\n"),
        raw("GET / HTTP/1.1\r\nhost: h.test\r\nx-a:\n\n"),
        raw("GET / HTTP/1.1\r\nhost: h.test\r\nx-a: a\r\rb\r\n\r\n"),
        raw("GET / HTTP/1.1\r\nhost: h.test\r\nx-a: a \r\n\r\n"),
        raw("GET / HTTP/1.1\r\nhost: h.test\r\nx-a: a \n\r\n"),
        raw("GET / HTTP/1.1\r\nhost: h.test\r\nx-a: a\t\r\r\n\r\n"),
        raw("GET / HTTP/1.1\r\nhost: h.test\r\n: \r\n\r\n"),
    ]
    # Host is one of the headers counted.
    start = "GET / HTTP/1.1\r\n" + HOST
    listed += [parts((start, 1), ("x-a: 1\r\n", count), ("\r\n", 1))
               for count in (1, 98, 99, 100, 101, 150, 1000)]
    listed += [parts((start, 1), ("x-a: ", 1), ("v", count), ("\r\n\r\n", 1))
               for count in (1000, 8192, 16384, 32768, 60000, 61000, 61390, 61400, 61410, 61420,
                             61430, 61440, 61441, 61500, 65536, 100000)]
    listed += [parts((start, 1), ("n", count), (": 1\r\n\r\n", 1))
               for count in (256, 8192, 60000, 61440, 65536)]
    listed += [parts((start, 1), ("x-a: " + "v" * 1000 + "\r\n", count), ("\r\n", 1))
               for count in (50, 60, 61, 62, 70)]
    # Each byte value once: inside a name, as a name, at its ends, in a value and at its ends.
    listed += [lines(f"x{byte}a: 1") for byte in ALL_BYTES]
    listed += [lines(f"{byte}: 1") for byte in ALL_BYTES if not byte.isalnum() and ord(byte) < 128]
    listed += [lines(f"x-a{byte}: 1") for byte in ALL_BYTES
               if not byte.isalnum() and ord(byte) < 128]
    listed += [lines(f"x-a: b{byte}c") for byte in ALL_BYTES]
    listed += [lines(f"x-a: {byte}c") for byte in ALL_BYTES if ord(byte) < 33 or ord(byte) > 126]
    listed += [lines(f"x-a: b{byte}") for byte in ALL_BYTES if ord(byte) < 33 or ord(byte) > 126]
    return listed
