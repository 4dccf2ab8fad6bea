"""Which virtual host takes an authority: exact, longest suffix, longest prefix, any."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, http_chain, listener, route, virtual_host)

NAME = "host-precedence"
NOTES = ["virtual host search: exact, longest suffix, longest prefix, any; the second listener has "
         "no `*` host and strips the port and trailing dots, the third ignores the port in matching"]
HOSTS = {
    "exact": ["www.shop.test"],
    "exact-port": ["www.shop.test:8080"],
    "exact-upper": ["UPPER.shop.test"],
    "suffix": ["*.shop.test"],
    "suffix-longer": ["*.api.shop.test"],
    "suffix-no-dot": ["*-eu.shop.test"],
    "suffix-port": ["*.shop.test:8080"],
    "prefix": ["www.*"],
    "prefix-longer": ["www.shop.*"],
    "prefix-no-dot": ["ww*"],
    "both": ["both.test", "*.both.test", "both.*"],
    "ipv4": ["10.0.0.1", "10.0.0.1:80"],
    "ipv6": ["[::1]", "[::1]:80"],
    "dot": ["dot.test."],
    "empty-routes": ["nothing.test"],
}


def hosts(any_host: bool) -> list[dict]:
    """The virtual hosts, with or without the one that takes all."""
    listed = [virtual_host(name, domains, [] if name == "empty-routes" else [
        route({"prefix": "/"}, "c")]) for name, domains in HOSTS.items()]
    if any_host:
        listed.insert(3, virtual_host("any", ["*"], [route({"prefix": "/"}, "c")]))
    return listed


def ignoring_port() -> dict:
    """A chain whose route table ignores the port."""
    ignoring = [virtual_host(name, domains, [route({"prefix": "/"}, "c")])
                for name, domains in HOSTS.items() if not any(":8" in domain for domain in domains)]
    result = http_chain("ignoring", ignoring)
    manager = result["filters"][0]["typed_config"]
    manager["route_config"]["ignore_port_in_host_matching"] = True
    return result


def config() -> dict:
    """Three listeners over the same domains."""
    return bootstrap([
        listener("plain", [http_chain("plain", hosts(True))], 18480),
        listener("stripping", [http_chain("stripping", hosts(False), strip_any_host_port=True,
                                          strip_trailing_host_dot=True)], 18481),
        listener("ignoring", [ignoring_port()], 18482)], [cluster("c", 1)])


def traffic() -> list[dict]:
    """Each domain and what comes near it."""
    authorities = (
        "www.shop.test", "WWW.Shop.TEST", "www.shop.test.", "www.shop.test:80", "www.shop.test:8080",
        "www.shop.test:8081", "www.shop.test:", "upper.shop.test", "UPPER.SHOP.TEST", "a.shop.test",
        "shop.test", ".shop.test", "x.y.shop.test", "a.api.shop.test", "api.shop.test",
        ".api.shop.test", "x.a.api.shop.test", "x-eu.shop.test", "-eu.shop.test", "y.x-eu.shop.test",
        "a.shop.test:8080", "a.shop.test:80", "shop.test:8080", "www.other.test", "www.", "www",
        "www.shop.", "www.shop.org", "www.shop.org:8080", "wwx", "ww", "www2.test", "w", "both.test",
        "a.both.test", "both.org", "both.", "a.both.org", "x.both.test:80", "10.0.0.1", "10.0.0.1:80",
        "10.0.0.1:81", "[::1]", "[::1]:80", "[::1]:81", "[::2]", "::1", "dot.test.", "dot.test",
        "dot.test.:80", "DOT.test.", "nothing.test", "NOTHING.test", "nothing.test:80", "", "*",
        "*.shop.test", "www.*", "other.test", "a", "localhost:18480", "www.shop.test,a",
        "user@www.shop.test", "www.shop.test:80:80", "www.shop.test:abc")
    collected = []
    for port in (18480, 18481, 18482):
        part = Traffic(port)
        for authority in authorities:
            part.add("/", authority)
        if port != 18480:
            for target in ("http://www.shop.test/x", "http://a.API.shop.test:8080/"):
                part.add(target, "ignored.test")
        collected += part.requests
    return [{**request, "id": f"r{index:04}"} for index, request in enumerate(collected)]
