"""The listener of a sidecar's outbound traffic: connections are handed to the listener of their
original destination."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, http_chain, listener, listener_filter, route, socket_address,
    tcp_chain, virtual_host)

NAME = "original-destination"
NOTES = ["virtualOutbound has use_original_dst and hands a connection to the listener bound to its "
         "original destination, else to 0.0.0.0 and its port, else keeps it; names as Istio gives "
         "them; the destination reaches Envoy in a PROXY protocol header, so `listener` names the "
         "accepting listener, and the decision names the one that took over"]


def unbound(ip: str, port: int, chains: list[dict], **more) -> dict:
    """A listener that gets connections only from virtualOutbound."""
    return {"name": f"{ip}_{port}", "address": socket_address(ip, port), "bind_to_port": False,
            "filter_chains": chains, **more}


def http(name: str, cluster_name: str, match: dict | None = None) -> dict:
    """A chain with one service and a block for the rest."""
    return http_chain(name, [
        virtual_host(f"{name}-service", ["service.test"], [route({"prefix": "/"}, cluster_name)]),
        virtual_host("allow_any", ["*"], [route({"prefix": "/"}, "passthrough", "allow_any")])], match)


def net(prefix: str, length: int) -> dict:
    """A match on the destination."""
    return {"prefix_ranges": [{"address_prefix": prefix, "prefix_len": length}]}


def config() -> dict:
    """virtualOutbound and the listeners behind it."""
    outbound = listener("virtualOutbound", [tcp_chain("virtualOutbound-blackhole", "blackhole",
                                                      {"destination_port": 15001})],
                        18480, use_original_dst=True, listener_filters=[listener_filter("proxy_protocol")],
                        default_filter_chain=tcp_chain("virtualOutbound-catchall-tcp", "passthrough"))
    return bootstrap([
        outbound,
        unbound("0.0.0.0", 80, [http("web", "web")]),
        unbound("0.0.0.0", 9080, [http("reviews-mesh", "reviews", net("10.96.0.0", 16)),
                                  http("reviews", "web")]),
        unbound("10.96.0.10", 80, [http("dashboard", "dashboard")]),
        unbound("10.96.0.11", 443, [tcp_chain("secure", "dashboard")]),
        unbound("0.0.0.0", 7070, [http("strict", "web", net("10.96.7.0", 24))]),
        unbound("10.96.7.7", 7070, [http("nothing-here", "web", net("10.97.0.0", 16))]),
        unbound("::1", 6060, [tcp_chain("v6", "dashboard")]),
    ], [cluster("web", 1, first=1), cluster("reviews", 2, first=2), cluster("dashboard", 1, first=4),
        cluster("passthrough", 1, first=5), cluster("blackhole", [])])


def traffic() -> list[dict]:
    """Each listener, and what comes near it."""
    collected = Traffic()
    destinations = (
        "10.96.0.10:80", "10.96.0.11:80", "10.96.0.9:80", "1.1.1.1:80", "10.96.0.11:443",
        "10.96.0.10:443", "1.1.1.1:443", "10.96.0.1:9080", "10.96.255.255:9080", "10.97.0.0:9080",
        "10.95.255.255:9080", "10.96.0.10:9080", "10.96.0.10:81", "1.1.1.1:15001", "10.96.0.10:15001",
        "10.96.7.1:7070", "10.96.7.7:7070", "10.96.8.1:7070", "10.97.0.1:7070", "[::1]:6060",
        "[::2]:6060", "[::1]:80", "[2001:db8::1]:9080", "127.0.0.1:80", "127.0.0.1:18480")
    for destination in destinations:
        for authority in ("service.test", "other.test"):
            index = len(collected.requests)
            source = "[2001:db8::9]" if destination.startswith("[") else "10.244.0.7"
            collected.requests.append({
                "id": f"r{index:04}", "authority": authority, "path": "/",
                "source": f"{source}:{40000 + index}", "destination": destination,
                "listener": "virtualOutbound"})
    return collected.requests
