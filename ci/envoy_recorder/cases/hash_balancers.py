"""RING_HASH and MAGLEV: sizes, weights, keys, priorities, panic."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, endpoint, grouped, http_chain, listener, virtual_host)

NAME = "hash-balancers"
NOTES = ["rings and Maglev tables over weights, localities, host names, keys of the metadata, "
         "health, priorities and panic; every request has a hash, so every choice is exact"]
RING, TABLE = {"lb_policy": "RING_HASH"}, {"lb_policy": "MAGLEV"}
SMALL = TABLE | {"maglev_lb_config": {"table_size": 251}}
U, D = "UNHEALTHY", "DEGRADED"
POLICIES = "type.googleapis.com/envoy.extensions.load_balancing_policies."
HOSTNAMES = {"consistent_hashing_lb_config": {"use_hostname_for_hashing": True}}
BY_LOCALITY = {"locality_weighted_lb_config": {}}


def extension(kind: str, **config) -> dict:
    """A balancer by load_balancing_policy."""
    return {"load_balancing_policy": {"policies": [{"typed_extension_config": {
        "name": kind, "typed_config": {"@type": POLICIES + kind, **config}}}]}}


def group(endpoints: list[dict], priority: int = 0, zone: str = "", weight: int | None = None) -> dict:
    """A locality."""
    result: dict = {"lb_endpoints": endpoints}
    if priority:
        result["priority"] = priority
    if zone:
        result["locality"] = {"region": "r", "zone": zone}
    if weight is not None:
        result["load_balancing_weight"] = weight
    return result


def plain(count: int, first: int = 1, health: dict | None = None) -> list[dict]:
    """Endpoints without weights."""
    return [endpoint(first + index, None, (health or {}).get(index)) for index in range(count)]


def weighted(*weights: int) -> list[dict]:
    """Endpoints with weights."""
    return [endpoint(index + 1, weight) for index, weight in enumerate(weights)]


def named(endpoints: list[dict], key: bool = False) -> list[dict]:
    """The endpoints with host names, or with keys in their metadata."""
    for index, each in enumerate(endpoints):
        if key:
            each["metadata"] = {"filter_metadata": {"envoy.lb": {"hash_key": f"key-{index}"}}}
        else:
            each["endpoint"]["hostname"] = f"host-{index}.test"
    return endpoints


def ring(**sizes) -> dict:
    """A ring of these sizes."""
    return RING | {"ring_hash_lb_config": sizes}


def clusters() -> list[dict]:
    """A cluster for each case, alike for both balancers where it concerns both."""
    result = []
    for kind, policy in (("ring", RING), ("table", SMALL)):
        result += [
            grouped(f"{kind}-plain", [group(plain(7))], **policy),
            grouped(f"{kind}-one", [group(plain(1))], **policy),
            grouped(f"{kind}-weights", [group(weighted(1, 2, 5, 1))], **policy),
            grouped(f"{kind}-far-weights", [group(weighted(1, 300, 7))], **policy),
            grouped(f"{kind}-keys", [group(named(plain(5), key=True))], **policy),
            grouped(f"{kind}-unhealthy", [group(plain(5, health={1: U, 3: D}))], **policy),
            grouped(f"{kind}-panic", [group(plain(5, health={0: U, 1: U, 2: U}))], **policy),
            grouped(f"{kind}-spill", [group(plain(4, health={0: U, 1: U})),
                                      group(plain(5, first=10), 1)], **policy),
            grouped(f"{kind}-degraded", [group(plain(4, health={0: D, 1: D, 2: U})),
                                         group(plain(3, first=10), 1)], **policy),
            grouped(f"{kind}-only-degraded", [group(plain(2, health={0: D, 1: D}))], **policy),
            grouped(f"{kind}-localities", [
                group(plain(2), zone="b", weight=3), group(plain(3, first=5), zone="a", weight=1),
                group(plain(2, first=10), zone="c"), group(plain(1, first=14), 1, "a", 1)],
                **policy, common_lb_config=BY_LOCALITY),
            grouped(f"{kind}-no-locality-weights", [group(plain(2), zone="b")],
                    **policy, common_lb_config=BY_LOCALITY),
            grouped(f"{kind}-unweighted-localities", [
                group(plain(2), zone="b", weight=3), group(plain(3, first=5), zone="a", weight=1)],
                **policy),
        ]
    result += [
        grouped("ring-small", [group(plain(4))], **ring(minimum_ring_size=4, maximum_ring_size=8)),
        grouped("ring-tiny", [group(plain(5))], **ring(minimum_ring_size=1, maximum_ring_size=3)),
        grouped("ring-cut", [group(weighted(3, 2, 7))],
                **ring(minimum_ring_size=50, maximum_ring_size=51)),
        grouped("ring-none", [group(plain(3))], **ring(minimum_ring_size=0)),
        grouped("ring-murmur", [group(weighted(1, 2, 1, 1))],
                **ring(minimum_ring_size=64, hash_function="MURMUR_HASH_2")),
        grouped("table-large", [group(weighted(1, 2, 3))], **TABLE),
        grouped("table-two", [group(plain(3))], **TABLE, maglev_lb_config={"table_size": 2}),
        grouped("ring-extension", [group(named(weighted(1, 2, 3)))],
                **extension("ring_hash.v3.RingHash", minimum_ring_size=100, **HOSTNAMES)),
        grouped("ring-extension-old", [group(named(weighted(1, 2, 3)))],
                **extension("ring_hash.v3.RingHash", hash_function="MURMUR_HASH_2",
                            use_hostname_for_hashing=True)),
        grouped("table-extension", [
            group(plain(2), zone="b", weight=3), group(plain(3, first=5), zone="a", weight=1)],
            **extension("maglev.v3.Maglev", table_size=503, **BY_LOCALITY)),
    ]
    return result


def config() -> dict:
    """A virtual host for each cluster."""
    policy = [{"header": {"header_name": "x-user"}}]
    hosts = [virtual_host(each["name"], [f"{each['name']}.test"], [
        {"match": {"prefix": "/"}, "route": {"cluster": each["name"], "hash_policy": policy}}])
        for each in clusters()]
    return bootstrap([listener("web", [http_chain("web", hosts)])], clusters())


def traffic() -> list[dict]:
    """The same hashes for each cluster."""
    collected = Traffic()
    for each in clusters():
        for index in range(24):
            collected.add("/", f"{each['name']}.test", [("x-user", f"u{index}")])
    return collected.requests
