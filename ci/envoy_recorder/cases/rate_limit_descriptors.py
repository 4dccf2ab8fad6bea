"""The local rate limit filter's descriptors, by what filters, routes and virtual hosts ask for."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, filter_config, filters, http_chain, http_filter, listener, route,
    virtual_host)
from envoy_recorder.cases.local_rate_limits import limit

NAME = "rate-limit-descriptors"
NOTES = ["token buckets of descriptors that hardly fill while the requests are sent: which rate "
         "limits count, what each action makes of a request, which bucket is asked first, and when "
         "the filter's own is"]
INTERVAL = 3600


def generic(value: str, **more) -> dict:
    """An action that says this value."""
    return {"generic_key": {"descriptor_value": value, **more}}


def header(name: str, key: str = "", **more) -> dict:
    """An action that says a header's value."""
    return {"request_headers": {"header_name": name, "descriptor_key": key or name, **more}}


def matched(value: str, *headers: dict, **more) -> dict:
    """An action that says this value where headers match."""
    return {"header_value_match": {"descriptor_value": value, "headers": list(headers), **more}}


def asked(*actions: dict, **more) -> dict:
    """A rate limit."""
    return {"actions": list(actions), **more}


def descriptor(tokens: int, entries: dict, interval: int = INTERVAL) -> dict:
    """A descriptor with so many tokens."""
    return {"entries": [{"key": key, "value": value} for key, value in entries.items()],
            "token_bucket": {"max_tokens": tokens, "fill_interval": f"{interval}s"}}


A = {"name": "x-a", "string_match": {"exact": "a"}}
B = {"name": "x-b", "present_match": True}
DESCRIPTORS = [
    descriptor(1, {"generic_key": "one"}),
    descriptor(2, {"generic_key": "two"}, 2 * INTERVAL),
    descriptor(0, {"generic_key": "none"}),
    descriptor(3, {"own": "three"}),
    descriptor(1, {"generic_key": "one", "x-a": "a"}),
    descriptor(1, {"x-a": "a"}),
    descriptor(1, {"x-a": "b", "x-b": "c"}),
    descriptor(1, {"x-b": "c"}),
    descriptor(1, {"header_match": "m"}),
    descriptor(1, {"header_match": "not"}),
    descriptor(1, {"remote_address": "127.0.0.1"}),
    descriptor(1, {"masked_remote_address": "127.0.0.0/8"}),
    descriptor(1, {"method": "GET"}),
    descriptor(1, {"destination_cluster": "a"}),
    descriptor(1, {"destination_cluster": "gone"}),
]
# What routes ask for, each with limits of its own.
ROUTES = {
    "one": [asked(generic("one"))],
    "two": [asked(generic("two"))],
    "none": [asked(generic("none"))],
    "own-key": [asked(generic("three", descriptor_key="own"))],
    "other": [asked(generic("other"))],
    "slower-first": [asked(generic("one")), asked(generic("two"))],
    "twice": [asked(generic("two")), asked(generic("two"))],
    "both": [asked(generic("one"), header("x-a"))],
    "order": [asked(header("x-a"), generic("one"))],
    "header": [asked(header("x-a"))],
    "skips": [asked(header("x-a", skip_if_absent=True), header("x-b", skip_if_absent=True))],
    "matches": [asked(matched("m", A, B))],
    "matches-not": [asked(matched("not", A, B, expect_match=False))],
    "address": [asked({"remote_address": {}})],
    "masked": [asked({"masked_remote_address": {"v4_prefix_mask_len": 8}})],
    "masked-otherwise": [asked({"masked_remote_address": {}})],
    "method": [asked(header(":method", "method"))],
    "cluster": [asked({"destination_cluster": {}})],
    "stage": [asked(generic("one"), stage=1)],
    "disabled": [asked(generic("one"), disable_key="off")],
}


def said(**more) -> dict:
    """A level's own limits, by the descriptors."""
    return {"limit": filter_config("local_ratelimit.v3.LocalRateLimit",
                                   **limit(4, descriptors=DESCRIPTORS, **more))}


