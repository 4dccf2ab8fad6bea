"""Filter chains by server name, transport protocol and ALPN; TCP proxies behind them."""

from envoy_recorder.cases.build import (
    bootstrap, cluster, listener, listener_filter, tcp_chain)

NAME = "filter-chains-tls"
NOTES = ["server name, transport protocol, ALPN; only a ClientHello is sent (or plain HTTP, tls = "
         "false) and TCP proxies follow, so a decision ends with filter chain, cluster and endpoint",
         "source addresses are real ones of the loopback network"]
CHAINS: dict[str, dict] = {
    "exact": {"server_names": ["www.a.test"]},
    "wildcard": {"server_names": ["*.a.test"]},
    "wildcard-deeper": {"server_names": ["*.b.a.test"]},
    "several": {"server_names": ["c.test", "*.c.test"]},
    "h2": {"application_protocols": ["h2"]},
    "exact-h2": {"server_names": ["www.d.test"], "application_protocols": ["h2", "h3"]},
    "exact-any-protocol": {"server_names": ["www.d.test"]},
    "exact-tls": {"server_names": ["www.e.test"], "transport_protocol": "tls"},
    "raw": {"transport_protocol": "raw_buffer"},
    "tls": {"transport_protocol": "tls"},
    "near": {"server_names": ["www.f.test"],
             "source_prefix_ranges": [{"address_prefix": "127.0.3.0", "prefix_len": 24}]},
    "far": {"server_names": ["www.f.test"]},
}


def config() -> dict:
    """A listener with TLS inspection, and one without any chain for most."""
    chains = [tcp_chain(name, f"c{index % 3}", match) for index, (name, match) in enumerate(CHAINS.items())]
    return bootstrap([
        listener("inspected", chains, 18480, listener_filters=[listener_filter("tls_inspector")]),
        listener("picky", [tcp_chain("only", "c0", {"server_names": ["only.test"]}),
                           tcp_chain("empty", "none", {"server_names": ["empty.test"]})],
                 18481, listener_filters=[listener_filter("tls_inspector")])],
        [cluster("c0", 1, first=1), cluster("c1", 3, first=2), cluster("c2", 1, first=5),
         cluster("none", [])])


def traffic() -> list[dict]:
    """Each name, its neighbours, and each protocol list."""
    collected = []

    def hello(port: int = 18480, source: str = "127.0.2.1", **more) -> None:
        index = len(collected)
        collected.append({"id": f"r{index:04}", "authority": "h.test", "path": "/",
                          "source": f"{source}:{30000 + index}", "destination": f"127.0.0.1:{port}",
                          "tls": True, **more})

    names = ("www.a.test", "WWW.a.test", "x.a.test", "a.test", "x.y.a.test", "x.b.a.test", "b.a.test",
             "x.y.b.a.test", "c.test", "x.c.test", "xc.test", "www.d.test", "x.d.test", "www.e.test",
             "www.f.test", "other.test", "test")
    for name in names:
        for alpn in (None, "h2", "http/1.1", "h2,http/1.1", "http/1.1,h2", "h3", "h3,h2"):
            if alpn is None:
                hello(sni=name)
            elif name in ("www.a.test", "www.d.test", "other.test", "x.a.test"):
                hello(sni=name, alpn=alpn)
    for alpn in (None, "h2", "http/1.1", "h2c"):
        hello(**({"alpn": alpn} if alpn else {}))
    for source in ("127.0.2.255", "127.0.3.0", "127.0.3.255", "127.0.4.0"):
        hello(source=source, sni="www.f.test")
    hello(tls=False)
    for name in ("only.test", "empty.test", "x.only.test", "ONLY.test", "other.test"):
        hello(18481, sni=name)
    hello(18481)
    hello(18481, tls=False)
    return collected
