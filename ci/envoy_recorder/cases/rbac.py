"""The RBAC filter: rules of each kind, and which level of the route configuration counts."""

from envoy_recorder.cases.build import (
    PORT, Traffic, bootstrap, cluster, filter_config, filters, http_chain, http_filter, listener,
    route, virtual_host)

NAME = "rbac"
NOTES = ["RBAC in front of the router: permissions and principals of each kind, a rule for each "
         "route; levels of the route configuration that enable, disable and replace it; addresses "
         "in x-forwarded-for with and without trusted hops and use_remote_address"]
ANY = {"any": True}
FILTER_CONFIG = "type.googleapis.com/envoy.config.route.v3.FilterConfig"


def rules(permission: dict = ANY, principal: dict = ANY, action: str = "DENY") -> dict:
    """One policy."""
    policy = {"permissions": [permission], "principals": [principal]}
    return {"rules": {"action": action, "policies": {"p": policy}}}


def said(config: dict | None) -> dict:
    """What a level says to the filter."""
    more = {} if config is None else {"rbac": config}
    return {"rbac": filter_config("rbac.v3.RBACPerRoute", **more)}


def switched(**config) -> dict:
    """A level that switches the filter."""
    return {"rbac": {"@type": FILTER_CONFIG, **config}}


def net(address: str, bits: int = 32) -> dict:
    """A range of addresses."""
    return {"address_prefix": address, "prefix_len": bits}


KINDS = {
    "url": rules({"url_path": {"path": {"exact": "/url/a"}}}),
    "regex": rules({"url_path": {"path": {"safe_regex": {"regex": "/regex/[ab]"}}}}),
    "header": rules({"header": {"name": "x-a", "string_match": {"prefix": "1"}}}),
    "port": rules({"destination_port": PORT}),
    "ports": rules({"destination_port_range": {"start": PORT - 5, "end": PORT}}),
    "to": rules({"destination_ip": net("127.0.0.0", 8)}),
    "sni": rules({"requested_server_name": {"exact": ""}}),
    "and": rules({"and_rules": {"rules": [ANY, {"destination_port": 1}]}}),
    "or": rules({"or_rules": {"rules": [{"destination_port": 1}, ANY]}}),
    "not": rules({"not_rule": {"header": {"name": "x-a", "present_match": True}}}),
    "remote": rules(principal={"remote_ip": net("10.1.0.0", 16)}),
    "remote6": rules(principal={"remote_ip": net("fd00::", 8)}),
    "source": rules(principal={"source_ip": net("127.0.0.9")}),
    "direct": rules(principal={"direct_remote_ip": net("127.0.0.9")}),
    "peer": rules(principal={"authenticated": {}}),
    "ids": rules(principal={"not_id": {"and_ids": {"ids": [ANY, {"header": {
        "name": "x-a", "string_match": {"exact": "1"}}}]}}}),
    "allow": rules(action="ALLOW", principal={"header": {"name": "x-a", "present_match": True}}),
    "none": {"rules": {"action": "ALLOW"}},
    "log": rules(action="LOG"),
    "nothing": None,
}
BY_HEADER = rules({"header": {"name": "x-deny", "string_match": {"exact": "1"}}})
FORWARDED = ("10.1.1.1", "1.1.1.1, 10.1.1.1", "10.1.1.1, 1.1.1.1", "10.1.1.1:80", "10.1.1.1,", "x",
             "fd00::1", "::ffff:10.1.1.1", "")


def config() -> dict:
    """A listener with all kinds of rules and levels, and one for each way to find the client."""
    kinds = [route({"prefix": f"/{name}/"}, "a", name, typed_per_filter_config=said(found))
             for name, found in KINDS.items()]
    weighted = {"weighted_clusters": {"clusters": [
        {"name": "a", "weight": 1, "typed_per_filter_config": said(rules())}]}}
    levels = [
        route({"prefix": "/off"}, "a", "off", typed_per_filter_config=switched(disabled=True)),
        route({"prefix": "/on"}, "a", "on", typed_per_filter_config=switched(config={})),
        route({"prefix": "/wrapped"}, "a", "wrapped",
              typed_per_filter_config=switched(config=said(rules())["rbac"])),
        {"match": {"prefix": "/weighted"}, "route": weighted, "name": "weighted",
         "typed_per_filter_config": said(None)},
        {"match": {"prefix": "/redirect"}, "redirect": {"path_redirect": "/z"}, "name": "redirect"},
        {"match": {"prefix": "/direct"}, "direct_response": {"status": 204}, "name": "direct"},
        {"match": {"prefix": "/missing"}, "route": {"cluster": "nowhere"}, "name": "missing"},
        route({"prefix": "/all"}, "a", "all")]
    hosts = [virtual_host("kinds", ["kinds.test"], kinds),
             virtual_host("levels", ["levels.test"], levels),
             virtual_host("denied", ["denied.test"], levels, typed_per_filter_config=said(rules())),
             virtual_host("off", ["off.test"], levels,
                          typed_per_filter_config=switched(disabled=True))]
    client = [virtual_host("client", ["*"], [
        route({"prefix": "/"}, "a", "client",
              typed_per_filter_config=said(rules(principal={"remote_ip": net("10.1.1.1")})))])]
    chain = http_filter("rbac", "rbac.v3.RBAC", **BY_HEADER)
    listeners = [listener("web", [http_chain("web", hosts, http_filters=filters(chain))])]
    for index, options in enumerate(CLIENTS):
        name = f"client{index}"
        listeners.append(listener(name, [http_chain(
            name, client, http_filters=filters(chain), **options)], PORT + 1 + index))
    return bootstrap(listeners, [cluster("a", 1)])


CLIENTS = ({"xff_num_trusted_hops": 0}, {"xff_num_trusted_hops": 1}, {"use_remote_address": True},
           {"use_remote_address": True, "xff_num_trusted_hops": 1})


def traffic() -> list[dict]:
    """Each rule from both sides, each level with and without the filter's own rule."""
    collected = Traffic()
    sources = iter(range(20000, 30000))
    for name in KINDS:
        for path in ("", "a", "a?q", "b"):
            for value in ("1", "2"):
                collected.add(f"/{name}/{path}", "kinds.test", [("x-a", value)],
                              source=f"127.0.0.9:{next(sources)}")
        collected.add(f"/{name}/a", "kinds.test", source=f"127.0.0.8:{next(sources)}")
        for forwarded in ("10.1.2.3", "10.2.2.3", "fd00::7"):
            collected.add(f"/{name}/a", "kinds.test", [("x-forwarded-for", forwarded)],
                          source=f"127.0.0.9:{next(sources)}")
    paths = ("off", "on", "wrapped", "weighted", "redirect", "direct", "missing", "all", "none")
    for host in ("levels.test", "denied.test", "off.test", "no.test"):
        for path in paths:
            collected.add(f"/{path}", host)
            collected.add(f"/{path}", host, [("x-deny", "1")])
            if path != "redirect":
                grpc = ("content-type", "application/grpc")
                collected.add(f"/{path}", host, [("x-deny", "1"), grpc])
    for index in range(len(CLIENTS)):
        collected.destination = f"127.0.0.1:{PORT + 1 + index}"
        for forwarded in FORWARDED:
            collected.add("/", "h.test", [("x-forwarded-for", forwarded)],
                          source=f"127.0.0.9:{next(sources)}")
        collected.add("/", "h.test", source=f"127.0.0.9:{next(sources)}")
    return collected.requests