def asking(name: str, found: dict, limits: list | None = None, **more) -> dict:
    """A route with limits of its own."""
    one = route({"prefix": f"/{name}/"}, "a", name, typed_per_filter_config=found)
    one["route"] |= ({"rate_limits": limits} if limits else {}) | more
    return one


def config() -> dict:
    """A route for each list of rate limits, and virtual hosts that have some."""
    always = [asking(name, said(), limits) for name, limits in ROUTES.items()]
    always.append({"match": {"prefix": "/redirect/"}, "redirect": {"path_redirect": "/z"},
                   "name": "redirect", "typed_per_filter_config": said()})
    alone = {"always_consume_default_token_bucket": False}
    only = [asking(name, said(**alone), limits) for name, limits in ROUTES.items()]
    one, two = [asked(generic("one"))], [asked(generic("two"))]
    host = [
        asking("override", said(), two), asking("override-none", said()),
        asking("override-stage", said(), [asked(generic("two"), stage=1)]),
        asking("include", said(vh_rate_limits="INCLUDE"), two),
        asking("include-by-route", said(), two, include_vh_rate_limits=True),
        asking("ignore", said(vh_rate_limits="IGNORE")),
        asking("ignore-by-route", said(vh_rate_limits="IGNORE"), include_vh_rate_limits=True),
        asking("staged", said(stage=1)),
        asking("own-limits", said(rate_limits=[asked(header("x-a"))]), two),
    ]
    named = said(**alone)
    cluster_header = {"match": {"prefix": "/"}, "name": "by-header", "typed_per_filter_config": named,
                      "route": {"cluster_header": "x-to", "rate_limits": ROUTES["cluster"]}}
    hosts = [virtual_host("by-header", ["by-header.test"], [cluster_header]),
             virtual_host("always", ["always.test"], always),
             virtual_host("only", ["only.test"], only),
             virtual_host("host", ["host.test"], host,
                          rate_limits=one + [asked(generic("none"), stage=1)]),
             virtual_host("filter", ["filter.test"], [route({"prefix": "/"}, "a", "filter")])]
    own = limit(6, descriptors=DESCRIPTORS, rate_limits=[asked(header("x-a")), asked(matched("m", B)), asked({"destination_cluster": {}})])
    own = http_filter("limit", "local_ratelimit.v3.LocalRateLimit", **own)
    return bootstrap([listener("web", [http_chain("web", hosts, http_filters=filters(own))])],
                     [cluster("a", 1)])


def traffic() -> list[dict]:
    """More requests than there are tokens, in turns."""
    collected = Traffic()
    for turn in range(5):
        for host in ("always.test", "only.test"):
            for name in (*ROUTES, "redirect"):
                collected.add(f"/{name}/{turn}", host)
        for name in ("override", "override-none", "override-stage", "include", "include-by-route",
                     "ignore", "ignore-by-route", "staged", "own-limits"):
            collected.add(f"/{name}/{turn}", "host.test")
        collected.add("/", "filter.test")
        collected.add("/", "nobody.test")
    for headers in ([("x-a", "a")], [("x-a", "a"), ("x-b", "c")], [("x-a", "b"), ("x-b", "c")],
                    [("x-b", "c")], [("x-a", "b"), ("x-a", "a")], [("x-a", "a"), ("x-a", "b")]):
        for turn in range(3):
            for name in ("both", "order", "header", "skips", "matches", "matches-not"):
                collected.add(f"/{name}/{turn}", "only.test", headers)
            collected.add("/own-limits/", "host.test", headers)
            collected.add("/", "filter.test", headers)
    for turn in range(2):
        for forwarded in ("10.0.0.1", "127.0.0.1", "127.9.9.9, 127.0.0.9"):
            for name in ("address", "masked", "masked-otherwise"):
                collected.add(f"/{name}/{turn}", "only.test", [("x-forwarded-for", forwarded)])
    for name in ("a", "gone", "a", "gone"):
        collected.add("/", "by-header.test", [("x-to", name)])
    for _ in range(6):
        collected.add("/", "by-header.test")
    for port, request in enumerate(collected.requests, 20000):
        request["source"] = f"127.0.0.1:{port}"
    return collected.requests
