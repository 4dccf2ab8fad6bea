"""Every kind of header matcher, each in a virtual host of its own: matched or not."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, http_chain, listener, route, virtual_host)

NAME = "header-matchers"
NOTES = ["one virtual host for each matcher; its first route has the matcher and goes to `yes`, "
         "the second takes the rest to `no`",
         "repeated headers are matched one by one, since Envoy 1.39"]
H = "x-h"
MISSING = ()


def string(**how) -> dict:
    """A string_match."""
    return {"name": H, "string_match": how}


def regex(pattern: str) -> dict:
    """A safe_regex."""
    return {"safe_regex": {"regex": pattern}}


# The matcher, and the values of x-h it is tried with: a text, or several for repeated headers.
MATCHERS: dict[str, tuple[dict | list, tuple]] = {
    "exact": (string(exact="Abc"), (MISSING, "Abc", "abc", "Ab", "Abcd", "", ("Abc", "x"),
                                    ("x", "Abc"), "Abc,x", "Abc ", " Abc")),
    "exact-empty": (string(exact=""), (MISSING, "", "x", ("", "x"), ("x", ""), " ")),
    "exact-ignore-case": (string(exact="aBc", ignore_case=True), ("abc", "ABC", "ab", "abcd", MISSING)),
    "exact-invert": ({**string(exact="a"), "invert_match": True},
                     (MISSING, "a", "b", "", ("a", "b"), ("b", "a"), ("b", "c"))),
    "exact-comma": (string(exact="a,b"), ("a,b", ("a", "b"), "a, b")),
    "prefix": (string(prefix="ab"), (MISSING, "ab", "abc", "a", "Ab", "cab", ("x", "ab1"))),
    "prefix-ignore-case": (string(prefix="aB", ignore_case=True), ("AB1", "ab", "a", "xab")),
    "prefix-invert": ({**string(prefix="ab"), "invert_match": True}, (MISSING, "ab", "a", "abx", "")),
    "suffix": (string(suffix="yz"), (MISSING, "yz", "xyz", "z", "Yz", "yza", ("xyz", "q"))),
    "suffix-ignore-case": (string(suffix="yZ", ignore_case=True), ("YZ", "xyz", "z", "yzx")),
    "contains": (string(contains="mn"), (MISSING, "mn", "lmno", "m", "mNo", "nm", ("a", "xmnx"))),
    "contains-ignore-case": (string(contains="mN", ignore_case=True), ("LMNO", "mn", "m-n")),
    "contains-invert": ({**string(contains="mn"), "invert_match": True}, (MISSING, "mn", "x", "")),
    "regex": (string(**regex("v[0-9]+")), (MISSING, "v1", "v", "v12", "v1x", "xv1", "V1", ("x", "v9"))),
    "regex-alternatives": (string(**regex("a|ab|v1|v10")), ("a", "ab", "abc", "v1", "v10", "v100", "b")),
    "regex-empty": (string(**regex(".*")), (MISSING, "", "x", "\u00fc")),
    "regex-case": (string(**regex("(?i)abc\\d")), ("ABC1", "abc9", "abc", "abc\u0663")),
    "regex-bytes": (string(**regex("a.b")), ("axb", "a\u00fcb", "ab", "axxb")),
    "regex-two-bytes": (string(**regex("a..b")), ("a\u00fcb", "axxb", "axb")),
    "regex-not-ascii": (string(**regex("\u00fc+")), ("\u00fc", "\u00fc\u00fc", "u")),
    "regex-class-not-ascii": (string(**regex("[\u00e4\u00fc]")), ("\u00fc", "\u00e4", "a")),
    "regex-negated": (string(**regex("a[^x]b")), ("ayb", "axb", "a\u00fcb", "a,b")),
    "regex-number": (string(**regex("\\x{fc}|\\x41")), ("\u00fc", "A", "x41")),
    "regex-any-byte": (string(**regex("a\\Cb")), ("axb", "a\u00fcb")),
    "regex-property": (string(**regex("\\pL+")), ("abc", "\u00fc", "1")),
    "regex-not-ascii-case": (string(**regex("(?i)\u00fc")), ("\u00fc", "\u00dc")),
    "not-ascii-ignore-case": (string(exact="\u00fcA", ignore_case=True), ("\u00fca", "\u00dca")),
    "regex-invert": ({**string(**regex("v[0-9]")), "invert_match": True}, (MISSING, "v1", "w1", "")),
    "range": ({"name": H, "range_match": {"start": "-10", "end": "10"}},
              (MISSING, "-11", "-10", "0", "9", "10", "+5", "007", "-0", "5.0", "0x5", "5abc", "", " 5",
               "9223372036854775807", "9223372036854775808", "-9223372036854775808",
               ("99", "5"), ("99", "98"), "5,99", "--5")),
    "range-invert": ({"name": H, "range_match": {"start": "1", "end": "3"}, "invert_match": True},
                     (MISSING, "0", "1", "2", "3", "x", "")),
    "range-wide": ({"name": H, "range_match": {"start": "-9223372036854775808",
                                               "end": "9223372036854775807"}},
                   ("-9223372036854775808", "9223372036854775806", "9223372036854775807",
                    "-9223372036854775809", "99999999999999999999")),
    "range-empty": ({"name": H, "range_match": {"start": "5", "end": "5"}}, ("4", "5", "6")),
    "present": ({"name": H, "present_match": True}, (MISSING, "", "x", ("", ""))),
    "present-false": ({"name": H, "present_match": False}, (MISSING, "", "x")),
    "present-invert": ({"name": H, "present_match": True, "invert_match": True}, (MISSING, "", "x")),
    "present-false-invert": ({"name": H, "present_match": False, "invert_match": True},
                             (MISSING, "", "x")),
    "bare": ({"name": H}, (MISSING, "", "x")),
    "bare-invert": ({"name": H, "invert_match": True}, (MISSING, "", "x")),
    "empty-exact": ({**string(exact=""), "treat_missing_header_as_empty": True}, (MISSING, "", "x")),
    "empty-exact-invert": ({**string(exact="a"), "treat_missing_header_as_empty": True,
                            "invert_match": True}, (MISSING, "a", "b", "")),
    "empty-prefix": ({**string(prefix="a"), "treat_missing_header_as_empty": True}, (MISSING, "ab", "")),
    "empty-regex": ({**string(**regex("(a|)")), "treat_missing_header_as_empty": True},
                    (MISSING, "a", "", "b")),
    "empty-range-invert": ({"name": H, "range_match": {"start": "0", "end": "9"},
                            "treat_missing_header_as_empty": True, "invert_match": True},
                           (MISSING, "5", "x", "")),
    "empty-present": ({"name": H, "present_match": True, "treat_missing_header_as_empty": True},
                      (MISSING, "", "x")),
    "empty-present-false": ({"name": H, "present_match": False, "treat_missing_header_as_empty": True},
                            (MISSING, "", "x")),
    "old-exact": ({"name": H, "exact_match": "a"}, (MISSING, "a", "A", "", ("b", "a"))),
    "old-exact-empty": ({"name": H, "exact_match": ""}, (MISSING, "", "x")),
    "old-prefix": ({"name": H, "prefix_match": "ab"}, (MISSING, "ab", "abc", "a")),
    "old-suffix": ({"name": H, "suffix_match": "yz"}, (MISSING, "yz", "xyz", "z")),
    "old-contains": ({"name": H, "contains_match": "mn"}, (MISSING, "mn", "xmnx", "m")),
    "old-regex": ({"name": H, "safe_regex_match": {"regex": "v[0-9]"}}, (MISSING, "v1", "v10", "v")),
    "name-case": ({"name": "X-H", "string_match": {"exact": "a"}}, ("a", "b")),
    "two": ([string(prefix="a"), string(suffix="z")], ("az", "a", "z", ("a", "z"), MISSING)),
    "two-invert": ([string(prefix="a"), {**string(suffix="z"), "invert_match": True}],
                   ("a", "az", "z", ("a", "z"))),
}
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE")
# Matchers of pseudo headers, and requests for them.
PSEUDO: dict[str, dict] = {
    "method": {"name": ":method", "string_match": {"exact": "POST"}},
    "method-regex": {"name": ":method", "string_match": regex("GET|PUT|PATCH")},
    "path": {"name": ":path", "string_match": {"prefix": "/a?x"}},
    "path-suffix": {"name": ":path", "string_match": {"suffix": ".html"}},
    "scheme": {"name": ":scheme", "string_match": {"exact": "http"}},
    "authority": {"name": ":authority", "string_match": {"exact": "authority.test"}},
    "host": {"name": "host", "string_match": {"exact": "HOST.test"}},
    "host-present": {"name": "Host", "present_match": True},
}
PATHS = ("/", "/a", "/a?x", "/a?x=1", "/A?x", "/b.html", "/b.html?x", "/a?x.html")


def pair(name: str, matchers: dict | list) -> dict:
    """A virtual host: matched goes to `yes`, the rest to `no`."""
    listed = matchers if isinstance(matchers, list) else [matchers]
    return virtual_host(name, [f"{name}.test"], [
        route({"prefix": "/", "headers": listed}, "yes", f"{name}-yes"),
        route({"prefix": "/"}, "no")])


def config() -> dict:
    """All matchers."""
    hosts = [pair(name, matcher) for name, (matcher, _) in MATCHERS.items()]
    hosts += [pair(name, matcher) for name, matcher in PSEUDO.items()]
    return bootstrap([listener("web", [http_chain("web", hosts)])],
                     [cluster("yes", 1, first=1), cluster("no", 1, first=2)])


def traffic() -> list[dict]:
    """Each matcher with the values at its boundaries."""
    collected = Traffic()
    for name, (_, values) in MATCHERS.items():
        for value in values:
            texts = (value,) if isinstance(value, str) else value
            collected.add("/", f"{name}.test", [(H, text) for text in texts])
    for name in PSEUDO:
        if name.startswith("method"):
            for method in METHODS:
                collected.add("/", f"{name}.test", method=method)
        elif name.startswith("path"):
            for path in PATHS:
                collected.add(path, f"{name}.test")
        else:
            for authority in (f"{name}.test", f"{name.upper()}.test"):
                collected.add("/", authority)
    collected.add("/", "scheme.test", [("x-forwarded-proto", "https")])
    collected.add("/", "name-case.test", [("X-H", "a")])
    return collected.requests
