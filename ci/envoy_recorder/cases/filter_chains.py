"""Filter chains by destination and source; the addresses come in a PROXY header."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, http_chain, listener, listener_filter, route, virtual_host)

NAME = "filter-chains"
NOTES = ["destination port, then destination prefix, then source type, direct source, source prefix "
         "and source port; source and destination reach Envoy in a PROXY protocol header, so "
         "`listener` names the accepting listener"]


def ranges(*prefixes: str) -> list[dict]:
    """CIDR ranges."""
    return [{"address_prefix": prefix.partition("/")[0], "prefix_len": int(prefix.partition("/")[2])}
            for prefix in prefixes]


CHAINS: dict[str, dict] = {
    "port": {"destination_port": 8080},
    "port-net": {"destination_port": 8080, "prefix_ranges": ranges("10.1.0.0/16")},
    "port-net-source": {"destination_port": 8080, "prefix_ranges": ranges("10.1.0.0/16"),
                        "source_prefix_ranges": ranges("192.168.1.0/24")},
    "net8": {"prefix_ranges": ranges("10.0.0.0/8")},
    "net16": {"prefix_ranges": ranges("10.2.0.0/16", "10.3.0.0/16")},
    "host": {"prefix_ranges": ranges("10.2.3.4/32")},
    "host-source": {"prefix_ranges": ranges("10.2.3.4/32"),
                    "source_prefix_ranges": ranges("172.16.0.0/12")},
    "host-source-port": {"prefix_ranges": ranges("10.2.3.4/32"),
                         "source_prefix_ranges": ranges("172.16.0.0/12"), "source_ports": [7000, 7001]},
    "host-port-only": {"prefix_ranges": ranges("10.2.3.4/32"), "source_ports": [7000]},
    "external": {"prefix_ranges": ranges("10.4.0.0/16"), "source_type": "EXTERNAL"},
    "local": {"prefix_ranges": ranges("10.4.0.0/16"), "source_type": "SAME_IP_OR_LOOPBACK"},
    "ipv6": {"prefix_ranges": ranges("2001:db8::/32")},
    "ipv6-host": {"prefix_ranges": ranges("2001:db8::1/128")},
    "plain-text": {"prefix_ranges": ranges("10.5.0.0/16"), "transport_protocol": "raw_buffer"},
    "tls-only": {"prefix_ranges": ranges("10.6.0.0/16"), "transport_protocol": "tls"},
    "server-name": {"prefix_ranges": ranges("10.7.0.0/16"), "server_names": ["a.test"]},
}


def http(name: str, match: dict | None = None) -> dict:
    """A chain whose only route is named after it."""
    return http_chain(name, [virtual_host("v", ["*"], [route({"prefix": "/"}, "c", name)])], match)


def config() -> dict:
    """One listener without a default chain, one with."""
    filters = [listener_filter("proxy_protocol")]
    chains = [http(name, match) for name, match in CHAINS.items()]
    return bootstrap([
        listener("strict", chains, 18480, listener_filters=filters),
        listener("with-default", [http("only-80", {"destination_port": 80}),
                                  http("net-80", {"destination_port": 81,
                                                  "prefix_ranges": ranges("10.0.0.0/8")})],
                 18481, listener_filters=filters, default_filter_chain=http("default")),
        listener("catch-all", [http("nothing", {}),
                               http("from-home", {"source_prefix_ranges": ranges("127.0.0.0/8")})],
                 18482, listener_filters=filters)], [cluster("c", 1)])


def traffic() -> list[dict]:
    """Each criterion matched, just missed, and overruled by an earlier one."""
    collected = Traffic()
    port = 1000

    def connect(destination: str, source: str = "198.51.100.1", name: str = "strict",
                source_port: int | None = None) -> None:
        nonlocal port
        port += 1
        address = f"[{source}]" if ":" in source else source
        collected.requests.append({
            "id": f"r{len(collected.requests):04}", "authority": "h.test", "path": "/",
            "source": f"{address}:{source_port or port}", "destination": destination,
            "listener": name})

    for destination in (
            "10.1.0.1:8080", "10.0.255.255:8080", "10.1.255.255:8080", "10.2.0.0:8080", "1.2.3.4:8080",
            "10.2.3.4:8080", "1.2.3.4:80", "9.255.255.255:80", "10.0.0.0:80", "10.255.255.255:80",
            "11.0.0.0:80", "10.2.0.0:80", "10.1.255.255:80", "10.3.255.255:80", "10.2.3.3:80",
            "10.2.3.4:80", "10.2.3.5:80", "10.5.1.1:80", "10.6.1.1:80", "10.7.1.1:80"):
        connect(destination)
        connect(destination, "192.168.1.7")
    for source in ("192.168.0.255", "192.168.1.0", "192.168.1.255", "192.168.2.0"):
        connect("10.1.0.1:8080", source)
    taken = 0
    for source in ("172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"):
        for source_port in (6999, 7000, 7001, 7002):
            connect("10.2.3.4:80", source, source_port=source_port)
            taken += 1
    for source in ("127.0.0.1", "127.9.9.9", "10.4.0.1", "10.4.0.2", "198.51.100.2"):
        connect("10.4.0.1:80", source)
    for destination in ("[2001:db8::1]:80", "[2001:db8::2]:80", "[2001:db9::1]:80", "[2001:db8::1]:8080"):
        connect(destination, "2001:db8::9")
    for destination in ("10.1.1.1:80", "1.1.1.1:80", "10.1.1.1:81", "1.1.1.1:81", "10.1.1.1:82"):
        connect(destination, name="with-default")
    for source in ("127.0.0.1", "10.0.0.1", "126.255.255.255", "128.0.0.0"):
        connect("10.1.1.1:80", source, "catch-all")
    return collected.requests
