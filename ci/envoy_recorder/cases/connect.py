"""CONNECT requests: which routes take them, what allows them, and what becomes of them."""

from envoy_recorder.cases.build import (
    PORT, Traffic, bootstrap, cluster, filter_config, filters, http_chain, http_filter, listener, route,
    virtual_host)

NAME = "connect"
NOTES = ["connect_matcher beside every other path matcher, in lists and in matcher trees; upgrade_configs of the "
         "type CONNECT at routes and connection managers, terminated and sent on; rewrites, redirects, direct "
         "responses, require_tls, header mutations, hashes, RBAC and faults on a request without a path"]

CONNECT = {"connect_matcher": {}}
TEMPLATE = {"path_match_policy": {"name": "p", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
    "path_template": "/{any=**}"}}}
PATHS = {"prefix": {"prefix": "/"}, "empty": {"prefix": ""}, "regex": {"safe_regex": {"regex": ".*"}},
         "separated": {"path_separated_prefix": "/a"}, "template": TEMPLATE}
# What a header matcher may see of the request.
HEADERS = {
    "path": {"name": ":path", "present_match": True}, "no-path": {"name": ":path", "present_match": False},
    "method": {"name": ":method", "string_match": {"exact": "CONNECT"}},
    "scheme": {"name": ":scheme", "present_match": True},
    "http": {"name": ":scheme", "string_match": {"exact": "http"}},
    "authority": {"name": ":authority", "string_match": {"suffix": ":443"}},
    "host": {"name": "host", "present_match": True},
    "protocol": {"name": ":protocol", "present_match": True},
    "not-a": {"name": "x-a", "string_match": {"exact": "1"}, "invert_match": True},
    "a": {"name": "x-a", "string_match": {"exact": "1"}},
    "forwarded": {"name": "x-forwarded-proto", "string_match": {"exact": "http"}}}


def connect(name: str, configs=({},), match=None, to: str = "a", **action) -> dict:
    """A route that takes CONNECT, with upgrade_configs of that type."""
    found = route({**CONNECT, **(match or {})}, to, name)
    if "cluster_header" in action or "weighted_clusters" in action:
        del found["route"]["cluster"]
    found["route"] |= action
    if configs:
        found["route"]["upgrade_configs"] = [{"upgrade_type": "CONNECT", **config} for config in configs]
    return found


TERMINATED = ({"connect_config": {}},)


def matching() -> dict[str, list[dict]]:
    """Virtual hosts by what their routes match."""
    found = {}
    for name, match in PATHS.items():
        found[f"only-{name}"] = [route(match, "b", name)]
        found[f"before-{name}"] = [route(match, "b", name), connect("connect")]
    found["path"] = [route({"path": "/"}, "b", "path"), connect("connect")]
    found["no-upgrade-beside"] = [route({"prefix": "/"}, "b", "prefix"), connect("connect", ()),
                                  route({"prefix": ""}, "b", "after")]
    for name, matcher in HEADERS.items():
        found[f"header-{name}"] = [connect("matched", match={"headers": [matcher]}), connect("else", to="b")]
    for name, more in {
            "query": {"query_parameters": [{"name": "a", "present_match": True}]},
            "no-query": {"query_parameters": [{"name": "a", "present_match": False}]},
            "never": {"runtime_fraction": {"default_value": {"numerator": 0}}},
            "always": {"runtime_fraction": {"default_value": {"numerator": 100}}},
            "grpc": {"grpc": {}}, "tls": {"tls_context": {"presented": False}},
            "case": {"case_sensitive": False}}.items():
        found[f"match-{name}"] = [connect("matched", match=more), connect("else", to="b")]
    return found


