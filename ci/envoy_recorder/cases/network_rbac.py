"""The network RBAC filter: rules of each kind, in front of a TCP proxy and of a connection manager."""

from envoy_recorder.cases.build import (
    NETWORK, PORT, Traffic, bootstrap, cluster, http_chain, listener, listener_filter, route,
    tcp_chain, virtual_host)

NAME = "network-rbac"
NOTES = ["the network RBAC filter ahead of a TCP proxy and of a connection manager, which closes "
         "connections at their first data: permissions and principals of each kind, actions, "
         "several policies and several filters; conditions of requests, of which none holds; a TCP "
         "proxy that finds no cluster or no endpoint before, or waits for data; heads that are "
         "malformed; server names that the TLS inspector has read"]
ANY = {"any": True}
URL = {"url_path": {"path": {"prefix": "/"}}}


def rules(permission: dict = ANY, principal: dict = ANY, action: str = "DENY", name: str = "p") -> dict:
    """One policy."""
    policy = {"permissions": [permission], "principals": [principal]}
    return {"action": action, "policies": {name: policy}}


def several(action: str, **policies: dict) -> dict:
    """A policy for each of these permissions."""
    return {"action": action, "policies": {
        name: {"permissions": [permission], "principals": [ANY]}
        for name, permission in policies.items()}}


def rbac(name: str = "rbac", **config) -> dict:
    """The filter."""
    return {"name": name, "typed_config": {
        "@type": f"{NETWORK}rbac.v3.RBAC", "stat_prefix": name, **config}}


def net(address: str, bits: int = 32) -> dict:
    """A range of addresses."""
    return {"address_prefix": address, "prefix_len": bits}


def to(port: int) -> dict:
    """A permission."""
    return {"destination_port": port}


HERE = net("127.0.0.9")
# Each has a listener, and port PORT plus its place here.
KINDS = {
    "deny": [rbac(rules=rules())],
    "allow": [rbac(rules=rules(action="ALLOW"))],
    "log": [rbac(rules=rules(action="LOG"))],
    "nobody": [rbac(rules={"action": "ALLOW"})],
    "anybody": [rbac(rules={"action": "DENY"})],
    "nothing": [rbac()],
    "shadow": [rbac(shadow_rules=rules())],
    "port": [rbac(rules=rules(to(PORT + 7)))],
    "other-port": [rbac(rules=rules(to(PORT + 7), action="ALLOW"))],
    "ports": [rbac(rules=rules({"destination_port_range": {"start": PORT, "end": PORT + 9}}))],
    "last-port": [rbac(rules=rules({"destination_port_range": {"start": PORT, "end": PORT + 11}}))],
    "to": [rbac(rules=rules({"destination_ip": net("127.0.0.0", 8)}))],
    "sni": [rbac(rules=rules({"requested_server_name": {"exact": ""}}))],
    "url": [rbac(rules=rules(URL))],
    "not-url": [rbac(rules=rules({"not_rule": URL}))],
    "url-of-some": [rbac(rules=rules(principal=URL, action="ALLOW"))],
    "and": [rbac(rules=rules({"and_rules": {"rules": [ANY, to(1)]}}))],
    "or": [rbac(rules=rules({"or_rules": {"rules": [to(1), ANY]}}))],
    "source": [rbac(rules=rules(principal={"source_ip": HERE}))],
    "direct": [rbac(rules=rules(principal={"direct_remote_ip": HERE}))],
    "remote": [rbac(rules=rules(principal={"remote_ip": HERE}))],
    "remote6": [rbac(rules=rules(principal={"remote_ip": net("::", 0)}))],
    "peer": [rbac(rules=rules(principal={"authenticated": {}}))],
    "ids": [rbac(rules=rules(principal={"not_id": {"or_ids": {"ids": [
        {"remote_ip": HERE}, {"and_ids": {"ids": [ANY, {"authenticated": {}}]}}]}}}))],
    "first": [rbac(rules=several("DENY", b=ANY, a=to(1), c=ANY))],
    "none": [rbac(rules=several("ALLOW", b=to(2), a=to(1)))],
    "two": [rbac("one", rules=rules(action="ALLOW")), rbac("two", rules=rules(name="a b"))],
    "one-of-two": [rbac("one", rules=rules()), rbac("two", rules=rules(action="ALLOW"))],
    "always": [rbac(rules=rules(), enforcement_type="CONTINUOUS")],
    "late": [rbac(rules=rules(), delay_deny="0.05s")],
}
PROXY = {"stat_prefix": "p", "@type": f"{NETWORK}tcp_proxy.v3.TcpProxy"}
# TCP proxies that have no endpoint, or wait.
PROXIES = {
    "no-cluster": {"cluster": "nowhere"},
    "no-endpoint": {"cluster": "empty"},
    "waits": {"cluster": "a", "upstream_connect_mode": "ON_DOWNSTREAM_DATA",
              "max_early_data_bytes": 1024},
    "waits-in-vain": {"cluster": "nowhere", "upstream_connect_mode": "ON_DOWNSTREAM_DATA",
                      "max_early_data_bytes": 1024},
}
SECURED = {"requested_server_name": {"suffix": ".a.com"}}
HOSTS = [virtual_host("v", ["*"], [route({"prefix": "/direct"}, name="direct",
                                         direct_response={"status": 204}),
                                   route({"prefix": "/"}, "a", "a")])]


def behind(filters: list[dict], chain: dict) -> dict:
    """A chain with these filters first."""
    return {**chain, "filters": filters + chain["filters"]}


def config() -> dict:
    """Two listeners for each kind of rules, one for each proxy, and one that reads server names."""
    listeners = []
    for index, (name, found) in enumerate(KINDS.items()):
        listeners.append(listener(name, [behind(found, tcp_chain(f"tcp-{name}", "a"))], PORT + index))
        listeners.append(listener(f"http-{name}", [behind(found, http_chain(f"http-{name}", HOSTS))],
                                  PORT + 100 + index))
    for index, (name, proxy) in enumerate(PROXIES.items()):
        chain = {"name": name, "filters": [rbac(rules=rules()), {
            "name": "tcp", "typed_config": {**PROXY, **proxy}}]}
        listeners.append(listener(name, [chain], PORT + 200 + index))
    secured = behind([rbac(rules=rules(SECURED))], tcp_chain("secured", "a"))
    listeners.append(listener("secured", [secured], PORT + 300,
                              listener_filters=[listener_filter("tls_inspector")]))
    return bootstrap(listeners, [cluster("a", 1), cluster("empty", [])])


def traffic() -> list[dict]:
    """Each listener from two addresses; what is no head; server names on both sides of the suffix."""
    collected = Traffic()
    sources = iter(range(20000, 40000))

    def add(port: int, address: str, path: str, **more) -> None:
        collected.destination = f"127.0.0.1:{port}"
        collected.add(path, source=f"127.0.0.{address}:{next(sources)}", **more)

    for index in range(len(KINDS)):
        for address in "89":
            for path in ("/", "/direct"):
                add(PORT + 100 + index, address, path)
            add(PORT + index, address, "/")
        add(PORT + 100 + index, "9", "/", method="BAD METHOD")
        add(PORT + 100 + index, "9", "/", authority="")
    for index in range(len(PROXIES)):
        add(PORT + 200 + index, "9", "/")
    for name in ("a.com", "b.a.com", "B.A.com", "c.b.a.com", "b.com", None):
        add(PORT + 300, "9", "/", tls=True, **({"sni": name} if name else {}))
    add(PORT + 300, "9", "/")
    return collected.requests
