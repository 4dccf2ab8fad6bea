"""tcp_proxy: weighted clusters, and the subsets that it and they ask for."""

from envoy_recorder.cases.build import (
    NETWORK, PORT, TCP_PROXY, Traffic, bootstrap, chain, cluster, grouped, listener)
from envoy_recorder.cases.hash_balancers import group
from envoy_recorder.cases.subsets import keys, labelled, metadata_match, subset

NAME = "tcp-weighted-clusters"
NOTES = ["which cluster takes a connection is drawn; the subset of it is exact. TCP proxies do not "
         "look at drop_overloads"]
# What the proxy asks for, and each of its clusters: name, weight, what it asks for.
PROXIES: list[tuple[dict | None, list[tuple[str, int, dict | None]]]] = [
    (None, [("a", 3, None), ("b", 1, None)]),
    (None, [("a", 1, None)]),
    (None, [("subsets", 1, None)]),
    ({"v": "1"}, [("subsets", 1, None)]),
    ({"v": "1"}, [("subsets", 1, {"v": "2"})]),
    ({"v": "1"}, [("subsets", 1, {"stage": "dev"})]),
    (None, [("subsets", 1, {"v": "3"})]),
    ({"v": "9"}, [("subsets", 1, {})]),
    ({"v": "2"}, [("subsets", 1, {"stage": "test"}), ("subsets", 2, {"stage": "prod"})]),
    (None, [("dropped", 1, None)]),
]
# The same of proxies to one cluster.
PLAIN = [("subsets", {"v": "1"}), ("subsets", {"v": "2", "stage": "prod"}), ("subsets", None),
         ("a", {"v": "1"})]


def clusters() -> list[dict]:
    """Each subset has one endpoint."""
    parts = [group([labelled(1, v="1"), labelled(2, v="2", stage="prod"),
                    labelled(3, v="1", stage="dev"), labelled(4, v="2", stage="test")])]
    single = keys("v", single_host_per_subset=True)
    dropped = cluster("dropped", 1, first=30)
    dropped["load_assignment"]["policy"] = {
        "drop_overloads": [{"category": "c", "drop_percentage": {"numerator": 100}}]}
    return [cluster("a", 1, first=10), cluster("b", 1, first=20), dropped,
            grouped("subsets", parts, **subset([keys("v", "stage"), single]))]


def proxy(name: str, **specifier) -> list[dict]:
    """A filter chain with a TCP proxy."""
    return [chain(name, None, {"name": NETWORK + "tcp_proxy", "typed_config": {
        "@type": TCP_PROXY, "stat_prefix": name, **specifier}})]


def config() -> dict:
    """A listener for each proxy."""
    listeners = []
    for index, (asked, entries) in enumerate(PROXIES):
        weighted = [{"name": name, "weight": weight, **metadata_match(own)}
                    for name, weight, own in entries]
        specifier = {"weighted_clusters": {"clusters": weighted}, **metadata_match(asked)}
        listeners.append(listener(f"weighted-{index}", proxy(f"weighted-{index}", **specifier),
                                  PORT + index))
    for index, (name, asked) in enumerate(PLAIN):
        specifier = {"cluster": name, **metadata_match(asked)}
        listeners.append(listener(f"plain-{index}", proxy(f"plain-{index}", **specifier),
                                  PORT + 100 + index))
    return bootstrap(listeners, clusters())


def traffic() -> list[dict]:
    """Many of what is drawn, some of the others."""
    collected = Traffic()
    ports = [(PORT + index, 60 if len(entries) > 1 else 3)
             for index, (_, entries) in enumerate(PROXIES)]
    ports += [(PORT + 100 + index, 3) for index in range(len(PLAIN))]
    for port, count in ports:
        for _ in range(count):
            collected.add("/", "h.test", destination=f"127.0.0.1:{port}")
    return collected.requests
