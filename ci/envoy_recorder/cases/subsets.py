"""lb_subset_config and the extension subset: which subset takes a request, and what falls back."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, endpoint, grouped, http_chain, listener, virtual_host)
from envoy_recorder.cases.hash_balancers import extension, group

NAME = "subsets"
NOTES = ["subsets of clusters: selectors, fallbacks, lists, single hosts, health, localities; every "
         "request has a hash and every cluster a ring, so every choice is exact"]
RING = {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 64}}
U, D = "UNHEALTHY", "DEGRADED"
USERS = 4


def labelled(number: int, health: str | None = None, weight: int | None = None, **labels) -> dict:
    """An endpoint with metadata for the balancer."""
    result = endpoint(number, weight, health)
    if labels:
        result["metadata"] = {"filter_metadata": {"envoy.lb": labels}}
    return result


HOSTS = [
    labelled(1, v="1", stage="prod"), labelled(2, v="1", stage="dev"),
    labelled(3, v="2", stage="prod"), labelled(4, v="2", stage="prod"),
    labelled(5, v=1, flag=True), labelled(6, stage="dev"), labelled(7),
    labelled(8, v=None, stage=["prod", "dev"]), labelled(9, v="3", stage={"a": 1}),
]
CRITERIA = [
    None, {}, {"v": "1"}, {"v": "2"}, {"v": "1", "stage": "prod"}, {"v": "2", "stage": "dev"},
    {"stage": "prod"}, {"stage": "test"}, {"v": "9"}, {"v": 1}, {"v": True}, {"v": None},
    {"v": "1", "x": "y"}, {"flag": True}, {"stage": ["prod", "dev"]}, {"stage": {"a": 1}},
    {"v": "3", "stage": {"a": 2}}, {"x": "y"},
]
TWO = [{"keys": ["v", "stage"]}, {"keys": ["v"]}]
LISTS = [
    labelled(1, v=["1", "2"], stage=["a", "b"]), labelled(2, v="2", stage=[]),
    labelled(3, v=[], stage="a"), labelled(4, v=["3", ["4"]], stage="c"), labelled(5, v=["2", "2"]),
]
LIST_CRITERIA = [
    {"v": "1"}, {"v": "2"}, {"v": "3"}, {"v": ["4"]}, {"v": ["1", "2"]}, {"v": "2", "stage": "b"},
    {"stage": "a"}, {"v": "2", "stage": "a"}, {"stage": "c", "v": "3"}, {"v": []}, {"stage": []},
]
UNWELL = [
    labelled(1, U, v="down"), labelled(2, U, v="down"),
    labelled(3, U, v="half"), labelled(4, v="half"),
    labelled(5, U, v="third"), labelled(6, U, v="third"), labelled(7, v="third"),
    labelled(8, D, v="degraded"), labelled(9, D, v="degraded"),
]
LOWER = [labelled(10, v="half"), labelled(11, v="lower"), labelled(12, v="down")]
UNWELL_CRITERIA = [{"v": name} for name in ("down", "half", "third", "degraded", "lower", "none")]


def located() -> list[dict]:
    """Localities whose endpoints differ in their labels."""
    return [
        group([labelled(1, v="1"), labelled(2, v="1"), labelled(3, v="2")], zone="a", weight=3),
        group([labelled(4, v="1"), labelled(5, v="2")], zone="b", weight=5),
        group([labelled(6, v="2")], zone="c", weight=4),
    ]


def subset(selectors: list[dict], **more) -> dict:
    """A cluster's lb_subset_config."""
    return {"lb_subset_config": {"subset_selectors": selectors, **more}}


def keys(*names: str, policy: str | None = None, **more) -> dict:
    """A selector."""
    result: dict = {"keys": list(names), **more}
    if policy is not None:
        result["fallback_policy"] = policy
    return result


