"""Headers that the connection manager writes and takes off before a route is chosen."""

from envoy_recorder.cases.build import (
    PORT, Traffic, bootstrap, cluster, filters, http_chain, http_filter, listener, route,
    virtual_host)

NAME = "managed-headers"
NOTES = ["append_x_forwarded_port, via, internal_only_headers and dropped underscores, as matchers, clusters by "
         "header, weights by header, hashes, formats and RBAC see them"]
INSIDE = {"internal_address_config": {"cidr_ranges": [
    {"address_prefix": "127.0.0.8", "prefix_len": 32},
    {"address_prefix": "10.0.0.0", "prefix_len": 8}]}}
OWN = {"use_remote_address": True}
PORTS = {"append_x_forwarded_port": True}
# What a connection manager has, and whose headers its route configuration takes off.
MANAGERS = (
    (PORTS, []),
    ({**PORTS, **OWN}, []),
    ({**PORTS, **OWN, "xff_num_trusted_hops": 1, "via": "gw"}, ["x-int"]),
    ({"via": "gw", **INSIDE}, ["X-Int"]),
    ({"via": "a, b", **PORTS, **INSIDE, **OWN}, ["x-int", "via", "x-forwarded-port"]),
    ({"common_http_protocol_options": {"headers_with_underscores_action": "DROP_HEADER"}}, ["x-int"]),
)
DENY = {"rules": {"action": "DENY", "policies": {"p": {
    "permissions": [{"and_rules": {"rules": [
        {"url_path": {"path": {"prefix": "/rbac"}}},
        {"header": {"name": "via", "string_match": {"suffix": "no, gw"}}}]}}],
    "principals": [{"any": True}]}}}}


def added(name: str, value: str) -> dict:
    """A header that the route writes."""
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def by(called: str, path: str, **matcher) -> dict:
    """A route that a header matcher chooses."""
    return route({"prefix": path, "headers": [matcher]}, "a", called)


def config() -> dict:
    """A listener for each connection manager, with a route for each thing that looks at headers."""
    clusters = [cluster("a", 1), cluster("b", 1, first=2), cluster("gw", 1, first=3),
                cluster("a, b", 1, first=4),
                cluster("1.1 x", 1, first=5), cluster("1.1 x, gw", 1, first=6),
                cluster("1.1 x, a, b", 1, first=7), cluster("7", 1, first=8),
                cluster("ring", 3, first=20, lb_policy="RING_HASH"),
                *(cluster(str(PORT + index), 1, first=10 + index) for index in range(len(MANAGERS)))]
    listeners = []
    for index, (options, internal) in enumerate(MANAGERS):
        own = {"exact": str(PORT + index)}
        weighted = {"clusters": [{"name": "a", "weight": 50}, {"name": "b", "weight": 50}],
                    "header_name": "x-int"}
        routes = [
            by("own-port", "/port", name="x-forwarded-port", string_match=own),
            by("port", "/port", name="x-forwarded-port", present_match=True),
            by("via-alone", "/via", name="via", string_match={"exact": "gw"}),
            by("via-added", "/via", name="Via", string_match={"suffix": ", gw"}),
            by("via", "/via", name="via", present_match=True),
            by("int", "/int", name="x-int", present_match=True),
            by("under", "/int", name="x_int", present_match=True),
            route({"prefix": "/to/port"}, None, "to-port", route={"cluster_header": "x-forwarded-port"}),
            route({"prefix": "/to/via"}, None, "to-via", route={"cluster_header": "via"}),
            route({"prefix": "/to/int"}, None, "to-int", route={"cluster_header": "x-int"}),
            route({"prefix": "/to/under"}, None, "to-under", route={"cluster_header": "x_int"}),
            route({"prefix": "/weighted"}, None, "weighted", route={"weighted_clusters": weighted}),
            route({"prefix": "/hash"}, None, "hash", route={"cluster": "ring", "hash_policy": [
                {"header": {"header_name": name}}
                for name in ("x-int", "x-forwarded-port", "via")]}),
            route({"prefix": "/"}, "b", "rest", request_headers_to_add=[
                added("x-port", "[%REQ(x-forwarded-port)%]"), added("x-via", "[%REQ(via)%]"),
                added("x-seen", "[%REQ(x-int)%][%REQ(x_int)%]")])]
        name = f"web{index}"
        chain = http_chain(name, [virtual_host("all", ["*"], routes)],
                           http_filters=filters(http_filter("rbac", "rbac.v3.RBAC", **DENY)), **options)
        table = chain["filters"][0]["typed_config"]["route_config"]
        table["internal_only_headers"] = internal
        listeners.append(listener(name, [chain], PORT + index))
    return bootstrap(listeners, clusters)


def traffic() -> list[dict]:
    """Each route with each header, from inside and from outside."""
    requests = []
    lines = ([], ["7"], [""], ["7", "8"], [str(PORT)])
    vias = ([], ["1.1 x"], ["1.1 x", "y"], [""], ["", "z"], ["gw"], ["no"])
    for index, (_, internal) in enumerate(MANAGERS):
        collected = Traffic(PORT + index)
        sources = iter(range(20000 + 1000 * index, 60000))
        for source in ("127.0.0.9", "127.0.0.8"):
            def add(path, *headers, **more):
                collected.add(path, headers=headers, source=f"{source}:{next(sources)}", **more)
            hashed = ["/hash"] if index < 3 else []
            for path in ["/port", "/rest", *hashed]:
                for values in lines:
                    add(path, *(("x-forwarded-port", value) for value in values))
            hashed = ["/hash"] if index < 4 else []
            for path in ["/via", "/rest", "/rbac", *hashed]:
                for values in vias:
                    add(path, *(("via", value) for value in values))
            # Envoy does not say which cluster was not there.
            for values in ([], ["7"]):
                add("/to/port", *(("x-forwarded-port", value) for value in values))
            for values in ([], ["1.1 x"]):
                add("/to/via", *(("via", value) for value in values))
            for name in ("x-int", "x_int"):
                for path in ("/to/int", "/to/under"):
                    add(path, (name, "b"))
                    add(path, (name, "b"), ("x-forwarded-for", "10.1.1.1"))
            for path in ("/int", "/rest"):
                for value in ("", "b"):
                    add(path, ("x-int", value))
                    add(path, ("x-int", value), ("x-forwarded-for", "10.1.1.1"))
                    add(path, ("x_int", value), ("x-int", "10"))
                    add(path, ("X-Int", value), ("x-int", "a"), ("x-envoy-internal", "true"))
            # Where it is taken off, or was never there, both are drawn.
            if not internal or index == 4 and source == "127.0.0.8":
                for value in ("10", "60"):
                    add("/weighted", ("x-int", value), random=int(value))
                    add("/hash", ("x-int", value))
        for request in collected.requests:
            request["id"] = f"m{index}{request['id']}"
        requests += collected.requests
    return requests
