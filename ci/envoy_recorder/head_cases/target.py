"""The request target: its four forms, and which bytes it may hold."""

from envoy_recorder.head_cases.build import ALL_BYTES, HOST, first, only, parts


def heads() -> list[dict]:
    """See the module."""
    listed = [first(f"GET {target} HTTP/1.1") for target in (
        "/", "/a", "/a/b?x=1", "/?", "?", "?x=1", "//", "//h2.test/x", "/a//b", "/a/../b",
        "/a/./b", "/..", "/a;b=1", "/a%20b", "/a%2Fb", "/a%2fb", "/a%5Cb", "/%", "/%zz", "/%4",
        "/a%00b", "/%65", "/a?x=%00", "/a#f", "/a#", "#", "/a?x#y", "/%23", "/a\\b", "\\a", "/a|b",
        "/a\"b", "/a<b>", "/a^b`{}", "/a b", "/~a", "/a'b", "/a:b@c", "/http://x/", "a", "a/b",
        "index.html", "*", "**", "*/a", ".", "./a", "h.test", "h.test:80", "h.test/a",
        "mailto:a@b.test", ":80", "/\xe9", "/\xc3\xa9", "/a\x7fb", "/a\x80b", "/a?\xff",
        "http:", "http:/", "http://", "http:///", "http:///a", "http://?x", "http://#x",
        "http://h2.test", "http://h2.test/", "http://h2.test/a?x=1", "http://h2.test?x=1",
        "http://h2.test#f", "http://h2.test/a#f", "http://h2.test/?", "http://h2.test?",
        "http://h2.test:80/", "http://h2.test:8080/a", "http://h2.test:/", "http://h2.test:0/",
        "http://h2.test:65535/", "http://h2.test:65536/", "http://h2.test:99999/",
        "http://h2.test:abc/", "http://h2.test:-1/", "http://h2.test:80:80/", "http://h2.test:443/",
        "https://h2.test", "https://h2.test/a", "https://h2.test:443/a", "https://h2.test:80/a",
        "HTTP://h2.test/", "Http://h2.test/", "hTTps://h2.test/a", "HTTPS://H2.TEST/A",
        "http://H2.Test/A", "http://user@h2.test/", "http://user:pw@h2.test/",
        "http://user@h2.test:80/", "http://@h2.test/", "http://h2.test./", "http://[::1]/",
        "http://[::1]:80/a", "http://[::1", "http://::1/", "http://1.2.3.4/", "http://1.2.3.4:80",
        "http://h2_test/", "http://h2 test/", "http://h2%2etest/", "http://h2.test\\a",
        "http://h2.test//a", "http://h2.test/a b", "http://h2.test/http://h3.test/",
        "http://a,b/", "http://*/", "http://h\xe9/", "http://h2.test:80?x", "http://.../",
        "ftp://h2.test/", "ws://h2.test/", "file:///a", "h2c://h2.test/", "urn:a", "x://",
        "httpx://h2.test/", "http//h2.test/", "https:/h2.test", "https:h2.test", "http:\\\\h2.test",
    )]
    for method in ("OPTIONS", "GET", "HEAD", "POST", "CONNECT", "OPTION", "options"):
        listed += [first(f"{method} * HTTP/1.1")]
    listed += [first(f"OPTIONS {target} HTTP/1.1") for target in (
        "/", "*/", "*?x", "http://h2.test", "http://h2.test/", "http://h2.test:8080",
        "http://h2.test/*", "http://h2.test?x")]
    listed += [first(f"CONNECT {target} HTTP/1.1") for target in (
        "h2.test:443", "h2.test", "h2.test:", "h2.test:abc", "h2.test:99999", "h.test:80", "/",
        "/a", "http://h2.test/", "https://h2.test:443", "[::1]:443", "::1", "user@h2.test:80",
        "h2.test:80/a", "h2.test:80?x", "h2.test:80#x", ":80", "1.2.3.4:80", "H2.TEST:443",
        "h2_x:80", "h\xe9:80", "a,b:80", "")]
    listed += [only(line="CONNECT h2.test:443 HTTP/1.1"),
               only("host: other.test", line="CONNECT h2.test:443 HTTP/1.1"),
               only("host: h2.test:443", line="CONNECT h2.test:443 HTTP/1.1")]
    # Absolute form against Host.
    listed += [
        only(line="GET http://h2.test/ HTTP/1.1"),
        only("host:", line="GET http://h2.test/ HTTP/1.1"),
        only("host: h2.test", line="GET http://h2.test/ HTTP/1.1"),
        only("host: a", "host: b", line="GET http://h2.test/ HTTP/1.1"),
        only("host: a b", line="GET http://h2.test/ HTTP/1.1"),
        only("host: [", line="GET http://h2.test/ HTTP/1.1"),
        only("host: h.test:99999", line="GET http://h2.test/ HTTP/1.1"),
        only("host: a", "host: a", line="GET http://h2.test/ HTTP/1.1"),
        only("x: 1", line="GET http://h2.test/ HTTP/1.1"),
        only("host: h.test", line="GET http://h2.test HTTP/1.0", listener="accept_http_10"),
        only(line="GET http://h2.test/a HTTP/1.0", listener="accept_http_10"),
        only("host: h.test", line="GET http://h2.test/a HTTP/1.1", listener="accept_http_10"),
        only("x-forwarded-proto: https", "host: h.test", line="GET http://h2.test/ HTTP/1.1"),
        only("x-forwarded-proto: http", "host: h.test", line="GET https://h2.test/ HTTP/1.1"),
        only("x-forwarded-proto: https", "host: h.test"),
        only("x-forwarded-proto: ftp", "host: h.test"),
        only("x-forwarded-proto: HTTPS", "host: h.test"),
    ]
    listed += [parts(("GET /", 1), ("a", count), (" HTTP/1.1\r\n" + HOST + "\r\n", 1))
               for count in (4000, 8190, 16384, 60000, 61380, 61440, 61500, 70000)]
    # Each byte value once: in the path, first, in the query, in the authority of absolute form.
    listed += [first(f"GET /a{byte}b HTTP/1.1") for byte in ALL_BYTES]
    listed += [first(f"GET {byte}a HTTP/1.1") for byte in ALL_BYTES if 32 < ord(byte) < 128
               and not byte.isalnum()]
    listed += [first(f"GET /a?x{byte}b HTTP/1.1") for byte in ALL_BYTES
               if not byte.isalnum() or ord(byte) > 127]
    listed += [first(f"GET http://a{byte}b/x HTTP/1.1") for byte in ALL_BYTES if ord(byte) < 160]
    return listed
