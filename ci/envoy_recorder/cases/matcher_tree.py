"""Virtual hosts whose routes stand in a matcher tree."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, http_chain, listener, route)

NAME = "matcher-tree"
NOTES = ["matcher trees of virtual hosts: lists with predicates of each kind, maps of values and of "
         "prefixes, what is tried where a branch leads nowhere, lists of routes; repeated, "
         "empty and missing headers"]
XDS = "type.googleapis.com/envoy.config.route.v3."


def of(header: str) -> dict:
    """An input."""
    return {"name": "input", "typed_config": {
        "@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
        "header_name": header}}


def to(name: str, match: dict | None = None) -> dict:
    """A route, which takes every path unless a match is given."""
    found = route(match or {"prefix": "/"}, "a", name)
    return {"action": {"name": "route", "typed_config": {"@type": XDS + "Route", **found}}}


def to_all(*routes: dict) -> dict:
    """Several routes, of which the first that matches counts."""
    return {"action": {"name": "routes", "typed_config": {
        "@type": XDS + "RouteList", "routes": list(routes)}}}


def single(header: str, **value) -> dict:
    """A predicate of one header."""
    return {"single_predicate": {"input": of(header), "value_match": value}}


def matchers(*fields: tuple[dict, dict], otherwise: dict | None = None) -> dict:
    """A list of matchers."""
    found = {"matcher_list": {"matchers": [
        {"predicate": predicate, "on_match": leads} for predicate, leads in fields]}}
    return found | ({"on_no_match": otherwise} if otherwise else {})


def mapped(kind: str, header: str, entries: dict, otherwise: dict | None = None) -> dict:
    """A map of values, or of prefixes."""
    found = {"matcher_tree": {"input": of(header), f"{kind}_match_map": {"map": entries}}}
    return found | ({"on_no_match": otherwise} if otherwise else {})


def within(matcher: dict) -> dict:
    """A matcher inside."""
    return {"matcher": matcher}


ANY = {"google_re2": {}, "regex": ".*"}
A1, A2 = single("x-a", exact="1"), single("x-a", exact="2")
B1 = single("x-b", exact="1")
NOWHERE = within(mapped("exact", "x-never", {"1": to("never")}))
TREES = {
    "kinds": matchers(
        (single("x-a", prefix="pre"), to("prefix")), (single("x-a", suffix="fix"), to("suffix")),
        (single("x-a", contains="mid"), to("contains")),
        (single("x-a", safe_regex={"google_re2": {}, "regex": "re[0-9]+"}), to("regex")),
        (single("x-a", exact="Case", ignore_case=True), to("case")),
        (single(":method", exact="POST"), to("method")),
        (single(":authority", exact="kinds.test:80"), to("authority")),
        (single(":path", prefix="/p?q"), to("query")),
        otherwise=to("other")),
    "predicates": matchers(
        ({"and_matcher": {"predicate": [A1, B1]}}, to("and")),
        ({"or_matcher": {"predicate": [A2, B1]}}, to("or")),
        ({"not_matcher": single("x-a", safe_regex=ANY)}, to("not")),
        ({"not_matcher": {"and_matcher": {"predicate": [A1, {"not_matcher": B1}]}}}, to("nand"))),
    "joined": matchers(
        (single("x-a", exact="1,2"), to("joined")), (single("x-a", exact="1,"), to("empty-last")),
        (single("x-a", exact=",1"), to("empty-first")), (A1, to("one")),
        (single("accept", exact="1,2"), to("accept")), (single("X-A", safe_regex={
            "google_re2": {}, "regex": "()"}), to("empty"))),
    "exact": mapped("exact", "x-a", {
        "1": to("one"), "2": NOWHERE, "1,2": to("both"),
        "4": to("path", {"path": "/four"})}, to("other")),
    "prefix": mapped("prefix", ":path", {
        "/a": to("a"), "/a/b": NOWHERE, "/a/b/c": to("c"), "/a/b/c/d": NOWHERE, "/z": NOWHERE, "/y": to("y", {"path": "/y"})}, to("other")),
    "nested": matchers(
        (A1, within(matchers((B1, to("inner")), otherwise=to("inner-other")))),
        (A2, NOWHERE), (single("x-a", exact="3"), within(matchers((B1, to("third"))))),
        (single("x-a", safe_regex={"google_re2": {}, "regex": "[23]"}), to("after")),
        (single("x-a", safe_regex=ANY), to("any"))),
    "lists": matchers(
        (A1, to_all(route({"path": "/one"}, "a", "first"), route({"prefix": "/o"}, "a"),
                    route({"prefix": "/", "headers": [{"name": "x-b", "present_match": True}]}, "a",
                          "by-header"))),
        (single("x-a", prefix="1"), to("not-tried")),
        otherwise=to_all(route({"prefix": "/late"}, "a", "late"),
                         {"match": {"prefix": "/redirect"}, "redirect": {"path_redirect": "/z"},
                          "name": "redirect"})),
    "only": {"on_no_match": to("only", {"path": "/only"})},
    "unnamed": mapped("exact", "x-a", {
        "b": {"action": {"name": "r", "typed_config": {
            "@type": XDS + "Route", **route({"prefix": "/"}, "a")}}},
        "a": {"action": {"name": "r", "typed_config": {
            "@type": XDS + "Route", **route({"prefix": "/"}, "a")}}}}),
}


def config() -> dict:
    """A virtual host for each tree."""
    hosts = [{"name": name, "domains": [f"{name}.test", f"{name}.test:80"], "matcher": tree}
             for name, tree in TREES.items()]
    return bootstrap([listener("web", [http_chain("web", hosts)])], [cluster("a", 1)])


def traffic() -> list[dict]:
    """Each tree from all sides."""
    collected = Traffic()
    for value in ("pre", "prefix", "suffix", "fix", "a-mid-b", "re1", "re", "re1x", "case", "CASE", "", "x"):
        collected.add("/p", "kinds.test", [("x-a", value)])
    collected.add("/p", "kinds.test", method="POST")
    for path in ("/p?q", "/p?q=1", "/p", "/pq"):
        collected.add(path, "kinds.test")
        collected.add(path, "kinds.test:80")
    values = (None, "", "1", "2", "3", "4", "5", "x")
    for name in ("predicates", "exact", "nested", "lists"):
        for first in values:
            for second in (None, "1", "2"):
                headers = [(key, value) for key, value in (("x-a", first), ("x-b", second))
                           if value is not None]
                for path in ("/", "/one", "/o", "/four", "/late", "/redirect"):
                    if name == "lists" or path in ("/", "/four"):
                        collected.add(path, f"{name}.test", headers)
    for lines in (["1"], ["1", "2"], ["1", ""], ["", "1"], ["", ""], [""], [], ["1,2"], ["2", "1"]):
        for host in ("joined.test", "exact.test"):
            collected.add("/", host, [("x-a", line) for line in lines])
        collected.add("/", "joined.test", [("accept", line) for line in lines])
    for path in ("/a", "/ab", "/a/b", "/a/b/c", "/a/b/cd", "/a/bx", "/a/b/c/d", "/a/b/c/dx", "/z", "/z/a",
                 "/y", "/y/", "/", "/b", "/A", "/a?q", "/a/b?/c"):
        collected.add(path, "prefix.test")
    for path in ("/only", "/other"):
        collected.add(path, "only.test")
    for value in ("a", "b", "c"):
        collected.add("/", "unnamed.test", [("x-a", value)])
    return collected.requests
