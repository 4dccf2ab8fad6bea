"""Filter chains that a matcher tree chooses by name."""

from envoy_recorder.cases.build import (
    PORT, bootstrap, cluster, http_chain, listener, listener_filter, route, tcp_chain, virtual_host)
from envoy_recorder.cases.matcher_tree import matchers, within
from envoy_recorder.cases.network_rbac import net
from envoy_recorder.cases.rbac_matcher import (
    DESTINATION, DIRECT, PORTS, SERVER_NAME, SOURCE, SOURCE_PORT, TYPE, all_of, any_of, extension,
    inside, keyed, network, otherwise, ranged, says, span, ssl)

NAME = "filter-chain-matcher"
NOTES = ["listeners that choose a filter chain by a matcher tree: inputs of each kind, also those that "
         "say nothing; lists, maps and trees of address ranges, what is tried where a branch leads "
         "nowhere; names that no filter chain has; filter chains that ask for something themselves",
         "source and destination reach Envoy in a PROXY protocol header where `listener` names the "
         "accepting listener; over TLS only a ClientHello is sent"]


def to(name: str) -> dict:
    """The name of a filter chain."""
    return {"action": extension("google.protobuf.StringValue", value=name)}


A, B, GONE = to("a"), to("b"), to("gone")
ANY = {"safe_regex": {"google_re2": {}, "regex": ".*"}}
TRANSPORT, PROTOCOL, KIND = network("TransportProtocol"), network("ApplicationProtocol"), network("SourceType")
SUBJECT = says(ssl("Subject"), **ANY)
NOWHERE = within(keyed("exact", PORTS, {"1": A}))
# Connections between addresses that a PROXY header says.
PROXIED = {
    "empty": {},
    "all": otherwise(A),
    "unknown": otherwise(GONE),
    "unnamed": otherwise(to("")),
    "default-by-name": otherwise(to("d")),
    "unknown-first": matchers((says(PORTS, exact="80"), GONE), otherwise=A),
    "destination": keyed("exact", DESTINATION, {"10.1.0.1": A, "fd00::1": B, "::ffff:10.1.0.2": B}),
    "prefix": keyed("prefix", DESTINATION, {"10.": B, "10.1.": A, "10.1.0.1": NOWHERE, "fd00": A}),
    "port": keyed("exact", PORTS, {"80": A, "8": B}, GONE),
    "source": matchers((says(SOURCE, exact="10.2.0.1"), A), (says(SOURCE, contains=":"), B)),
    "source-port": matchers((says(SOURCE_PORT, prefix="1"), A), (says(SOURCE_PORT, suffix="1"), B)),
    "kind": keyed("exact", KIND, {"local": A, "": B}),
    "not-local": matchers(({"not_matcher": says(KIND, **ANY)}, A), otherwise=B),
    "inside": matchers((inside(DESTINATION, net("10.1.0.0", 24), net("fd00::", 8)), A), otherwise=B),
    "longest": ranged(DESTINATION, span(B, net("10.0.0.0", 8)), span(A, net("10.1.0.1")), span(A, net("fd00::", 8))),
    "shorter": ranged(DESTINATION, span(B, net("10.0.0.0", 8)), span(NOWHERE, net("10.1.0.0", 16)), otherwise=A),
    "exclusive": ranged(DESTINATION, span(NOWHERE, net("10.1.0.0", 16)),
                        span(B, net("10.0.0.0", 8), exclusive=True), otherwise=A),
    "services": ranged(DESTINATION, span(within(keyed("exact", PORTS, {"80": A, "81": B})), net("10.1.0.1")),
                       span(within(keyed("exact", PORTS, {"80": B, "81": GONE}, A)), net("10.1.0.2"), net("fd00::1", 128))),
    "and": matchers((all_of(says(PORTS, exact="80"), inside(SOURCE, net("10.2.0.0", 16))), A), otherwise=B),
    "or": matchers((any_of(says(PORTS, exact="81"), says(SOURCE, exact="10.2.0.1")), A)),
    "not": matchers(({"not_matcher": says(PORTS, exact="80")}, A)),
    "certificate": matchers((SUBJECT, A), otherwise=B),
    "not-certificate": matchers(({"not_matcher": SUBJECT}, A), otherwise=B),
    "or-certificate": matchers((any_of(SUBJECT, says(PORTS, exact="80")), A), otherwise=B),
    "later-certificate": matchers((says(PORTS, exact="80"), A), (SUBJECT, B), otherwise=B),
    "certificate-map": keyed("exact", ssl("DnsSan"), {"a": A}, B),
}
PROTOCOLS = {"'http/1.1'": A, "'h2'": B, "'h2','http/1.1'": A, "h2": GONE, "'a'b'": B}
# Connections whose first bytes tell, at listeners with these inspectors.
INSPECTED = {
    "name": (keyed("exact", SERVER_NAME, {"a.test": A, "": B}), ["tls"]),
    "any-name": (matchers((says(SERVER_NAME, **ANY), A), otherwise=B), ["tls"]),
    "no-name": (matchers(({"not_matcher": says(SERVER_NAME, **ANY)}, A), otherwise=B), ["tls"]),
    "names": (keyed("prefix", SERVER_NAME, {"a.": A, "b.": B, "b.a": GONE}), ["tls"]),
    "name-unread": (keyed("exact", SERVER_NAME, {"a.test": A}, B), []),
    "transport": (keyed("exact", TRANSPORT, {"tls": A, "raw_buffer": B}), ["tls"]),
    "transport-unread": (keyed("exact", TRANSPORT, {"tls": A, "raw_buffer": B}), []),
    "protocol": (keyed("exact", PROTOCOL, PROTOCOLS), ["tls", "http"]),
    "protocol-of-tls": (keyed("exact", PROTOCOL, PROTOCOLS), ["tls"]),
    "protocols": (keyed("prefix", PROTOCOL, {"'h": A, "'h2',": B}), ["tls", "http"]),
    "any-protocol": (matchers((says(PROTOCOL, **ANY), A), otherwise=B), ["tls", "http"]),
    "certificate-of-tls": (matchers(({"not_matcher": SUBJECT}, A), otherwise=B), ["tls"]),
}
DIRECTLY = keyed("exact", DIRECT, {"127.0.0.8": A, "127.0.0.9": B})


