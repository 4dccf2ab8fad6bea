"""Least request with sequential requests, weighted and not."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, endpoint, http_chain, listener, route, virtual_host)

NAME = "least-request"
NOTES = ["least request while nothing is active: without weights endpoints are drawn at random, "
         "with weights the earliest deadline first scheduler decides, as for round robin"]
LEAST = {"lb_policy": "LEAST_REQUEST"}
WEIGHTS = {"weighted": [3, 1], "weighted-three": [5, 2, 1], "weighted-bias": [4, 1]}


def config() -> dict:
    """One cluster for each kind."""
    clusters = [
        cluster("unweighted", 3, **LEAST),
        cluster("choices", 4, **LEAST, least_request_lb_config={"choice_count": 4}),
        cluster("single", 1, **LEAST),
        cluster("same-weight", [endpoint(index, 6) for index in (1, 2)], **LEAST)]
    for name, weights in WEIGHTS.items():
        more = dict(LEAST)
        if name == "weighted-bias":
            more["least_request_lb_config"] = {"active_request_bias": {
                "default_value": 2.5, "runtime_key": "bias"}}
        clusters.append(cluster(name, [endpoint(index + 1, weight)
                                       for index, weight in enumerate(weights)], **more))
    hosts = [virtual_host(each["name"], [f"{each['name']}.test"],
                          [route({"prefix": "/"}, each["name"])]) for each in clusters]
    return bootstrap([listener("web", [http_chain("web", hosts)])], clusters)


def traffic() -> list[dict]:
    """Enough of each for a period or a share."""
    collected = Traffic()
    for index in range(60):
        for name in ("unweighted", "choices", "same-weight"):
            collected.add(f"/{index}", f"{name}.test")
        if index < 3:
            collected.add(f"/{index}", "single.test")
    for name, weights in WEIGHTS.items():
        for index in range(3 * sum(weights)):
            collected.add(f"/{index}", f"{name}.test")
    return collected.requests
