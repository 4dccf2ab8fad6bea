"""Query parameter matchers."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, http_chain, listener, route, virtual_host)

NAME = "query-parameters"
NOTES = ["one virtual host for each matcher; its first route has the matcher and goes to `yes`, "
         "the second takes the rest to `no`"]


def string(name: str = "p", **how) -> dict:
    """A string_match."""
    return {"name": name, "string_match": how}


MATCHERS: dict[str, list[dict]] = {
    "exact": [string(exact="v1")],
    "exact-empty": [string(exact="")],
    "exact-ignore-case": [string(exact="V1", ignore_case=True)],
    "prefix": [string(prefix="v")],
    "suffix": [string(suffix="1")],
    "contains": [string(contains="v")],
    "regex": [string(safe_regex={"regex": "v[0-9]"})],
    "present": [{"name": "p", "present_match": True}],
    "absent": [{"name": "p", "present_match": False}],
    "bare": [{"name": "p"}],
    "two": [string(prefix="v"), string("q", exact="1")],
    "two-same": [string(prefix="v"), string(suffix="1")],
    "escaped": [string(exact="a b")],
    "escaped-raw": [string(exact="a%20b")],
    "name-escaped": [string("p%71", exact="v1")],
}
QUERIES = ("", "?", "?p", "?p=", "?p=v1", "?p=V1", "?P=v1", "?p=v", "?p=v12", "?p=xv1", "?q=1", "?q=1&p=v1",
           "?p=v1&q=1", "?p=v1&p=v2", "?p=v2&p=v1", "?p&p=v1", "?p=v1;q=1", "?p=v1#f", "?pp=v1", "?xp=v1",
           "?p=a%20b", "?p=a+b", "?%70=v1", "?p%71=v1", "?p=v%31", "?p==v1", "?&p=v1", "?&&p=v1&", "?=v1",
           "?p=v1?p=v2", "?p=v1/x", "??p=v1")


def config() -> dict:
    """All matchers."""
    hosts = [virtual_host(name, [f"{name}.test"], [
        route({"prefix": "/", "query_parameters": matchers}, "yes", f"{name}-yes"),
        route({"prefix": "/"}, "no")]) for name, matchers in MATCHERS.items()]
    return bootstrap([listener("web", [http_chain("web", hosts)])],
                     [cluster("yes", 1, first=1), cluster("no", 1, first=2)])


def traffic() -> list[dict]:
    """Each matcher with queries at its boundaries."""
    collected = Traffic()
    basic = QUERIES[:14]
    for name in MATCHERS:
        listed = QUERIES if name in ("exact", "present", "two", "name-escaped") else basic
        if name.startswith("escaped"):
            listed = ("?p=a%20b", "?p=a+b", "?p=a%2520b", "?p=a")
        for query in listed:
            collected.add(f"/x{query}", f"{name}.test")
    return collected.requests
