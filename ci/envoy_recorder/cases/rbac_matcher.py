"""RBAC by matcher trees: HTTP filters and network filters, inputs of each kind, ranges of addresses."""

from envoy_recorder.cases.build import (
    PORT, Traffic, bootstrap, cluster, filter_config, filters, http_chain, http_filter, listener,
    listener_filter, route, tcp_chain, virtual_host)
from envoy_recorder.cases.matcher_tree import mapped, matchers, of, single, within
from envoy_recorder.cases.network_rbac import behind, net, rbac, rules

NAME = "rbac-matcher"
NOTES = ["RBAC filters of requests and of connections that go by a matcher tree: lists, maps, trees "
         "of address ranges, what is tried where a branch leads nowhere; headers, addresses, ports, "
         "server names and certificates as inputs, also those that are not there; a matcher beside "
         "rules, shadow matchers, and matchers of routes; clients that x-forwarded-for says"]
TYPE = "type.googleapis.com/"
INPUTS = f"{TYPE}envoy.extensions.matching.common_inputs."


def extension(kind: str, **config) -> dict:
    """An extension by its type."""
    return {"name": "x", "typed_config": {"@type": TYPE + kind, **config}}


def network(kind: str) -> dict:
    """An input of connections."""
    return {"name": "input", "typed_config": {"@type": f"{INPUTS}network.v3.{kind}Input"}}


def ssl(kind: str) -> dict:
    """An input of certificates."""
    return {"name": "input", "typed_config": {"@type": f"{INPUTS}ssl.v3.{kind}Input"}}


def to(action: str, name: str | None = None) -> dict:
    """What a match leads to."""
    return {"action": extension("envoy.config.rbac.v3.Action", name=name or action.lower(), action=action)}


ALLOW, DENY, LOG = to("ALLOW"), to("DENY"), to("LOG")
SOURCE, DIRECT, DESTINATION = network("SourceIP"), network("DirectSourceIP"), network("DestinationIP")
SOURCE_PORT, PORTS, SERVER_NAME = network("SourcePort"), network("DestinationPort"), network("ServerName")


def says(given: dict, **value) -> dict:
    """A predicate of an input."""
    return {"single_predicate": {"input": given, "value_match": value}}


def inside(given: dict, *ranges: dict) -> dict:
    """A predicate of an address."""
    kind = "envoy.extensions.matching.input_matchers.ip.v3.Ip"
    return {"single_predicate": {"input": given, "custom_match": extension(
        kind, stat_prefix="s", cidr_ranges=list(ranges))}}


def keyed(kind: str, given: dict, entries: dict, otherwise: dict | None = None) -> dict:
    """A map by an input."""
    found = {"matcher_tree": {"input": given, f"{kind}_match_map": {"map": entries}}}
    return found | ({"on_no_match": otherwise} if otherwise else {})


def ranged(given: dict, *fields: dict, otherwise: dict | None = None) -> dict:
    """A tree of address ranges."""
    custom = extension("xds.type.matcher.v3.IPMatcher", range_matchers=list(fields))
    found = {"matcher_tree": {"input": given, "custom_match": custom}}
    return found | ({"on_no_match": otherwise} if otherwise else {})


def span(leads: dict, *ranges: dict, exclusive: bool = False) -> dict:
    """Ranges and what they lead to."""
    found = {"ranges": list(ranges), "on_match": leads}
    return found | ({"exclusive": True} if exclusive else {})


def otherwise(leads: dict) -> dict:
    """A tree that matches nothing by itself."""
    return {"on_no_match": leads}


def any_of(*predicates: dict) -> dict:
    """A predicate of which one has to hold."""
    return {"or_matcher": {"predicate": list(predicates)}}


def all_of(*predicates: dict) -> dict:
    """A predicate of which all have to hold."""
    return {"and_matcher": {"predicate": list(predicates)}}


