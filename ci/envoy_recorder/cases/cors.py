"""CORS policies at each level, and health checks that Envoy answers itself."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, endpoint, filter_config, filters, http_chain, http_filter, listener,
    route, virtual_host)

NAME = "cors"
NOTES = ["the CORS filter: preflight requests from origins that are listed and from others, policies at "
         "each level and what they leave to the next, routes that do not forward; the health check "
         "filter: which requests are health checks, clusters with too few healthy endpoints"]


def policy(*origins, **more) -> dict:
    """What a level says to the CORS filter."""
    listed = [origin if isinstance(origin, dict) else {"exact": origin} for origin in origins]
    return {"cors": filter_config("cors.v3.CorsPolicy", allow_origin_string_match=listed, **more)}


def share(numerator: int) -> dict:
    """Of the requests."""
    return {"default_value": {"numerator": numerator}}


ROUTES = {
    "listed": policy("http://a.test"),
    "strict": policy("http://a.test", forward_not_matching_preflights=False),
    "any": policy("*"),
    "suffix": policy({"suffix": ".a.test"}),
    "regex": policy({"safe_regex": {"google_re2": {}, "regex": "http://[ab]\\.test"}}),
    "dots": policy({"safe_regex": {"google_re2": {}, "regex": "."}}),
    "empty": policy(),
    "empty-strict": policy(forward_not_matching_preflights=False),
    "off": policy("http://a.test", filter_enabled=share(0)),
    "shadow": policy("http://a.test", filter_enabled=share(0), shadow_enabled=share(100)),
    "disabled": {"cors": {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
                          "disabled": True}},
    "none": {},
}
HEALTH = "health_check.v3.HealthCheck"


def check(path: str, **more) -> dict:
    """A health check filter."""
    return http_filter(f"health{path}", HEALTH, pass_through_mode=more.pop("passes", False), headers=[
        {"name": ":path", "string_match": {"exact": path}}], **more)


def config() -> dict:
    """A host with a policy of its own and one without, with all routes."""
    routes = []
    for name, said in ROUTES.items():
        found = route({"prefix": f"/{name}/"}, "a", name)
        routes.append(found | ({"typed_per_filter_config": said} if said else {}))
    strict = policy("http://a.test", forward_not_matching_preflights=False)
    routes += [
        {"match": {"prefix": "/redirect"}, "redirect": {"path_redirect": "/z"}, "name": "redirect",
         "typed_per_filter_config": strict},
        {"match": {"prefix": "/direct"}, "direct_response": {"status": 204}, "name": "direct",
         "typed_per_filter_config": strict},
        route({"prefix": "/missing"}, "nowhere", "missing", typed_per_filter_config=strict),
        {"match": {"prefix": "/weighted"}, "name": "weighted", "route": {"weighted_clusters": {
            "clusters": [{"name": "a", "weight": 1, "typed_per_filter_config": policy("http://w.test")}]}},
         "typed_per_filter_config": strict}]
    hosts = [virtual_host("plain", ["plain.test"], routes),
             virtual_host("own", ["own.test"], routes, typed_per_filter_config=policy(
                 "http://h.test", forward_not_matching_preflights=False))]
    some = {"value": 50.0}
    checks = [
        check("/health"), check("/passes", passes=True),
        check("/half", cluster_min_healthy_percentages={"half": some}),
        check("/more", cluster_min_healthy_percentages={"half": {"value": 50.1}}),
        check("/exact", cluster_min_healthy_percentages={"exact": {"value": 50.1}}),
        check("/drains", cluster_min_healthy_percentages={"drains": {"value": 60.0}}),
        check("/degraded", cluster_min_healthy_percentages={"degraded": {"value": 60.0}}),
        check("/tiny", cluster_min_healthy_percentages={"empty": {"value": 0.5}}),
        check("/third", cluster_min_healthy_percentages={"bad": {"value": 33.9}}),
        check("/bad", cluster_min_healthy_percentages={"bad": some}),
        check("/none", cluster_min_healthy_percentages={"empty": some}),
        check("/zero", cluster_min_healthy_percentages={"empty": {"value": 0.0}}),
        check("/unknown", cluster_min_healthy_percentages={"nowhere": {"value": 0.0}}),
        http_filter("both", HEALTH, pass_through_mode=False, headers=[
            {"name": "x-check", "present_match": True},
            {"name": ":method", "string_match": {"exact": "GET"}}])]
    chain = http_chain("web", hosts, http_filters=filters(
        http_filter("cors", "cors.v3.Cors"), *checks))
    half = [endpoint(10, health="DEGRADED"), endpoint(11), endpoint(12, health="UNHEALTHY"),
            endpoint(13, health="DRAINING")]
    return bootstrap([listener("web", [chain])], [
        cluster("a", 1), cluster("half", half), cluster("empty", []),
        cluster("exact", [endpoint(20), endpoint(21, health="UNHEALTHY")]),
        cluster("drains", [endpoint(22), endpoint(23, health="DRAINING")]),
        cluster("degraded", [endpoint(24, health="DEGRADED"), endpoint(25)]),
        cluster("bad", [endpoint(14, health="UNHEALTHY"), endpoint(15, health="TIMEOUT"),
                        endpoint(16)])])


def traffic() -> list[dict]:
    """Each route from each origin, preflight or not; each health check."""
    collected = Traffic()
    paths = [f"/{name}/" for name in ROUTES] + ["/redirect", "/direct", "/missing", "/weighted", "/no"]
    method = ("access-control-request-method", "GET")
    for host in ("plain.test", "own.test"):
        for path in paths:
            for origin in ("http://a.test", "http://b.test", "http://x.a.test", "http://h.test",
                           "http://w.test", "HTTP://A.TEST"):
                collected.add(path, host, [("origin", origin), method], method="OPTIONS")
    origin = ("origin", "http://a.test")
    for headers in ([], [origin], [method], [("origin", ""), method], [origin, (method[0], "")],
                    [origin, (method[0], "x")], [origin, origin, method], [origin, method, method]):
        for name in ("OPTIONS", "GET"):
            collected.add("/strict/", "plain.test", headers, method=name)
    collected.add("/strict/", "plain.test", [origin, method, ("content-type", "application/grpc")],
                  method="OPTIONS")
    collected.add("/strict/", "no.test", [origin, method], method="OPTIONS")
    for path in ("/health", "/health?q", "/healthy", "/passes", "/half", "/more", "/exact", "/drains",
                 "/degraded", "/tiny", "/third", "/bad", "/none", "/zero",
                 "/unknown"):
        for host in ("plain.test", "no.test"):
            collected.add(path, host)
            collected.add(path, host, method="POST")
    collected.add("/health", "plain.test", [("content-type", "application/grpc")])
    collected.add("/listed/", "plain.test", [("x-check", "")])
    collected.add("/listed/", "plain.test", [("x-check", "1")], method="POST")
    return collected.requests
