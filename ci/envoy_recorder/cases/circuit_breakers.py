"""Circuit breakers with thresholds of 0, by routing priority."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, http_chain, listener, route, virtual_host)

NAME = "circuit-breakers"
NOTES = ["thresholds of 0, which let no request through: of requests, of those that wait, of both; for "
         "each routing priority"]
THRESHOLDS = {
    "requests": [{"max_requests": 0}],
    "pending": [{"max_pending_requests": 0}],
    "both": [{"max_requests": 0, "max_pending_requests": 0}],
    "high": [{"priority": "HIGH", "max_requests": 0}],
    "each": [{"max_pending_requests": 0}, {"priority": "HIGH", "max_requests": 0}],
    "twice": [{"max_requests": 0}, {"max_requests": 5}],
    "connections": [{"max_connections": 0}],
    "retries": [{"max_retries": 0}],
}


def config() -> dict:
    """A cluster for each list of thresholds, and a route of each priority to it."""
    routes = []
    for name in THRESHOLDS:
        routes.append({"match": {"prefix": f"/{name}/high"}, "name": f"{name}-high",
                       "route": {"cluster": name, "priority": "HIGH"}})
        routes.append(route({"prefix": f"/{name}"}, name, name))
    clusters = [cluster(name, 1, first=1 + index, circuit_breakers={"thresholds": thresholds})
                for index, (name, thresholds) in enumerate(THRESHOLDS.items())]
    return bootstrap([listener("web", [http_chain("web", [virtual_host("all", ["*"], routes)])])],
                     clusters)


def traffic() -> list[dict]:
    """Each route several times, in turns."""
    collected = Traffic()
    for name in THRESHOLDS:
        for _ in range(4):
            collected.add(f"/{name}/a", "h.test")
            collected.add(f"/{name}/high", "h.test")
        collected.add(f"/{name}/a", "h.test", [("content-type", "application/grpc")])
    return collected.requests
