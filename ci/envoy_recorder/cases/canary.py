"""A 90/10 canary, drawn at random."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, http_chain, listener, route, virtual_host)

NAME = "canary-90-10"
NOTES = ["a 90/10 canary without pinning: which cluster gets a request is random, the shares and "
         "each cluster's round robin are compared; a route for testers goes to the canary always"]


def split(name: str, weights: dict[str, int], **more) -> dict:
    """A route over weighted clusters."""
    return {"name": name, "match": {"prefix": "/"}, "route": {"weighted_clusters": {
        "clusters": [{"name": cluster_name, "weight": weight}
                     for cluster_name, weight in weights.items()], **more}}}


def config() -> dict:
    """A stable and a canary version."""
    routes = [
        route({"prefix": "/", "headers": [{"name": "x-canary", "string_match": {"exact": "always"}}]},
              "canary", "testers"),
        split("split", {"stable": 90, "canary": 10})]
    return bootstrap([listener("web", [http_chain("web", [virtual_host("shop", ["shop.test"], routes)])])],
                     [cluster("stable", 3), cluster("canary", 2, first=11)])


def traffic() -> list[dict]:
    """Enough for the shares."""
    collected = Traffic()
    for index in range(400):
        headers = [("x-canary", "always")] if index % 40 == 7 else []
        collected.add(f"/item/{index}", "shop.test", headers)
    return collected.requests
