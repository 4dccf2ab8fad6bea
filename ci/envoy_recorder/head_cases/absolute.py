"""Absolute form and CONNECT, byte by byte: user information, host, port, path, query."""

from envoy_recorder.head_cases.build import first

PUNCTUATION = [chr(code) for code in range(33, 127) if not chr(code).isalnum()]


def heads() -> list[dict]:
    """See the module."""
    listed = []
    for pattern in ("GET http://h2.test/a{}b", "GET http://h2.test/a?x{}b", "GET http://u{}v@h2.test/",
                    "GET http://h2.test:8{}0/", "GET http://{}h2.test/", "GET http://h2.test{}/",
                    "GET http://[::1{}]/", "GET ht{}tp://h2.test/", "GET h{}://h2.test/",
                    "CONNECT a{}b:80", "CONNECT a:8{}0", "CONNECT [::1{}]:80", "CONNECT {}a:80"):
        listed += [first(pattern.replace("{}", byte) + " HTTP/1.1") for byte in PUNCTUATION]
    listed += [first(f"GET {target} HTTP/1.1") for target in (
        "http://[::1]:/", "http://[::1]:80:80/", "http://[::1]x/", "http://[::1]:65535/",
        "http://[::1]:65536/", "http://[]/", "http://[]:80/", "http://[::g]/", "http://[1.2.3.4]/",
        "http://[::ffff:1.2.3.4]/", "http://[fe80::1%25eth0]/", "http://[[::1]]/", "http://]/",
        "http://u@[::1]:80/", "http://u:p@[::1]/", "http://a@b@c/", "http://a:b@c:d@e/",
        "http://h2.test:00080/", "http://h2.test:000000080/", "http://h2.test:+80/",
        "http://-/", "http://-a/", "http://a-/", "http://./", "http://a..b/", "http://1/",
        "http://@/", "http://u@/", "http://u@:80/", "http://:80/", "http://h2.test:80/?a#b",
        "http://h2.test/%", "http://h2.test/%zz", "http://H:80", "http://h2.test:80?",
        "HTTP://H", "hTTP://h?x", "http://http://a/", "http://a/../b", "http://a//",
        "http:/a", "http//a", "://a/", "//a", "http ://a/", "h-t+t.p://a/", "1http://a/")]
    listed += [first(f"CONNECT {target} HTTP/1.1") for target in (
        "a:0", "a:1", "a:65535", "a:65536", "a:080", "a:00080", "a:+1", "a:-1", "a:80:80",
        "[::1]", "[::1]:", "[]:80", "[::g]:80", "[1.2.3.4]:80", "[a]:80", "[[::1]]:80", "::1:80",
        "-:80", ".:80", "a..b:80", "1:80", "a.:80", "*:80", "*")]
    return listed
