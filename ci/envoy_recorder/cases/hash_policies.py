"""Hash policies of routes: what they hash, and how several of them are put together."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, http_chain, listener, route, virtual_host)

NAME = "hash-policies"
NOTES = ["headers (also repeated and empty), cookies, query parameters and the client's address, "
         "several policies and terminal ones, seen by a ring of 40 endpoints and by weighted "
         "clusters with use_hash_policy; headers that a regex rewrites before they are hashed",
         "of a source only the address is of importance"]
USER = {"header": {"header_name": "x-user"}}
COOKIE = {"cookie": {"name": "sid"}}
QUERY = {"query_parameter": {"name": "q"}}
SOURCE = {"connection_properties": {"source_ip": True}}
POLICIES = {
    "header": [USER],
    "path": [{"header": {"header_name": ":path"}}],
    "host": [{"header": {"header_name": "host"}}],
    "cookie": [COOKIE],
    "query": [QUERY],
    "source": [SOURCE],
    "no-source": [{"connection_properties": {}}, USER],
    "two": [USER, QUERY],
    "same": [USER, USER],
    "terminal": [USER | {"terminal": True}, QUERY],
    "last": [COOKIE, QUERY | {"terminal": True}, USER],
    "four": [USER, COOKIE, QUERY, SOURCE],
}


def rewritten(regex: str, substitution: str, name: str = "x-user") -> dict:
    """A policy that hashes what a regex makes of a header."""
    return {"header": {"header_name": name, "regex_rewrite": {
        "pattern": {"regex": regex}, "substitution": substitution}}}


REWRITTEN = {
    "tenant": [rewritten(r"^([a-z]+)-.*$", r"\1")],
    "each": [rewritten("a|b", r"<\0>")],
    "empty": [rewritten("x*", "-")],
    "gone": [rewritten(".*", "")],
    "no-group": [rewritten("a", r"\1")],
    "half": [rewritten("\\xc3", "")],
    "query-of-path": [rewritten(r"\?.*$", "", ":path")],
    "rewritten-terminal": [rewritten("-.*", "") | {"terminal": True}, QUERY],
    "rewritten-two": [rewritten("-.*", ""), rewritten(".*-", "")],
}
POLICIES |= REWRITTEN
SPLIT = {"c1": 5, "c2": 3, "c3": 2}


def config() -> dict:
    """A virtual host for each list of policies: one route to the ring, one to the split."""
    weighted = {"clusters": [{"name": name, "weight": weight} for name, weight in SPLIT.items()],
                "use_hash_policy": True}
    hosts = []
    for name, policies in POLICIES.items():
        hosts.append(virtual_host(name, [f"{name}.test"], [
            {"match": {"prefix": "/split"}, "name": "split",
             "route": {"weighted_clusters": weighted, "hash_policy": policies}},
            {"match": {"prefix": "/"}, "name": "ring",
             "route": {"cluster": "ring", "hash_policy": policies}}]))
    hosts.append(virtual_host("nothing", ["nothing.test"], [
        {"match": {"prefix": "/split"}, "name": "split",
         "route": {"weighted_clusters": weighted | {"clusters": [
             {"name": "d1", "weight": 1}, {"name": "d2", "weight": 1}]}, "hash_policy": [USER]}},
        route({"prefix": "/"}, "any", "any")]))
    return bootstrap([listener("web", [http_chain("web", hosts)])], [
        cluster("ring", 40, lb_policy="RING_HASH"),
        cluster("any", 3, first=50, lb_policy="RING_HASH"),
        *(cluster(name, 1, first=60 + index)
          for index, name in enumerate((*SPLIT, "d1", "d2")))])


def traffic() -> list[dict]:
    """What each policy hashes, at its limits."""
    collected = Traffic()

    def both(host: str, query: str = "", headers=(), **more) -> None:
        for path in ("/", "/split"):
            collected.add(path + query, f"{host}.test", headers, **more)

    values = ["a", "b", "user-1", "user-2", "", "A", "0123456", "01234567", "012345678",
              "x" * 31, "x" * 32, "x" * 33, "ü", "a b", "a,b"]
    for value in values:
        both("header", headers=[("x-user", value)])
    for lines in (["a", "b"], ["b", "a"], ["b", "a", "c"], ["a", "a"], ["", "a"], ["ab", "a"],
                  ["a", "ab"], ["a", "", "b", "a"]):
        both("header", headers=[("X-User", line) for line in lines])
    for query in ("", "?q=1", "a", "b/c"):
        both("path", query)
    both("host")
    for cookies in (["sid=1"], ["sid=2"], ["a=1; sid=1"], ["a=1;sid=1"], ["a=1; sid=1; sid=2"],
                    ["sid=\"1\""], ["sid=\"1 2\""], ["sid=\""], ["sid=a=b"], ["sid=1 "],
                    ["  sid=1"], ["sid= 1"], ["a=1", "sid=1"], ["sid=1", "sid=2"], ["sid;sid=3"],
                    [";;sid=4;"], ["a; sid=5"]):
        both("cookie", headers=[("cookie", line) for line in cookies])
    for query in ("?q=1", "?q=2", "?q=", "?q", "?a=1&q=1", "?q=1&q=2", "?q=%31", "?q=a+b",
                  "?&q=3", "?q=1;2", "?q=a=b"):
        both("query", query)
    for address in ("127.0.7.1", "127.0.7.2", "127.7.70.200"):
        for name in ("source", "four"):
            both(name, headers=[("x-user", "u")], source=f"{address}:0")
    for user in ("u1", "u2", "u3"):
        both("no-source", headers=[("x-user", user)])
        both("same", headers=[("x-user", user)])
        for query in ("?q=1", "?q=2", ""):
            for name in ("two", "terminal"):
                both(name, query, [("x-user", user)])
            for cookie in ((), (("cookie", "sid=1"),)):
                both("last", query, [("x-user", user), *cookie])
                both("four", query, [("x-user", user), *cookie], source="127.0.7.9:0")
    for query in ("?q=1", "?q=2"):
        for name in ("two", "terminal", "last"):
            both(name, query)
    for name in REWRITTEN:
        for value in ("", "a", "b", "ab", "a-1", "a-2", "b-1", "1-a", "1-b", "ab-ab",
                      "ü", "ü-1", "A-1"):
            both(name, "?q=1", [("x-user", value)])
        for lines in (["a-1", "b-1"], ["b-2", "a-2"], ["c-1", "b-1", "a-1"], ["a-1", "a-2"],
                      ["1-b", "2-a"]):
            both(name, "?q=2", [("x-user", line) for line in lines])
    both("rewritten-terminal", "?q=1")
    for _ in range(30):
        both("nothing")
    return collected.requests
