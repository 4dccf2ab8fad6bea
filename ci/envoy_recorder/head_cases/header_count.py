"""How many headers there are where lines are joined, and faults of headers behind odd targets."""

from envoy_recorder.head_cases.build import HOST, only, parts
from envoy_recorder.head_cases.repeat import NAMES

START = "GET / HTTP/1.1\r\n"
# The form of each is another: no URL, no scheme, no authority, one that is taken, ...
TARGETS = ("://", "x://", "ftp://a/", "foo", "?q", "x:80", "1http://a/", "http://", "http:///p",
           "http://a\"/", "http://a#/", "http://a?q", "http://a/#f", "http://a|b?/", "h+t://a/",
           "h_t://a/", "http://a/", "HTTP://a:80/", "https://a/", "http://u:p@a/", "http://a@@b/",
           "http://a/\"<>\\^`{|}", "http://a:port/", "*", "*x", "http:/a/", "http:a//b://c/")
FAULTS = (("transfer-encoding: gzip",), ("content-length: 5", "transfer-encoding: chunked"),
          ("content-length: x",), ("x y: 1",), ("connection: x-forwarded-for",),
          ("connection: upgrade", "upgrade: x"), ("x: 1",) * 101)


def counted(*pieces: tuple[str, int]) -> dict:
    """Header lines behind Host, each with how often it is repeated."""
    return parts((START + HOST, 1), *((line + "\r\n", count) for line, count in pieces), ("\r\n", 1))


def heads() -> list[dict]:
    """See the module."""
    names = [name for name in NAMES.split() if name != "connection"]
    listed = [counted((f"{name}: a", 101)) for name in names]
    listed += [counted(*pieces) for pieces in (
        (("connection:", 101),), (("connection: a", 9), ("x: 1", 98)), (("connection: a", 9), ("x: 1", 99)),
        (("content-type: a", 4), ("x: 1", 98)), (("content-type: a", 4), ("x: 1", 99)),
        (("x: 1", 98), ("content-type: a", 4)), (("x: 1", 99), ("content-type: a", 4)),
        (("Accept: a", 1), ("x: 1", 98), ("aCCEPT: a", 20)), (("accept:", 120),),
        (("accept: a", 60), ("via: a", 60)), (("accept: a", 60), ("via: a", 60), ("x: 1", 97)),
        (("accept: a", 60), ("via: a", 60), ("x: 1", 98)), (("host: b", 101),),
        (("host: b", 2), ("x: 1", 99)), (("host: b", 2), ("x: 1", 100)), (("cookie: a", 101),),
        (("x: 1", 98), ("content-length: x", 1)), (("x: 1", 99), ("content-length: x", 1)),
        (("x: 1", 100), ("content-length: x", 1)), (("content-length: x", 1), ("x: 1", 100)),
        (("content-length: 5", 2), ("x: 1", 100)), (("x: 1", 98), ("content-length: 5", 2)),
        (("content-length: 5", 1), ("x: 1", 98), ("content-length: 5", 1)),
        (("content-length: 5", 1), ("x: 1", 99), ("content-length: 5", 1)),
        (("x: 1", 99), ("x y: 1", 1)), (("x: 1", 100), ("x y: 1", 1)),
        (("accept: a", 4), ("x: 1", 98), ("x y: 1", 1)), (("accept: a", 4), ("x: 1", 99), ("x y: 1", 1)),
        (("x: 1\r\n 2", 99),), (("x: 1\r\n 2", 100),), (("accept: 1\r\n 2", 101),),
        (("transfer-encoding:", 100), ("transfer-encoding: chunked", 1)),
        (("connection: x", 1), ("x: 1", 98)), (("connection: x", 1), ("x: 1", 99)),
        (("connection: accept", 1), ("accept: 1", 101)), (("connection: host", 1), ("x: 1", 99)),
        (("x: 1", 100), ("transfer-encoding: gzip", 1)), (("x: 1", 100), ("connection: x-forwarded-for", 1)),
        (("x: 1", 99), ("content-length: 5", 1), ("transfer-encoding: chunked", 1)),
        (("accept: a", 250), ("x: 1", 98)), (("accept: a", 250), ("x: 1", 99)),
        (("accept: a", 300), ("x: 1", 98)), (("accept: a", 300), ("x: 1", 99)))]
    listed += [parts((START, 1), ("x: 1\r\n", count), (HOST, hosts), ("\r\n", 1))
               for count in (98, 99, 100) for hosts in (1, 2)]
    listed += [only("host: a", *faults, line=f"GET {target} HTTP/1.1")
               for target in TARGETS for faults in FAULTS]
    return listed