def acting() -> dict[str, list[dict]]:
    """Virtual hosts by what their routes do."""
    no_upstream = {"nowhere": "nowhere", "empty": "e", "no-requests": "no-requests", "no-pending": "no-pending"}
    return {
        "on": [connect("on")], "unnamed": [connect("unnamed", ())],
        "lower": [connect("lower", ({"upgrade_type": "connect"},))],
        "off": [connect("off", ({"enabled": False},))],
        "off-terminated": [connect("off-terminated", ({"enabled": False, "connect_config": {}},))],
        "terminated": [connect("terminated", TERMINATED)],
        "proxied": [connect("proxied", ({"connect_config": {"proxy_protocol_config": {"version": "V1"}}},))],
        "post": [connect("post", ({"connect_config": {"allow_post": True}},)), {
            **route({"prefix": "/"}, "b", "posts"), "route": {"cluster": "b", "upgrade_configs": [
                {"upgrade_type": "CONNECT", "connect_config": {"allow_post": True}}]}}],
        "other": [{**connect("other", ()), "route": {"cluster": "a", "upgrade_configs": [
            {"upgrade_type": "websocket"}]}}],
        **{f"to-{name}": [connect(name, to=to)] for name, to in no_upstream.items()},
        **{f"terminated-to-{name}": [connect(name, TERMINATED, to=to)] for name, to in no_upstream.items()},
        "weighted": [connect("weighted", weighted_clusters={"clusters": [
            {"name": "a", "weight": 0}, {"name": "b", "weight": 1}]})],
        "by-header": [connect("by-header", cluster_header="x-cluster")],
        "by-path": [connect("by-path", cluster_header=":path")],
        "by-authority": [connect("by-authority", TERMINATED, cluster_header=":authority")],
        "host-rewrite": [connect("host-rewrite", host_rewrite_literal="z.test:1")],
        "host-header": [connect("host-header", host_rewrite_header="x-a")],
        "host-regex": [connect("host-regex", host_rewrite_path_regex={
            "pattern": {"regex": "^(.*)$"}, "substitution": "y\\1"})],
        "host-format": [connect("host-format", host_rewrite="%REQ(x-a)%:%REQ(:PATH)%")],
        "terminated-rewrite": [connect("terminated-rewrite", TERMINATED, prefix_rewrite="/z",
                                       host_rewrite_literal="z.test:1")],
        "appended": [connect("appended", append_x_forwarded_host=True, host_rewrite_literal="z.test:1")],
        "mutated": [{**connect("mutated"), **mutations()}],
        "terminated-mutated": [{**connect("terminated-mutated", TERMINATED), **mutations()}],
        "off-mutated": [{**connect("off-mutated", ({"enabled": False},)), **mutations()}],
        "hash": [connect("hash", to="r", hash_policy=[{"header": {"header_name": "x-a"}},
                                                       {"query_parameter": {"name": "q"}}])],
        "hash-authority": [connect("hash-authority", TERMINATED, to="r", hash_policy=[
            {"header": {"header_name": ":authority"}}])],
        **redirects(),
        "direct": [{"match": CONNECT, "name": "direct", "direct_response": {
            "status": 299, "body": {"inline_string": "told"}}}],
        "direct-204": [{"match": CONNECT, "name": "direct-204", "direct_response": {"status": 204}}],
        "faulty": [connect("faulty")],
        "timeouts": [connect("timeouts", timeout="0.001s", retry_policy={"retry_on": "5xx"})]}


def mutations() -> dict:
    """Header mutations of a route."""
    def added(key: str, value: str) -> dict:
        return {"header": {"key": key, "value": value}}
    return {"request_headers_to_add": [
        added("x-path", "%REQ(:PATH)%"), added("x-authority", "%REQ(:AUTHORITY)%"),
        added("x-method", "%REQ(:METHOD)%"), added("x-protocol", "%PROTOCOL%")],
        "response_headers_to_add": [
            added("x-told", "%REQ(:PATH)%"), added("x-code", "%RESPONSE_CODE%")]}


def redirects() -> dict[str, list[dict]]:
    """Virtual hosts whose routes redirect."""
    moves = {"path": {"path_redirect": "/z"}, "prefix": {"prefix_rewrite": "/z"},
             "host": {"host_redirect": "z.test"}, "https": {"https_redirect": True},
             "port": {"port_redirect": 8443}, "query": {"strip_query": True, "host_redirect": "z.test"},
             "regex": {"regex_rewrite": {"pattern": {"regex": "^(.*)$"}, "substitution": "/x\\1"}}}
    return {f"redirect-{name}": [{"match": CONNECT, "name": name, "redirect": move}]
            for name, move in moves.items()}


