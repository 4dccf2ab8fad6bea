"""The local rate limit filter: buckets of the filter itself, of virtual hosts and of routes."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, filter_config, filters, http_chain, http_filter, listener, route,
    virtual_host)

NAME = "local-rate-limits"
NOTES = ["token buckets that hardly fill while the requests are sent: one of the filter itself, "
         "one that the routes of a virtual host share, and one for each of the other routes, with "
         "statuses, and shares of all or none"]
ALL = {"default_value": {"numerator": 100}}
NONE = {"default_value": {"numerator": 0}}


def limit(tokens: int, **more) -> dict:
    """A bucket of so many tokens, of which one comes back in an hour."""
    return {"stat_prefix": "limit", "token_bucket": {"max_tokens": tokens, "fill_interval": "3600s"},
            "filter_enabled": ALL, "filter_enforced": ALL, **more}


LIMITS = {
    "two": limit(2),
    "zero": limit(0),
    "teapot": limit(1, status={"code": 503}),
    "not-found": limit(1, status={"code": 404}),
    "too-low": limit(1, status={"code": 200}),
    "off": limit(1, filter_enabled=NONE),
    "watched": limit(1, filter_enforced=NONE),
}


def said(found: dict) -> dict:
    """What a level says to the filter."""
    return {"limit": filter_config("local_ratelimit.v3.LocalRateLimit", **found)}


def config() -> dict:
    """A route for each limit, a virtual host with one, and one without."""
    routes = [route({"prefix": f"/{name}/"}, "a", name, typed_per_filter_config=said(found))
              for name, found in LIMITS.items()]
    routes.append({"match": {"prefix": "/redirect/"}, "redirect": {"path_redirect": "/z"},
                   "name": "redirect", "typed_per_filter_config": said(limit(1))})
    shared = [route({"prefix": "/a"}, "a", "a"), route({"prefix": "/b"}, "a", "b"),
              route({"prefix": "/own"}, "a", "own", typed_per_filter_config=said(limit(1)))]
    hosts = [virtual_host("routes", ["routes.test"], routes),
             virtual_host("shared", ["shared.test"], shared, typed_per_filter_config=said(limit(3))),
             virtual_host("plain", ["plain.test"], [route({"prefix": "/"}, "a", "plain")])]
    own = http_filter("limit", "local_ratelimit.v3.LocalRateLimit", **limit(5))
    return bootstrap([listener("web", [http_chain("web", hosts, http_filters=filters(own))])],
                     [cluster("a", 1)])


def traffic() -> list[dict]:
    """More requests than there are tokens, in turns."""
    collected = Traffic()
    for turn in range(3):
        for name in (*LIMITS, "redirect"):
            collected.add(f"/{name}/{turn}", "routes.test")
        for path in ("/a", "/b", "/own"):
            collected.add(path, "shared.test")
        collected.add("/", "plain.test")
        # Without a route the filter's own bucket counts.
        collected.add("/nowhere", "routes.test")
        collected.add("/", "nobody.test")
        collected.add("/two/", "routes.test", [("content-type", "application/grpc")])
    return collected.requests