DEFAULT = {"fallback_policy": "DEFAULT_SUBSET"}
ANY = {"fallback_policy": "ANY_ENDPOINT"}
RING_EXTENSION = extension("ring_hash.v3.RingHash", minimum_ring_size=64)["load_balancing_policy"]
CASES: list[tuple[str, list[dict], list, dict]] = [
    ("none", [group(HOSTS)], CRITERIA, subset(TWO)),
    ("any", [group(HOSTS)], CRITERIA, subset(TWO, **ANY)),
    ("default", [group(HOSTS)], CRITERIA, subset(TWO, **DEFAULT, default_subset={"stage": "prod"})),
    ("default-two", [group(HOSTS)], CRITERIA,
     subset(TWO, **DEFAULT, default_subset={"stage": "prod", "v": "2"})),
    ("default-all", [group(HOSTS)], CRITERIA, subset(TWO, **DEFAULT)),
    ("default-none", [group(HOSTS)], CRITERIA, subset(TWO, **DEFAULT, default_subset={"v": "9"})),
    ("panic-any", [group(HOSTS)], CRITERIA,
     subset(TWO, **DEFAULT, default_subset={"v": "9"}, panic_mode_any=True)),
    ("panic-any-alone", [group(HOSTS)], CRITERIA[:5], subset(TWO, panic_mode_any=True)),
    ("selectors", [group(HOSTS)], CRITERIA, subset(
        [keys("v", "stage", policy="KEYS_SUBSET", fallback_keys_subset=["v"]),
         keys("v", policy="NO_FALLBACK"), keys("stage", policy="DEFAULT_SUBSET"),
         keys("flag", policy="ANY_ENDPOINT"), keys("x")], default_subset={"stage": "dev"}, **ANY)),
    ("prefix-first", [group(HOSTS)], CRITERIA, subset(
        [keys("stage", "v"), keys("stage", policy="ANY_ENDPOINT"), keys("x", policy="ANY_ENDPOINT")])),
    ("prefix-last", [group(HOSTS)], CRITERIA, subset(
        [keys("stage", policy="ANY_ENDPOINT"), keys("stage", "v"), keys("x", "y")])),
    ("twice", [group(HOSTS)], CRITERIA, subset(
        [keys("v", policy="ANY_ENDPOINT"), keys("v", policy="NO_FALLBACK")])),
    ("no-keys", [group(HOSTS)], CRITERIA[:6], subset([keys(), keys("v")], **ANY)),
    ("keyless", [group(HOSTS)], CRITERIA[:6], subset([keys()])),
    ("keys-keys", [group(HOSTS)], CRITERIA, subset(
        [keys("v", "stage", policy="KEYS_SUBSET", fallback_keys_subset=["stage"]),
         keys("stage", policy="ANY_ENDPOINT")])),
    ("keys-elsewhere", [group(HOSTS)], CRITERIA, subset(
        [keys("v", "stage", policy="KEYS_SUBSET", fallback_keys_subset=["stage"])],
        **DEFAULT, default_subset={"v": "2"})),
    ("lists", [group(LISTS)], LIST_CRITERIA, subset(TWO + [keys("stage")], list_as_any=True)),
    ("lists-default", [group(LISTS)], LIST_CRITERIA[:6], subset(
        [keys("x")], list_as_any=True, **DEFAULT, default_subset={"v": "2"})),
    ("no-lists", [group(LISTS)], LIST_CRITERIA, subset(TWO + [keys("stage")])),
    ("no-lists-default", [group(LISTS)], LIST_CRITERIA[:6], subset(
        [keys("x")], **DEFAULT, default_subset={"v": "2"})),
    ("single", [group(HOSTS), group([labelled(20, v="2"), labelled(21, v="low")], 1)], CRITERIA
     + [{"v": "low"}], subset([keys("v", single_host_per_subset=True)], **ANY)),
    ("single-unwell", [group(UNWELL), group(LOWER, 1)], UNWELL_CRITERIA,
     subset([keys("v", single_host_per_subset=True)])),
    ("unwell", [group(UNWELL), group(LOWER, 1)], UNWELL_CRITERIA, subset([keys("v")], **ANY)),
    ("unwell-calm", [group(UNWELL), group(LOWER[:2], 1)], UNWELL_CRITERIA,
     subset([keys("v")], **ANY) | {"common_lb_config": {"healthy_panic_threshold": {"value": 0}}}),
    ("located", located(), [{"v": "1"}, {"v": "2"}, {"v": "3"}], subset([keys("v")], **ANY)
     | {"common_lb_config": {"locality_weighted_lb_config": {}}}),
    ("located-aware", located(), [{"v": "1"}, {"v": "2"}, {"v": "3"}],
     subset([keys("v")], **ANY, locality_weight_aware=True)
     | {"common_lb_config": {"locality_weighted_lb_config": {}}}),
    ("located-scaled", located(), [{"v": "1"}, {"v": "2"}, {"v": "3"}],
     subset([keys("v")], **ANY, locality_weight_aware=True, scale_locality_weight=True)
     | {"common_lb_config": {"locality_weighted_lb_config": {}}}),
    ("fallback-list", [group(HOSTS)], [
        {"fallback_list": [{"v": "1"}, {"v": "2"}]}, {"v": "1", "fallback_list": []},
        {"v": "9", "fallback_list": [{"v": "8"}, {"v": "2"}]},
        {"v": "9", "fallback_list": [{"v": "8"}]}, {"v": "2", "fallback_list": [{}]},
        {"v": "9", "fallback_list": [{}, {"v": "1"}]}, {"v": "1", "fallback_list": [{"stage": "dev"}]},
        {"x": "y", "fallback_list": [{"v": "1"}]}, {"v": "1", "fallback_list": "no list"},
        {"v": "9", "fallback_list": [1, {"v": "2"}]}, {"v": "3"},
     ], subset(TWO, metadata_fallback_policy="FALLBACK_LIST")),
    ("fallback-list-off", [group(HOSTS)], [{"v": "1", "fallback_list": [{"v": "2"}]}],
     subset(TWO, **ANY)),
    ("fallback-list-any", [group(HOSTS)], [
        {"v": "9", "fallback_list": [{"v": "8"}, {"v": "2"}]}, {"fallback_list": []}],
     subset(TWO, **ANY, metadata_fallback_policy="FALLBACK_LIST")),
]


