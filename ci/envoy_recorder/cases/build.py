"""Short forms for writing configurations and traffic down."""

NETWORK = "type.googleapis.com/envoy.extensions.filters.network."
HCM = NETWORK + "http_connection_manager.v3.HttpConnectionManager"
TCP_PROXY = NETWORK + "tcp_proxy.v3.TcpProxy"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
LISTENER = "type.googleapis.com/envoy.extensions.filters.listener."
PORT = 18480
ENDPOINT_PORT = 9080


def bootstrap(listeners: list[dict], clusters: list[dict]) -> dict:
    """A static bootstrap."""
    return {"node": {"id": "twinmesh", "cluster": "twinmesh"},
            "static_resources": {"listeners": listeners, "clusters": clusters}}


def socket_address(ip: str, port: int) -> dict:
    """An Address."""
    return {"socket_address": {"address": ip, "port_value": port}}


def listener(name: str, chains: list[dict], port: int = PORT, **more) -> dict:
    """A listener on loopback."""
    return {"name": name, "address": socket_address("127.0.0.1", port), "filter_chains": chains,
            **more}


def listener_filter(kind: str) -> dict:
    """A listener filter of the extension's default configuration: tls_inspector, ProxyProtocol."""
    package, message = {"tls_inspector": ("tls_inspector", "TlsInspector"),
                        "proxy_protocol": ("proxy_protocol", "ProxyProtocol")}[kind]
    return {"name": f"envoy.filters.listener.{kind}",
            "typed_config": {"@type": f"{LISTENER}{package}.v3.{message}"}}


def http_chain(name: str, hosts: list[dict], match: dict | None = None, table: str | None = None,
               **options) -> dict:
    """A filter chain with a connection manager."""
    manager = {"@type": HCM, "stat_prefix": name, "route_config": {
        "name": table or name, "virtual_hosts": hosts, "validate_clusters": False},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
        **options}
    return chain(name, match, {"name": "envoy.filters.network.http_connection_manager",
                               "typed_config": manager})


def http_filter(name: str, kind: str, **config) -> dict:
    """An HTTP filter, its type given below envoy.extensions.filters.http."""
    return {"name": name, "typed_config": filter_config(kind, **config)}


def filter_config(kind: str, **config) -> dict:
    """A configuration of an HTTP filter, its type given below envoy.extensions.filters.http."""
    return {"@type": f"type.googleapis.com/envoy.extensions.filters.http.{kind}", **config}


def filters(*before: dict) -> list[dict]:
    """The filters of a connection manager, with the router behind them."""
    return [*before, http_filter("envoy.filters.http.router", "router.v3.Router")]


def tcp_chain(name: str, cluster: str, match: dict | None = None) -> dict:
    """A filter chain with a TCP proxy."""
    return chain(name, match, {"name": "envoy.filters.network.tcp_proxy", "typed_config": {
        "@type": TCP_PROXY, "stat_prefix": name, "cluster": cluster}})


def chain(name: str, match: dict | None, network_filter: dict) -> dict:
    """A filter chain."""
    result = {"name": name, "filters": [network_filter]}
    if match is not None:
        result["filter_chain_match"] = match
    return result


def virtual_host(name: str, domains: list[str], routes: list[dict], **more) -> dict:
    """A virtual host."""
    return {"name": name, "domains": domains, "routes": routes, **more}


def route(match: dict, cluster: str | None = None, name: str | None = None, **more) -> dict:
    """A route, to a cluster or with an action of its own."""
    result = {"match": match, **more}
    if name is not None:
        result["name"] = name
    if cluster is not None:
        result["route"] = {"cluster": cluster}
    return result


def cluster(name: str, endpoints: list[dict] | int, first: int = 1, **more) -> dict:
    """A cluster with one group of endpoints, or as many as the number says."""
    if isinstance(endpoints, int):
        endpoints = [endpoint(first + index) for index in range(endpoints)]
    return grouped(name, [{"lb_endpoints": endpoints}], **more)


def grouped(name: str, groups: list[dict], **more) -> dict:
    """A cluster with groups of endpoints (localities, priorities)."""
    return {"name": name, "type": "STATIC", "connect_timeout": "1s",
            "load_assignment": {"cluster_name": name, "endpoints": groups}, **more}


def endpoint(number: int, weight: int | None = None, health: str | None = None) -> dict:
    """An endpoint at 127.0.20.NUMBER."""
    result = {"endpoint": {"address": socket_address(f"127.0.20.{number}", ENDPOINT_PORT)}}
    if weight is not None:
        result["load_balancing_weight"] = weight
    if health is not None:
        result["health_status"] = health
    return result


class Traffic:
    """Collects requests; ids count up."""

    def __init__(self, port: int = PORT):
        self.destination = f"127.0.0.1:{port}"
        self.requests: list[dict] = []

    def add(self, path: str = "/", authority: str | None = "h.test", headers=(), **more) -> None:
        """A request; `headers` is a list of pairs."""
        request = {"id": f"r{len(self.requests):04}"}
        if "method" in more:
            request["method"] = more.pop("method")
        request |= {"authority": authority, "path": path}
        if headers:
            request["headers"] = [list(pair) for pair in headers]
        request["destination"] = self.destination
        self.requests.append(request | more)
