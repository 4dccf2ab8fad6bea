"""Look-ups in a bootstrap: which listener an address reaches, what is known of an endpoint."""

from envoy_recorder import RecorderError
from envoy_recorder.instrument import chains, routes

PROXY_PROTOCOL = ("type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3."
                  "ProxyProtocol")


class Topology:
    """What the recorder must know of a configuration."""

    def __init__(self, bootstrap: dict):
        resources = bootstrap["static_resources"]
        self.listeners = {listener["name"]: listener for listener in resources["listeners"]}
        self.clusters = {cluster["name"]: cluster for cluster in resources.get("clusters", [])}
        self.endpoints = {name: endpoints(cluster) for name, cluster in self.clusters.items()}
        self.routes = {}
        self.hosts = {}
        self.tables = {}
        for listener in resources["listeners"]:
            for chain in chains(listener):
                for network_filter in chain["filters"]:
                    table = network_filter.get("typed_config", {}).get("route_config")
                    if table is not None:
                        self._routes(table)

    def levels(self, known: dict) -> dict | None:
        """The route that a decision names, its virtual host and its route configuration."""
        table, host = known.get("route_config") or "", known.get("virtual_host")
        route = self.routes.get((table, host, known.get("route")))
        if route is None:
            return None
        return {"route": route, "host": self.hosts[table, host], "table": self.tables[table]}

    def _routes(self, table: dict) -> None:
        self.tables[table.get("name", "")] = table
        for host in table.get("virtual_hosts", []):
            self.hosts[table.get("name", ""), host["name"]] = host
            for index, route in enumerate(routes(host)):
                key = (table.get("name", ""), host["name"], route.get("name") or f"#{index}")
                if self.routes.setdefault(key, route) != route:
                    raise RecorderError(f"two different routes are called {key}")

    def addresses(self) -> list[tuple[str, int]]:
        """Every endpoint's address, each once."""
        found = {split(address) for places in self.endpoints.values() for address in places}
        for ip, port in found:
            if not ip.startswith("127."):
                raise RecorderError(f"endpoint {ip}:{port} is not on loopback")
        return sorted(found)

    def target(self, request: dict) -> tuple[tuple[str, int], bool]:
        """Where to connect for a request, and whether its addresses go in a PROXY header."""
        name = request.get("listener")
        if name is None:
            return split(request["destination"]), False
        listener = self.listeners.get(name)
        if listener is None:
            raise RecorderError(f"request {request['id']}: no listener {name!r}")
        address = listener["address"]["socket_address"]
        filters = [entry["typed_config"]["@type"] for entry in listener.get("listener_filters", [])]
        return (address["address"], address["port_value"]), PROXY_PROTOCOL in filters


def endpoints(cluster: dict) -> dict[str, tuple[int, str | None]]:
    """Priority and locality of each endpoint of a cluster, by address."""
    places: dict[str, tuple[int, str | None]] = {}
    for group in cluster.get("load_assignment", {}).get("endpoints", []):
        locality = group.get("locality")
        name = None
        if locality:
            name = "/".join(locality.get(key, "") for key in ("region", "zone", "sub_zone"))
        for endpoint in group.get("lb_endpoints", []):
            address = endpoint["endpoint"]["address"]["socket_address"]
            key = f"{address['address']}:{address['port_value']}"
            if key in places:
                raise RecorderError(f"cluster {cluster['name']}: endpoint {key} is there twice")
            places[key] = (group.get("priority", 0), name)
    return places


def split(address: str) -> tuple[str, int]:
    """`ip:port` as the socket functions want it."""
    ip, _, port = address.rpartition(":")
    return ip.strip("[]"), int(port)
