"""Routes that take a share of the requests."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, http_chain, listener, route, virtual_host)

NAME = "runtime-fraction"
NOTES = ["runtime_fraction strictly between 0 and 100 %, of each denominator, and at both ends; one "
         "random number decides over the fraction and over the weighted clusters, so that behind "
         "a fraction of 30 in 100 the first 30 of the weights have all requests"]
# Numerator, denominator.
SHARES = {"hundred": (30, "HUNDRED"), "ten-thousand": (5000, "TEN_THOUSAND"),
          "million": (80000, "MILLION")}


def fraction(numerator: int, denominator: str) -> dict:
    """A match of all paths with a fraction."""
    return {"prefix": "/", "runtime_fraction": {"default_value": {
        "numerator": numerator, "denominator": denominator}}}


def config() -> dict:
    """A virtual host for each fraction."""
    hosts = [virtual_host(name, [f"{name}.test"], [
        route(fraction(*share), "taken"), route({"prefix": "/"}, "left")])
        for name, share in SHARES.items()]
    hosts.append(virtual_host("ends", ["ends.test"], [
        route(fraction(0, "HUNDRED"), "never"), route(fraction(10001, "TEN_THOUSAND"), "taken"),
        route({"prefix": "/"}, "left")]))
    split = {"weighted_clusters": {"clusters": [
        {"name": "first", "weight": 30}, {"name": "never", "weight": 70}]}}
    hosts.append(virtual_host("shared", ["shared.test"], [
        {"match": fraction(30, "HUNDRED"), "route": split}, route({"prefix": "/"}, "left")]))
    clusters = [cluster(name, 1, first=index + 1)
                for index, name in enumerate(("taken", "left", "never", "first"))]
    return bootstrap([listener("web", [http_chain("web", hosts)])], clusters)


def traffic() -> list[dict]:
    """Enough of each for a share."""
    collected = Traffic()
    for index in range(60):
        for name in (*SHARES, "shared"):
            collected.add(f"/{index}", f"{name}.test")
    for index in range(5):
        collected.add(f"/{index}", "ends.test")
    return collected.requests