def hosts() -> list[dict]:
    """All of them, each under its name as a host of port 443."""
    found = [virtual_host(name, [f"{name}:443", name], routes)
             for name, routes in (matching() | acting()).items()]
    secured = {"on": connect("on"), "unnamed": connect("unnamed", ()), "terminated": connect("t", TERMINATED),
               "prefix": route({"prefix": "/"}, "b", "prefix")}
    for name, each in secured.items():
        found.append(virtual_host(f"secured-{name}", [f"secured-{name}:443"], [each], require_tls="ALL"))
    return found + [virtual_host("tree", ["tree:443", "tree"], [], matcher=tree())]


def tree() -> dict:
    """Routes by a header, one or a list of them."""
    package = "type.googleapis.com/envoy.config.route.v3."
    one = {name: {"@type": package + "Route", **route(match, "b", name)} for name, match in PATHS.items()}
    one["connect"] = {"@type": package + "Route", **connect("connect")}
    one["terminated"] = {"@type": package + "Route", **connect("terminated", TERMINATED)}
    one["list"] = {"@type": package + "RouteList", "routes": [
        route({"prefix": "/"}, "b", "first"), connect("listed", ())]}
    action = {name: {"action": {"name": name, "typed_config": each}} for name, each in one.items()}
    return {"matcher_tree": {
        "input": {"name": "x-a", "typed_config": {
            "@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
            "header_name": "x-a"}},
        "exact_match_map": {"map": action}}}


def config() -> dict:
    """Connection managers that allow CONNECT, forbid it, terminate it, or say nothing."""
    allowed = [{"upgrade_type": "CONNECT"}]
    chains = {
        "none": http_chain("none", hosts()),
        "some": http_chain("some", hosts(), upgrade_configs=allowed),
        "off": http_chain("off", hosts(), upgrade_configs=[{"upgrade_type": "connect", "enabled": False}]),
        "stripped": http_chain("stripped", hosts(), upgrade_configs=allowed, strip_any_host_port=True,
                               strip_trailing_host_dot=True, normalize_path=True, merge_slashes=True),
        "filtered": http_chain("filtered", hosts(), http_filters=filters(
            http_filter("rbac", "rbac.v3.RBAC", rules=rules()),
            http_filter("fault", "fault.v3.HTTPFault", abort={
                "http_status": 418, "percentage": {"numerator": 100}},
                headers=[{"name": "x-fault", "present_match": True}]))),
    }
    return bootstrap(
        [listener(name, [chain], PORT + index) for index, (name, chain) in enumerate(chains.items())],
        [cluster("a", 1), cluster("b", 1, 2), cluster("e", 0), cluster("by-authority:443", 1, 7),
         cluster("r", 3, 3, lb_policy="RING_HASH"),
         *(cluster(f"no-{what}", 1, 8, circuit_breakers={"thresholds": [{f"max_{most}": 0}]})
           for what, most in (("requests", "requests"), ("pending", "pending_requests")))])


def rules() -> dict:
    """RBAC's: nothing under some paths, no hosts of some names."""
    url_path = {"path": {"prefix": "/"}}
    return {"action": "DENY", "policies": {
        "url-path": {"permissions": [{"and_rules": {"rules": [
            {"header": {"name": "x-rule", "string_match": {"exact": "url-path"}}}, {"url_path": url_path}]}}],
            "principals": [{"any": True}]},
        "no-url-path": {"permissions": [{"and_rules": {"rules": [
            {"header": {"name": "x-rule", "string_match": {"exact": "no-url-path"}}},
            {"not_rule": {"url_path": url_path}}]}}], "principals": [{"any": True}]},
        "empty-url-path": {"permissions": [{"and_rules": {"rules": [
            {"header": {"name": "x-rule", "string_match": {"exact": "empty-url-path"}}},
            {"url_path": {"path": {"exact": ""}}}]}}], "principals": [{"any": True}]},
        "principal": {"permissions": [{"header": {"name": "x-rule", "string_match": {"exact": "principal"}}}],
                      "principals": [{"url_path": url_path}]},
        "header": {"permissions": [{"and_rules": {"rules": [
            {"header": {"name": "x-rule", "string_match": {"exact": "header"}}},
            {"header": {"name": ":path", "present_match": False}}]}}], "principals": [{"any": True}]}}}


