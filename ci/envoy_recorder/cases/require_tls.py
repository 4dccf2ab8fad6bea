"""Virtual hosts that require TLS, of all requests or of those from outside."""

from envoy_recorder.cases.build import (
    PORT, Traffic, bootstrap, cluster, filter_config, filters, http_chain, http_filter, listener,
    route, virtual_host)

NAME = "require-tls"
NOTES = ["require_tls: what x-forwarded-proto says, whose requests are from inside, and HTTP filters in "
         "front of the redirect"]
DENY = {"rules": {"action": "DENY", "policies": {"p": {
    "permissions": [{"header": {"name": "x-deny", "present_match": True}}],
    "principals": [{"any": True}]}}}}
INSIDE = {"internal_address_config": {"cidr_ranges": [
    {"address_prefix": "127.0.0.9", "prefix_len": 32},
    {"address_prefix": "10.0.0.0", "prefix_len": 8}, {"address_prefix": "fd00::", "prefix_len": 8}]}}
MANAGERS = (
    {}, {"use_remote_address": True}, INSIDE, {**INSIDE, "use_remote_address": True},
    {**INSIDE, "xff_num_trusted_hops": 1},
    {**INSIDE, "xff_num_trusted_hops": 1, "use_remote_address": True})
FORWARDED = ("", "10.1.1.1", " 10.1.1.1 ", "11.1.1.1", "fd00::1", "10.1.1.1, 10.1.1.2",
             "10.1.1.1,", "x", "127.0.0.9", "::ffff:10.1.1.1", "10.1.1.1:80")


def config() -> dict:
    """A listener for each way to find out who is inside."""
    off = {"rbac": filter_config("rbac.v3.RBACPerRoute")}
    hosts = [
        virtual_host("all", ["all.test"], [route({"prefix": "/"}, "a", "all")], require_tls="ALL"),
        virtual_host("outside", ["outside.test"], [route({"prefix": "/"}, "a", "outside")],
                     require_tls="EXTERNAL_ONLY"),
        virtual_host("off", ["off.test"], [route({"prefix": "/"}, "a", "off")], require_tls="ALL",
                     typed_per_filter_config=off),
        virtual_host("none", ["none.test"], [], require_tls="EXTERNAL_ONLY"),
        virtual_host("plain", ["plain.test"], [route({"prefix": "/"}, "a", "plain")])]
    listeners = []
    for index, options in enumerate(MANAGERS):
        name = f"web{index}"
        chain = http_chain(name, hosts, http_filters=filters(
            http_filter("rbac", "rbac.v3.RBAC", **DENY)), **options)
        listeners.append(listener(name, [chain], PORT + index))
    return bootstrap(listeners, [cluster("a", 1)])


def traffic() -> list[dict]:
    """Each host with each forwarded address and scheme, from inside and from outside."""
    requests = []
    for index in range(len(MANAGERS)):
        collected = Traffic(PORT + index)
        sources = iter(range(20000 + 1000 * index, 60000))
        for host in ("all.test", "outside.test", "none.test"):
            for source in ("127.0.0.9", "127.0.0.8"):
                def add(*headers, path="/p?q=1"):
                    collected.add(path, host, headers, source=f"{source}:{next(sources)}")
                add()
                for forwarded in FORWARDED:
                    add(("x-forwarded-for", forwarded))
                add(("x-forwarded-for", "10.1.1.1"), ("x-forwarded-for", "10.1.1.2"))
                add(("x-envoy-internal", "true"))
                for proto in ("https", "http", "HTTPS", "ftp", "", "https,http"):
                    add(("x-forwarded-proto", proto))
                add(("x-forwarded-proto", "https"), ("x-forwarded-proto", "https"))
                add(("content-type", "application/grpc"))
                add(("x-deny", "1"))
        for proto in ("https", "ftp"):
            collected.add("/p", "plain.test", [("x-forwarded-proto", proto)])
        for host in ("off.test", "nowhere.test"):
            collected.add("/p", host)
            collected.add("/p", host, [("x-deny", "1")])
        for request in collected.requests:
            request["id"] = f"m{index}{request['id']}"
        requests += collected.requests
    return requests