HERE, ALL, LOOPBACK = net("127.0.0.9"), {"address_prefix": "0.0.0.0"}, net("127.0.0.0", 8)
HERE_ONLY, PEER = inside(DIRECT, HERE), says(ssl("Subject"), contains="=")
NOWHERE = within(keyed("exact", PORTS, {"1": ALLOW}))
# What both filters know.
CONNECTIONS = {
    "empty": {},
    "all": otherwise(ALLOW),
    "none": otherwise(DENY),
    "log": otherwise(LOG),
    "port": matchers((says(PORTS, prefix="18"), ALLOW)),
    "not-port": matchers(({"not_matcher": says(PORTS, prefix="18")}, DENY), otherwise=ALLOW),
    "source": matchers((says(SOURCE, exact="127.0.0.9"), ALLOW)),
    "source-part": matchers((says(SOURCE, contains="0.0"), NOWHERE),
                            (says(SOURCE, suffix=".9"), DENY), otherwise=LOG),
    "direct": matchers((says(DIRECT, safe_regex={"google_re2": {}, "regex": "127.*9"}), ALLOW)),
    "source-port": matchers((says(SOURCE_PORT, prefix="2"), ALLOW),
                            (says(SOURCE_PORT, exact="0"), to("DENY", "no-port"))),
    "text": keyed("exact", SOURCE, {"127.0.0.9": ALLOW, "::1.2.3.4": ALLOW, "::ffff:10.1.1.1": ALLOW,
                                    "fd00::a:0:0:1": ALLOW, "::102:304": DENY}),
    "case": matchers((says(SOURCE, prefix="FD00:", ignore_case=True), ALLOW),
                     (says(SOURCE, suffix="A:0:0:1"), DENY)),
    "ports": keyed("exact", PORTS, {"1": DENY, "18490": NOWHERE, "18495": DENY}, ALLOW),
    "to": keyed("prefix", DESTINATION, {"127": DENY, "127.0": ALLOW, "127.0.0.1": NOWHERE}),
    "inside": matchers((inside(SOURCE, HERE, net("10.1.1.1")), ALLOW)),
    "not-inside": matchers(({"not_matcher": inside(DESTINATION, net("127.0.0.2"), net("::", 0))}, ALLOW)),
    "and": matchers((all_of(inside(SOURCE, LOOPBACK), says(PORTS, prefix="1")), ALLOW)),
    "or": matchers((any_of(HERE_ONLY, says(PORTS, prefix="2")), ALLOW)),
    "longest": ranged(SOURCE, span(DENY, LOOPBACK), span(ALLOW, HERE, net("10.1.1.1"))),
    "shorter": ranged(SOURCE, span(ALLOW, LOOPBACK), span(NOWHERE, HERE), otherwise=DENY),
    "first": ranged(DIRECT, span(NOWHERE, HERE), span(ALLOW, HERE), span(DENY, HERE)),
    "exclusive": ranged(DIRECT, span(NOWHERE, HERE), span(DENY, LOOPBACK, exclusive=True), span(ALLOW, ALL)),
    "exclusive-first": ranged(DIRECT, span(NOWHERE, HERE, exclusive=True), span(ALLOW, LOOPBACK), otherwise=DENY),
    "any": ranged(DIRECT, span(DENY, net("::", 0)), span(ALLOW, ALL)),
    "host-bits": ranged(DIRECT, span(ALLOW, net("127.1.2.3", 8)), span(DENY, net("127.0.0.8", 99))),
    "long": ranged(DIRECT, span(DENY, HERE), span(ALLOW, net("127.0.0.9", 99))),
    "mapped": ranged(SOURCE, span(DENY, net("10.0.0.0", 8)), span(LOG, net("::", 0)), span(ALLOW, ALL)),
    "no-range": ranged(DIRECT, span(DENY, net("10.0.0.0", 8)), otherwise=ALLOW),
    "no-ranges": ranged(DIRECT, otherwise=ALLOW),
    "nested": ranged(DIRECT, span(within(keyed("exact", DIRECT, {"127.0.0.8": DENY}, otherwise=ALLOW)), LOOPBACK)),
    "sni": matchers((says(SERVER_NAME, safe_regex={"google_re2": {}, "regex": ".*"}), DENY), otherwise=ALLOW),
    "sni-map": keyed("exact", SERVER_NAME, {"": DENY, "a.com": DENY}, ALLOW),
    "uri": matchers((says(ssl("UriSan"), safe_regex={"google_re2": {}, "regex": ".*"}), DENY), otherwise=ALLOW),
    "dns": keyed("exact", ssl("DnsSan"), {"": DENY}, ALLOW),
    "subject": keyed("exact", ssl("Subject"), {"": DENY}, ALLOW),
    "subject-later": matchers((says(PORTS, prefix="18"), ALLOW), (PEER, DENY)),
    "or-peer": matchers((any_of(PEER, HERE_ONLY), ALLOW), otherwise=LOG),
    "or-peers": matchers((any_of(PEER, any_of(says(PORTS, exact="1"), PEER), any_of(HERE_ONLY, PEER)), ALLOW),
                         otherwise=LOG),
    "and-peer": matchers((all_of(HERE_ONLY, PEER), DENY), otherwise=ALLOW),
    "not-peer": matchers(({"not_matcher": PEER}, ALLOW), otherwise=ALLOW),
    "not-or-peer": matchers(({"not_matcher": any_of(PEER, HERE_ONLY)}, ALLOW), otherwise=ALLOW),
    "within-peer": matchers((HERE_ONLY, within(matchers((PEER, DENY)))), otherwise=ALLOW),
    "map-peer": keyed("prefix", PORTS, {"1": ALLOW, "18": within(matchers((PEER, DENY), otherwise=DENY))}),
}
A1, B1 = single("x-a", exact="1"), single("x-b", exact="1")
# What filters of requests alone know.
REQUESTS = {
    "header": matchers((A1, ALLOW), (single("x-a", prefix="1"), DENY), (single("x-a", exact="2"), LOG)),
    "path": matchers((single(":path", safe_regex={"google_re2": {}, "regex": "/[a-z]+/[a-z]\\?q"}), DENY),
                     (single(":method", exact="GET"), ALLOW)),
    "predicates": matchers(({"and_matcher": {"predicate": [A1, B1]}}, ALLOW),
                           ({"or_matcher": {"predicate": [A1, B1]}}, DENY),
                           ({"not_matcher": single("x-a", prefix="2")}, LOG)),
    "map": mapped("exact", "x-a", {"1": ALLOW, "2": within(matchers((B1, ALLOW))), "1,2": DENY}, LOG),
    "prefixes": mapped("prefix", "x-a", {"1": ALLOW, "12": DENY, "123": within(matchers((B1, DENY)))}),
    "mixed": matchers(({"and_matcher": {"predicate": [A1, inside(SOURCE, net("10.1.1.1"), HERE)]}}, ALLOW)),
}
OF_TEXT = ("text", "case", "mapped")
SHADOW = {"shadow_matcher": otherwise(DENY), "shadow_rules_stat_prefix": "s"}
SECURED = keyed("prefix", SERVER_NAME, {"a.": ALLOW, "b.": DENY, "b.a": LOG})


