"""Paths and hosts that format strings make."""

from envoy_recorder.cases.build import Traffic, bootstrap, cluster, http_chain, listener, virtual_host

NAME = "format-rewrites"
NOTES = ["path_rewrite and host_rewrite of routes, path_rewrite of redirects",
         "formats see mutated headers; that of the path sees the new host"]

PATHS = ["%REQ(x-p)%", "%REQ(x-q)%", "%REQ(x-none)%", "/lit", "lit", "/a%%b", "%PATH(NQ)%/z", "/n?fixed=1", "%REQ(x-empty)%",
         "%REQ(x-p)%?%QUERY_PARAMS%", "/%REQ(:authority)%", "/%ROUTE_NAME%", "/a b", "-", "/%UPSTREAM_CLUSTER%/%UPSTREAM_HOST%",
         "%REQ(:path)%", "/%METADATA(ROUTE:a:b)%", "/%QUERY_PARAM(enc)%", "/%REQ(x-a):3%", "/%RESPONSE_CODE%%RESPONSE_FLAGS%"]
HOSTS = ["%REQ(x-a)%.test", "%REQ(x-none)%", "lit.test", "%REQ(:path)%", "%PATH(NQ)%", "-", "%UPSTREAM_CLUSTER%",
         "%REQ(:authority)%", "%REQ(x-empty)%", "x%REQ(x-none)%", "%QUERY_PARAM(e)%", "%QUERY_PARAM(none)%", "%ROUTE_NAME%",
         "%RESPONSE_CODE%", "%RESPONSE_FLAGS%", "%UPSTREAM_HOST%", "%FILTER_CHAIN_NAME%", "%DOWNSTREAM_LOCAL_PORT%",
         "%METADATA(ROUTE:a:b)%", "%PATH(NQ:ORIG)%"]
OWN = [{"header": {"key": "x-a", "value": "own"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]


def route(number: int, action: dict, **more) -> dict:
    """A route that its number names."""
    return {"match": {"path_separated_prefix": f"/r{number}"}, **action, **more}


def to(**action) -> dict:
    """A route's action."""
    return {"route": {"cluster": "c", **action}}


def config() -> dict:
    """A virtual host for each field."""
    both = [to(host_rewrite="%REQ(x-a)%", path_rewrite="/%REQ(:authority)%/%REQ(x-envoy-original-host)%"),
            to(host_rewrite="%REQ(:path)%", prefix_rewrite="/new"),
            to(host_rewrite_literal="literal.test", path_rewrite="/%REQ(:authority)%"),
            to(host_rewrite="%REQ(x-a)%", append_x_forwarded_host=True)]
    weighted = [{"route": {"weighted_clusters": {"clusters": [
        {"name": "c", "weight": 1, "host_rewrite_literal": "weighted.test"}]}, "host_rewrite": text}}
        for text in ("%REQ(:authority)%.x", "%REQ(x-none)%", "%REQ(x-empty)%")]
    hosts = [virtual_host("path", ["path.test"], [route(n, to(path_rewrite=text)) for n, text in enumerate(PATHS)]),
             virtual_host("host", ["host.test"], [route(n, to(host_rewrite=text)) for n, text in enumerate(HOSTS)]),
             virtual_host("redirect", ["redirect.test"], [
                 route(n, {"redirect": {"path_rewrite": text}}) for n, text in enumerate(PATHS)]),
             virtual_host("strip", ["strip.test"], [
                 route(n, {"redirect": {"path_rewrite": text, "strip_query": True}}) for n, text in enumerate(PATHS)]),
             virtual_host("both", ["both.test"], [route(n, action, request_headers_to_add=OWN)
                                                 for n, action in enumerate(both)]),
             virtual_host("weighted", ["weighted.test"], [route(n, action) for n, action in enumerate(weighted)])]
    return bootstrap([listener("web", [http_chain("web", hosts)])], [cluster("c", 1)])


HEADERS = [("x-a", "alpha"), ("x-p", "/from/header"), ("x-q", "/q?z=1"), ("x-empty", "")]


def traffic() -> list[dict]:
    """Every route, with a query and without."""
    collected = Traffic()
    for host, count in (("path", len(PATHS)), ("host", len(HOSTS)), ("redirect", len(PATHS)), ("strip", len(PATHS)),
                        ("both", 4), ("weighted", 3)):
        for number in range(count):
            collected.add(f"/r{number}/y?q=1&enc=a%20b&e=", f"{host}.test", HEADERS)
            collected.add(f"/r{number}", f"{host}.test", HEADERS)
            collected.add(f"/r{number}?", f"{host}.test")
    return collected.requests