def extensions() -> list[tuple[str, list[dict], list, dict]]:
    """The same by extension."""
    def balancer(child=RING_EXTENSION, **config) -> dict:
        return extension("subset.v3.Subset", subset_lb_policy=child, **config)
    located_ring = extension("ring_hash.v3.RingHash", minimum_ring_size=64,
                             locality_weighted_lb_config={})["load_balancing_policy"]
    return [
        ("ext", [group(HOSTS)], CRITERIA, balancer(subset_selectors=TWO, fallback_policy="ANY_ENDPOINT")),
        ("ext-redundant", [group(HOSTS)], CRITERIA + [{"v": "1", "stage": "dev", "x": "y"}],
         balancer(subset_selectors=[keys("x"), keys("v", policy="ANY_ENDPOINT"), keys("stage", "v")],
                  allow_redundant_keys=True)),
        ("ext-selectors", [group(HOSTS)], CRITERIA, balancer(subset_selectors=[
            keys("v", "stage", policy="KEYS_SUBSET", fallback_keys_subset=["v"]),
            keys("v", policy="DEFAULT_SUBSET")], default_subset={"stage": "dev"})),
        ("ext-single", [group(HOSTS)], CRITERIA[:6],
         balancer(subset_selectors=[keys("v", single_host_per_subset=True)])),
        ("ext-located", located(), [{"v": "1"}, {"v": "2"}, {"v": "3"}],
         balancer(located_ring, subset_selectors=[keys("v")], fallback_policy="ANY_ENDPOINT",
                  locality_weight_aware=True, scale_locality_weight=True)),
    ]


def all_cases() -> list[tuple[str, list[dict], list, dict]]:
    """Every cluster with what its routes ask for."""
    return [(name, groups, criteria, RING | more) for name, groups, criteria, more in CASES
            ] + extensions()


def metadata_match(criteria: dict | None) -> dict:
    """A route's."""
    return {} if criteria is None else {
        "metadata_match": {"filter_metadata": {"envoy.lb": criteria, "other": {"v": "2"}}}}


# Of a route and of its weighted cluster's entry: the entry's go over the route's.
MERGED = [
    ({"v": "1"}, {"stage": "prod"}), ({"v": "1"}, {"v": "2"}), (None, {"v": "2"}), ({"v": "2"}, None),
    ({"v": "1"}, {}), ({"v": "1", "stage": "dev"}, {"stage": "prod"}), (None, None),
]


def merged() -> dict:
    """A virtual host whose routes and weighted clusters both ask for a subset."""
    routes = []
    for index, (outer, inner) in enumerate(MERGED):
        entry = {"name": "none", "weight": 1, **metadata_match(inner)}
        routes.append({"match": {"path": f"/{index}"}, "route": {
            "weighted_clusters": {"clusters": [entry]}, "hash_policy": POLICY,
            **metadata_match(outer)}})
    return virtual_host("merged", ["merged.test"], routes)


POLICY = [{"header": {"header_name": "x-user"}}]


def config() -> dict:
    """A virtual host for each cluster, a route for each of its criteria."""
    hosts = [virtual_host(name, [f"{name}.test"], [
        {"match": {"path": f"/{index}"}, "route": {
            "cluster": name, "hash_policy": POLICY, **metadata_match(each)}}
        for index, each in enumerate(criteria)])
        for name, _, criteria, _ in all_cases()]
    header = virtual_host("header", ["header.test"], [{"match": {"prefix": "/"}, "route": {
        "cluster_header": "x-cluster", "hash_policy": POLICY, **metadata_match({"v": "2"})}}])
    return bootstrap([listener("web", [http_chain("web", hosts + [merged(), header])])],
                     [grouped(name, groups, **more) for name, groups, _, more in all_cases()])


def traffic() -> list[dict]:
    """The same hashes for each."""
    collected = Traffic()
    for name, _, criteria, _ in all_cases():
        for index in range(len(criteria)):
            for user in range(USERS):
                collected.add(f"/{index}", f"{name}.test", [("x-user", f"u{user}")])
    for index in range(len(MERGED)):
        for user in range(USERS):
            collected.add(f"/{index}", "merged.test", [("x-user", f"u{user}")])
    for name in ("none", "default", "nothing"):
        for user in range(USERS):
            collected.add("/", "header.test", [("x-cluster", name), ("x-user", f"u{user}")])
    return collected.requests