def traffic() -> list[dict]:
    """CONNECT to every virtual host of every connection manager, and what stands beside it."""
    listed = []
    names = [host["name"] for host in hosts()]
    for index in range(5):
        collected = Traffic(PORT + index)

        def connects(target: str, authority: str | None = "h.test", headers=(), to=collected) -> None:
            to.add(target, authority, headers, method="CONNECT")

        for name in names:
            # Without its port the authority names no cluster.
            if index == 3 and name == "by-authority":
                continue
            if index in (0, 1) or not name.startswith(("header-", "match-", "only-")):
                connects(f"{name}:443", headers=[("x-a", "1"), ("x-cluster", "b")])
        for name in tree()["matcher_tree"]["exact_match_map"]["map"]:
            connects("tree:443", headers=[("x-a", name)])
        if index == 3:
            for target in ("on.:443", "on:0443", "on.:0443", "on..:443", "[::1]:443"):
                connects(target)
                connects(target.replace("on", "terminated"))
        if index == 0:
            beside(collected, connects)
        if index == 4:
            for rule in rules()["policies"]:
                connects("on:443", headers=[("x-rule", rule)])
                collected.add("/", "post:443", [("x-rule", rule)])
            for name in ("on", "terminated", "off", "unnamed", "direct", "nobody", "only-prefix"):
                connects(f"{name}:443", headers=[("x-fault", "1")])
        for request in collected.requests:
            listed.append(request | {"id": f"r{len(listed):04}"})
    return listed


def beside(collected: Traffic, connects) -> None:
    """Other targets, methods, headers."""
    for target in ("on:80", "on", "on:443/", "nobody:443", "ON:443", "on:0443", "on:443x", "on:65536", "on:",
                   ":443", "[::1]:443", "[::1]", "1.2.3.4:1", "@on:443", "u@on:443", "/on:443", "/", "*",
                   "http://on:443", "http://on:443/", "on:443?a=1", "on:443#x", "on_:443", "on:443:443", "o,n:1",
                   "x" * 300 + ":443", "on:00000000443", "on:+443", "[on]:443", "[1.2.3.4]:443", "on.:443"):
        connects(target)
    connects("on:443", None)
    connects("on:443", "on/")
    connects("on:443", "on:443, x")
    for headers in ([("content-length", "0")], [("content-length", "5")], [("transfer-encoding", "chunked")],
                    [("connection", "upgrade"), ("upgrade", "websocket")],
                    [("connection", "upgrade"), ("upgrade", "connect")], [("connection", "close")],
                    [("connection", "host")], [("x-forwarded-proto", "https")],
                    [("x-forwarded-proto", "")], [("content-type", "application/grpc")],
                    [("connection", "x-a"), ("x-a", "1")], [("te", "trailers")], [("expect", "100-continue")]):
        for name in ("on", "off", "terminated", "header-not-a"):
            connects(f"{name}:443", headers=headers)
    for method in ("GET", "POST", "HEAD"):
        for name in ("on", "post", "before-prefix", "path", "tree"):
            collected.add("/", f"{name}:443", [("x-a", "connect")], method=method)
    for name in ("on", "off", "terminated", "post", "before-prefix", "path", "match-query"):
        for kind in ("connect-udp", "CONNECT-UDP", "connect", "CONNECT"):
            collected.add("/", f"{name}:443", [("connection", "upgrade"), ("upgrade", kind)])