def config() -> dict:
    """A listener for each way to find the client, one for each kind of connections, and one for TLS."""
    trees = CONNECTIONS | REQUESTS
    said = {name: {"matcher": tree} for name, tree in trees.items()}
    said |= {"beside": {"matcher": otherwise(DENY), "rules": rules(action="ALLOW")},
             "beside-denying": {"matcher": otherwise(ALLOW), "rules": rules()},
             "shadow": SHADOW, "shadow-of": SHADOW | {"matcher": otherwise(ALLOW)}}
    kinds = [route({"prefix": f"/{name}/"}, "a", name, typed_per_filter_config={
        "rbac": filter_config("rbac.v3.RBACPerRoute", rbac=config)}) for name, config in said.items()]
    hosts = [virtual_host("kinds", ["*"], kinds + [route({"prefix": "/"}, "a", "own")])]
    own = http_filter("rbac", "rbac.v3.RBAC", matcher=matchers((A1, ALLOW)))
    listeners = [listener("web", [http_chain("web", hosts, http_filters=filters(own))]),
                 listener("own", [http_chain("own", hosts, http_filters=filters(own),
                                             use_remote_address=True)], PORT + 1)]
    of_connections = {name: {"matcher": tree} for name, tree in CONNECTIONS.items()}
    of_connections |= {name: said[name] for name in ("beside", "beside-denying", "shadow", "shadow-of")}
    for index, (name, found) in enumerate(of_connections.items()):
        listeners.append(listener(name, [behind([rbac(**found)], tcp_chain(name, "a"))], PORT + 10 + index))
    secured = behind([rbac(matcher=SECURED)], tcp_chain("secured", "a"))
    listeners.append(listener("secured", [secured], PORT + 300,
                              listener_filters=[listener_filter("tls_inspector")]))
    return bootstrap(listeners, [cluster("a", 1)])


def traffic() -> list[dict]:
    """Each tree from all sides."""
    collected = Traffic()
    sources = iter(range(20000, 40000))

    def add(path: str, port: int, address: str = "9", headers=(), **more) -> None:
        collected.destination = f"127.0.0.1:{port}"
        collected.add(path, "h.test", headers, source=f"127.0.0.{address}:{next(sources)}", **more)

    extra = ("beside", "beside-denying", "shadow", "shadow-of")
    for name in (*CONNECTIONS, *extra):
        texts = ("::1.2.3.4", "::FFFF:10.1.1.1", "FD00:0:0:0:A::1", "::1") if name in OF_TEXT else ()
        for port in (PORT, PORT + 1):
            for address in "89":
                add(f"/{name}/", port, address)
            for forwarded in ("10.1.1.1", "fd00::1", "1.1.1.1, 127.0.0.9", *texts):
                add(f"/{name}/", port, "8", [("x-forwarded-for", forwarded)])
    for name in REQUESTS:
        for headers in ((), *([("x-a", value)] for value in ("", "1", "12", "123", "1234", "2", "3", "1,2")),
                        [("x-a", "1"), ("x-a", "2")], [("x-b", "1")], [("x-a", "1"), ("x-b", "1")],
                        [("x-a", "2"), ("x-b", "1")], [("x-a", "123"), ("x-b", "1")]):
            add(f"/{name}/a", PORT, headers=headers)
        add(f"/{name}/a?q", PORT, headers=[("x-a", "1")], method="POST")
        add(f"/{name}/a", PORT, headers=[("x-a", "1"), ("x-forwarded-for", "10.1.1.1")])
        add(f"/{name}/a", PORT, headers=[("x-a", "1"), ("x-forwarded-for", "10.1.1.2")])
    for headers in ((), [("x-a", "1")], [("x-a", "2")], [("content-type", "application/grpc")]):
        add("/", PORT, headers=headers)
    for index in range(len(CONNECTIONS) + len(extra)):
        for address in "89":
            add("/", PORT + 10 + index, address)
    for name in ("a.com", "b.a.com", "B.com", "b.com", "c.com", None):
        add("/", PORT + 300, tls=True, **({"sni": name} if name else {}))
    add("/", PORT + 300)
    return collected.requests
