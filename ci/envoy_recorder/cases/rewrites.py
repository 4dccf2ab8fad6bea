"""What rewrites make of path and authority, with RE2's substitutions."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, endpoint, http_chain, listener, virtual_host)

NAME = "rewrites"
NOTES = ["prefix_rewrite, regex_rewrite and the host rewrites, with every kind of path matcher",
         "a weighted cluster's host_rewrite_literal yields to the route's own",
         "redirects with regex_rewrite"]


def rewriting(match: dict, **action) -> dict:
    """A route to `c`, or to what the action names, that rewrites."""
    if "weighted_clusters" not in action:
        action = {"cluster": "c", **action}
    return {"match": match, "route": action}


def substitution(pattern: str, text: str) -> dict:
    """A RegexMatchAndSubstitute."""
    return {"pattern": {"regex": pattern}, "substitution": text}


def prefix(text: str, **more) -> dict:
    """A prefix match."""
    return {"prefix": text, **more}


# A route for each pattern and substitution; its path says its number.
REGEX_REWRITES: list[tuple[str, str]] = [
    ("^/r0/(.*)$", "/x/\\1"), ("a", "b"), ("a*", "-"), ("(a)|(b)", "[\\1\\2]"), ("(x)?y", "<\\1>"),
    ("/", "//"), ("b*?", "-"), ("(?U)b+", "-"), ("(?i)B", "c"), ("\\d+", "<\\0>"), ("a|ab", "X"),
    ("(a+)(b+)?", "\\2\\1"), ("^", "/start"), ("$", "/end"), ("\\b", "|"), ("()", "-"), ("nomatch", "X"),
    ("b", "\\\\"), ("b", "?q=\\0"), ("b", "#f"), (".*", "\\0\\0"), ("(?P<n>b)", "\\1"),
    ("^/r22", ""), (".*", ""), ("(?:a)(b)", "\\1"), ("((a)(b))", "\\3\\2\\1"), ("[^/]+$", "end"),
    ("(a)*", "<\\1>"), ("(a|b)*", "<\\1>"), ("(|a)*", "<\\1>"), ("(a*)+", "<\\1>"), ("(a*)*", "<\\1>"),
    ("(a){0}b", "<\\1>"), ("%20", " "), (".", "\\0."), ("(?s).", "x"), ("b", "\u00fc"), ("\\x62", "c"),
    ("(a|ab)(c|bcd)", "\\1-\\2"), ("\\Qa.b\\E", "Q"), ("(a)(b)(c)(d)(e)(f)(g)(h)(i)", "\\9\\8"),
    ("b", "c d"), ("a{2,}?", "-"), ("(ab)??", "-\\1"), ("^/r44(/.*)?$", "/new\\1"), ("b$|^/", "-"),
    ("\\C", "x"), ("(?m)^", "-"), ("[[:alpha:]]", "z"), ("(^|/)b", "\\1c"),
    # Neither a group that is not there nor an unknown escape is refused.
    ("b", "\\1"), ("(b)", "<\\2>"), ("b", "x\\y"), ("b", "x\\"), ("(b)", "x\\1y\\z"),
]
TAILS = ("", "/", "?x=1", "/abab", "/aab/b?x=aab", "/xyy/y", "/12/3", "/aaaa/bbbb", "/%20a%62b",
         "/abcd/abc", "/a.b/axb", "/abcdefghi", "/AbB", "/b?b", "//b//")


def regex_rewrites() -> list[dict]:
    """One route for each."""
    return [rewriting({"path_separated_prefix": f"/r{number}"}, regex_rewrite=substitution(*pair))
            for number, pair in enumerate(REGEX_REWRITES)]


PREFIX_ROUTES = [
    rewriting(prefix("/p/"), prefix_rewrite="/new/"),
    rewriting(prefix("/p1"), prefix_rewrite="/"),
    rewriting(prefix("/loose", case_sensitive=False), prefix_rewrite="/tight"),
    rewriting({"path_separated_prefix": "/seg"}, prefix_rewrite="/"),
    rewriting({"path_separated_prefix": "/seg2"}, prefix_rewrite="/seg3"),
    rewriting({"path": "/exact"}, prefix_rewrite="/other"),
    rewriting({"path": "/Exact2", "case_sensitive": False}, prefix_rewrite="/other?q"),
    rewriting({"safe_regex": {"regex": "/rx/[a-z]+"}}, prefix_rewrite="/whole"),
    rewriting(prefix("/nolead"), prefix_rewrite="lead"),
    rewriting(prefix("/query"), prefix_rewrite="/q?a=b"),
    rewriting(prefix("/frag"), prefix_rewrite="/q#b"),
    rewriting(prefix("/gone"), prefix_rewrite=""),
    rewriting({"safe_regex": {"regex": "/both/.*"}}, regex_rewrite=substitution("/both", "/one")),
    rewriting({"path": "/x/exact"}, regex_rewrite=substitution("exact", "found")),
    rewriting(prefix(""), prefix_rewrite="/front"),
]
PREFIX_PATHS = ("/p/", "/p/a", "/p/a?b=/p/", "/p1", "/p1/", "/p1x", "/p1/a?x", "/LOOSE/x", "/loose", "/Loosex?y",
                "/seg", "/seg/", "/seg/a", "/seg?x", "/seg2", "/seg2/a?b", "/exact", "/exact?x=1", "/EXACT2",
                "/exact2?x=1", "/rx/abc", "/rx/abc?d", "/nolead", "/nolead/a", "/query", "/query/a?c=d",
                "/frag", "/frag/x", "/gone", "/gone/x", "/both/a?b", "/x/exact", "/x/exact?exact", "/none", "/")

HOST_ROUTES = [
    rewriting(prefix("/literal"), host_rewrite_literal="new.test"),
    rewriting(prefix("/port"), host_rewrite_literal="new.test:81"),
    rewriting(prefix("/empty"), host_rewrite_literal=""),
    rewriting(prefix("/header"), host_rewrite_header="x-host"),
    rewriting(prefix("/Header2"), host_rewrite_header="X-HOST"),
    rewriting(prefix("/own"), host_rewrite_header=":authority"),
    rewriting(prefix("/by-path"), host_rewrite_header=":path"),
    rewriting(prefix("/method"), host_rewrite_header=":method"),
    rewriting(prefix("/accept"), host_rewrite_header="accept"),
    rewriting(prefix("/removed"), host_rewrite_header="te"),
    rewriting(prefix("/rx/"), host_rewrite_path_regex=substitution("^/rx/([^/]+)/?.*$", "\\1.test")),
    rewriting(prefix("/rxp/"), host_rewrite_path_regex=substitution("^/rxp/([^/]+)/?.*$", "\\1.test"),
              prefix_rewrite="/"),
    rewriting(prefix("/rxg/"), host_rewrite_path_regex=substitution("/", ".")),
    rewriting(prefix("/auto-name"), cluster="named", auto_host_rewrite=True),
    rewriting(prefix("/auto-none"), cluster="c", auto_host_rewrite=True),
    rewriting(prefix("/auto-off"), cluster="named", auto_host_rewrite=False),
    rewriting(prefix("/xfh"), host_rewrite_literal="new.test", append_x_forwarded_host=True),
    rewriting(prefix("/weighted"), weighted_clusters={"clusters": [
        {"name": "c", "weight": 1, "host_rewrite_literal": "weighted.test"}]}),
    rewriting(prefix("/two-literal"), host_rewrite_literal="route.test", weighted_clusters={"clusters": [
        {"name": "c", "weight": 1, "host_rewrite_literal": "weighted.test"}]}),
    rewriting(prefix("/two-header"), host_rewrite_header="x-host", weighted_clusters={"clusters": [
        {"name": "c", "weight": 1, "host_rewrite_literal": "weighted.test"}]}),
    rewriting(prefix("/two-regex"), host_rewrite_path_regex=substitution("^/two-regex/", "r."),
              weighted_clusters={"clusters": [
                  {"name": "c", "weight": 1, "host_rewrite_literal": "weighted.test"}]}),
    rewriting(prefix("/two-auto"), auto_host_rewrite=True, weighted_clusters={"clusters": [
        {"name": "named", "weight": 1, "host_rewrite_literal": "weighted.test"}]}),
    rewriting(prefix("/two-none"), auto_host_rewrite=True, weighted_clusters={"clusters": [
        {"name": "c", "weight": 1, "host_rewrite_literal": "weighted.test"}]}),
    rewriting(prefix("/both"), host_rewrite_literal="both.test", prefix_rewrite="/b"),
    rewriting(prefix("/no-rx"), host_rewrite_path_regex=substitution(".*", "")),
    rewriting(prefix("/two-no-rx"), host_rewrite_path_regex=substitution(".*", ""),
              weighted_clusters={"clusters": [
                  {"name": "c", "weight": 1, "host_rewrite_literal": "weighted.test"}]}),
]
HOST_PATHS = ("/literal", "/port", "/empty", "/own", "/by-path?x", "/method", "/rx/a/b?c", "/rx/a", "/rx/", "/rx//x",
              "/rxp/a/b?c", "/rxg/a/b?c/d", "/auto-name", "/auto-none", "/auto-off", "/xfh", "/weighted",
              "/two-literal", "/two-regex/a?b", "/two-auto", "/two-none", "/both/x?y", "/no-rx", "/two-no-rx")

REDIRECTS = [
    {"match": prefix("/rr0/"), "redirect": {"regex_rewrite": substitution("^/rr0/(.*)$", "/to/\\1")}},
    {"match": prefix("/rr1/"), "redirect": {"regex_rewrite": substitution("a", "b"), "strip_query": True}},
    {"match": prefix("/rr2/"), "redirect": {"regex_rewrite": substitution("a", "?x"), "strip_query": True}},
    {"match": prefix("/rr3/"), "redirect": {"regex_rewrite": substitution("^/", ""), "host_redirect": "o.test"}},
    {"match": prefix("/rr4/"), "redirect": {"regex_rewrite": substitution("nomatch", "x"), "https_redirect": True}},
    {"match": prefix("/rr5/"), "redirect": {"regex_rewrite": substitution(".*", "")}},
    {"match": {"path": "/rr6"}, "redirect": {"prefix_rewrite": "/px?z"}},
    {"match": {"path_separated_prefix": "/rr7"}, "redirect": {"prefix_rewrite": "/"}},
    {"match": {"safe_regex": {"regex": "/rr8/.*"}}, "redirect": {"prefix_rewrite": "/p8"}},
    {"match": prefix("/rr9", case_sensitive=False), "redirect": {"prefix_rewrite": "/p9"}},
]
REDIRECT_PATHS = ("/rr0/a", "/rr0/a?b=a", "/rr1/aa?a", "/rr2/a/a?y", "/rr2/x?y", "/rr3/a?b", "/rr4/x?y", "/rr5/x?y", "/rr5/x",
                  "/rr6?y", "/rr7/a?b", "/rr7", "/rr8/a?b", "/RR9/a?b", "/rr9")


def config() -> dict:
    """A virtual host for each kind."""
    hosts = [virtual_host("regex", ["regex.test"], regex_rewrites()),
             virtual_host("prefix", ["prefix.test"], PREFIX_ROUTES),
             virtual_host("host", ["host.test", "host.test:*"], HOST_ROUTES),
             virtual_host("redirect", ["redirect.test"], REDIRECTS)]
    named = endpoint(2)
    named["endpoint"]["hostname"] = "endpoint.test"
    clusters = [cluster("c", 1), cluster("named", [named])]
    return bootstrap([listener("web", [http_chain("web", hosts)])], clusters)


def traffic() -> list[dict]:
    """Each rewrite at its boundaries."""
    collected = Traffic()
    for number, _ in enumerate(REGEX_REWRITES):
        for tail in TAILS:
            collected.add(f"/r{number}{tail}", "regex.test")
    for path in PREFIX_PATHS:
        collected.add(path, "prefix.test")
    for path in HOST_PATHS:
        collected.add(path, "host.test")
    for path in ("/header", "/Header2", "/two-header", "/accept", "/removed"):
        for headers in ((), [("x-host", "given.test")], [("x-host", "")], [("x-host", "a"), ("x-host", "b")],
                        [("X-Host", "  a.test\t")], [("x-host", "bad host?")], [("accept", "a"), ("accept", "b")],
                        [("te", "trailers")], [("te", "gzip")]):
            collected.add(path, "host.test", headers)
    collected.add("/literal", "host.test:80")
    collected.add("http://host.test/literal", "other.test")
    collected.add("http://prefix.test/p1/a?b", "other.test")
    collected.add("http://prefix.test", "other.test")
    for path in REDIRECT_PATHS:
        collected.add(path, "redirect.test")
    return collected.requests