def chains(*names: str) -> list[dict]:
    """TCP proxies."""
    return [tcp_chain(name, "c") for name in names]


def inspector(kind: str) -> dict:
    """A listener filter."""
    if kind == "tls":
        return listener_filter("tls_inspector")
    return {"name": "http", "typed_config": {
        "@type": f"{TYPE}envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"}}


def http(name: str) -> dict:
    """A chain whose only route is named after it."""
    return http_chain(name, [virtual_host("v", ["*"], [route({"prefix": "/"}, "c", name)])])


def config() -> dict:
    """A listener for each tree."""
    proxy = [listener_filter("proxy_protocol")]
    default = {"default_filter_chain": tcp_chain("d", "c")}
    trees = [(name, tree, proxy, chains("a", "b"), default) for name, tree in PROXIED.items()]
    trees += [(name, tree, [inspector(kind) for kind in kinds], chains("a", "b"), default)
              for name, (tree, kinds) in INSPECTED.items()]
    trees += [("no-default", PROXIED["port"], proxy, chains("a", "b"), {}),
              ("no-default-nowhere", keyed("exact", PORTS, {"80": A}), proxy, chains("a", "b"), {}),
              ("own-asks", keyed("exact", PORTS, {"80": A}, B), proxy,
               [tcp_chain("a", "c", {"destination_port": 81}), tcp_chain("b", "c", {"destination_port": 81}),
                tcp_chain("server", "c", {"server_names": ["x.test"]})], default),
              ("default-of-one-name", keyed("exact", PORTS, {"80": A}), proxy, chains("a", "b"),
               {"default_filter_chain": http("a")}),
              ("http", keyed("exact", PORTS, {"80": A, "81": B}), proxy, [http("a"), http("b")],
               {"default_filter_chain": http("d")}),
              ("direct", DIRECTLY, [], chains("a", "b"), default)]
    return bootstrap([
        listener(name, own, PORT + place, filter_chain_matcher=tree, listener_filters=filters, **more)
        for place, (name, tree, filters, own, more) in enumerate(trees)], [cluster("c", 1)])


def traffic() -> list[dict]:
    """Each tree from all sides."""
    collected = []
    sources = iter(range(20000, 40000))
    place = {entry["name"]: entry["address"]["socket_address"]["port_value"]
             for entry in config()["static_resources"]["listeners"]}

    def add(**more) -> None:
        collected.append({"id": f"r{len(collected):04}", "authority": "h.test", "path": "/", **more})

    def proxied(name: str, destination: str, source: str) -> None:
        add(listener=name, destination=destination, source=source)

    for name in (*PROXIED, "no-default", "no-default-nowhere", "own-asks", "default-of-one-name", "http"):
        for destination in ("10.1.0.1:80", "10.1.0.1:81", "10.1.0.2:80", "10.1.0.2:81", "10.1.1.1:8", "11.0.0.1:82"):
            proxied(name, destination, "10.2.0.1:1000")
        for source in ("10.1.0.1:2001", "127.0.0.1:1", "127.0.0.2:21", "10.2.0.1:2"):
            proxied(name, "10.1.0.1:80", source)
        for destination, source in (("fd00::1", "::1"), ("fd00::2", "fd00::2"), ("fe00::1", "fd00::1")):
            proxied(name, f"[{destination}]:80", f"[{source}]:3001")
    for name in INSPECTED:
        def inspected(**more) -> None:
            add(destination=f"127.0.0.1:{place[name]}", source=f"127.0.0.9:{next(sources)}", **more)

        inspected()
        inspected(tls=True)
        for server in ("a.test", "A.TEST", "b.test", "b.a.test", "c.test"):
            inspected(tls=True, sni=server)
        for protocols in ("h2", "http/1.1", "h2,http/1.1", "http/1.1,h2", "h3", "a'b", "H2"):
            inspected(tls=True, sni="a.test", alpn=protocols)
    for host in "789":
        add(destination=f"127.0.0.1:{place['direct']}", source=f"127.0.0.{host}:{next(sources)}")
    return collected
