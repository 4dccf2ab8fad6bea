"""Host: how many, which bytes, in which version."""

from envoy_recorder.head_cases.build import ALL_BYTES, only, parts


def heads() -> list[dict]:
    """See the module."""
    listed = [only(), only("x-a: 1"), only("host: a.test"), only("Host: a.test"),
              only("HOST: a.test"), only("hOsT:a.test"), only("host:a.test"),
              only("host:   a.test   "), only("host:\ta.test\t"), only("host : a.test"),
              only("host: a", "host: b"), only("host: a", "host: a"), only("host: a", "Host: A"),
              only("host: a", "x: 1", "host: a"), only("host: a", "host:"),
              only("host:", "host: a"), only("host:", "host:"), only("host: a", "host: a", "host: b"),
              only("host: a", ":authority: b"), only(":authority: a"), only("authority: a"),
              only("x-forwarded-host: a"), only("host: a", "x-forwarded-host: b")]
    listed += [only(f"host:{value}") for value in (
        "", " ", "\t", " .", " ..", " a.", " a..", " .a", " A.TEST", " a.test:80", " a.test:8080",
        " a.test:", " a.test:0", " a.test:65535", " a.test:65536", " a.test:99999", " a.test:abc",
        " a.test:-1", " a.test:+80", " a.test:080", " a.test: 80", " a.test :80", " a.test:80:80",
        " a.test:8o", " :80", " :", " user@a.test", " user:pw@a.test:80", " @a.test", " a.test@",
        " [::1]", " [::1]:80", " [::1]:", " [::1]:abc", " [::1", " ::1]", " ::1", " [::1]x",
        " []", " [", " ]", " [fe80::1%25eth0]", " [::ffff:1.2.3.4]", " [v1.x]", " [a.test]",
        " [::1]]:80", " [[::1]]", " [::G]", " [1:2]:3", " 2001:db8::1", " 1.2.3.4", " 1.2.3.4:80",
        " 1.2.3.4.5", " 999.1.1.1", " 1", " a,b", " a, b", " a b", " a\tb", " a;b", " a/b", " /",
        " a.test/", " a.test?x", " a.test#x", " a\\b", " http://a.test", " *", " *.a.test", " a*",
        " a_b", " _a", " -a", " a-", " a%2eb", " a%zz", " %", " a\"b", " \"a\"", " a<b", " a|b",
        " a^b", " a`b", " {a}", " a~b", " a!b", " a$b", " a&b", " a'b", " (a)", " a+b", " a=b",
        " h\xe9", " h\xc3\xa9", " xn--h-fga", " a\x00b", " a\x7fb", " a\rb", " a\x0bb", " localhost")]
    listed += [only(line="GET / HTTP/1.0", listener="accept_http_10"),
               only("host: a", line="GET / HTTP/1.0", listener="accept_http_10"),
               only("host:", line="GET / HTTP/1.0", listener="accept_http_10"),
               only("host: a", "host: b", line="GET / HTTP/1.0", listener="accept_http_10"),
               only("host: a b", line="GET / HTTP/1.0", listener="accept_http_10"),
               only("host: a", line="GET / HTTP/1.0"), only(line="GET / HTTP/1.0"),
               only(line="OPTIONS * HTTP/1.1"), only("host:", line="OPTIONS * HTTP/1.1")]
    listed += [parts(("GET / HTTP/1.1\r\nhost: ", 1), ("a", count), ("\r\n\r\n", 1))
               for count in (63, 64, 253, 254, 255, 256, 1000, 10000, 60000)]
    listed += [only(f"host: a{byte}b") for byte in ALL_BYTES]
    listed += [only(f"host: {byte}") for byte in ALL_BYTES if 32 < ord(byte) < 127]
    return listed
