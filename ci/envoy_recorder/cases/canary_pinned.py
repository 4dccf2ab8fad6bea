"""Canaries whose random number is a request header, so that each choice is exact."""

from envoy_recorder.cases.build import Traffic, bootstrap, cluster, http_chain, listener, virtual_host
from envoy_recorder.cases.canary import split

NAME = "canary-90-10-pinned"
NOTES = ["header_name pins the split: the number in x-random is the random value, and `random` "
         "says the same; totals of 100, 1000, 7, 1 and 2^32-1, zero weights, three clusters"]
SPLITS = {
    "canary": {"stable": 90, "canary": 10},
    "thousand": {"stable": 999, "canary": 1},
    "three": {"stable": 3, "canary": 0, "third": 4},
    "first-zero": {"canary": 0, "stable": 1},
    "largest": {"stable": 2147483648, "canary": 2147483647},
}


def config() -> dict:
    """A virtual host for each split."""
    hosts = [virtual_host(name, [f"{name}.test"], [split(name, weights, header_name="x-random")])
             for name, weights in SPLITS.items()]
    return bootstrap([listener("web", [http_chain("web", hosts)])],
                     [cluster("stable", 1, first=1), cluster("canary", 1, first=2),
                      cluster("third", 1, first=3)])


def traffic() -> list[dict]:
    """Each interval's ends, and every value of the 90/10 split."""
    collected = Traffic()

    def pinned(name: str, value: int, text: str | None = None) -> None:
        collected.add("/", f"{name}.test", [("x-random", text or str(value))], random=value)

    for value in range(100):
        pinned("canary", value)
    for name, weights in SPLITS.items():
        total = sum(weights.values())
        edges, sum_so_far = {0, 1, total - 1, total, total + 1, 2 * total - 1, 2 ** 63,
                             2 ** 64 - 1, 2 ** 32, 2 ** 32 - 1}, 0
        for weight in weights.values():
            sum_so_far += weight
            edges |= {max(sum_so_far - 1, 0), sum_so_far, sum_so_far + total,
                      sum_so_far + 12345 * total, sum_so_far + 12345 * total - 1}
        for value in sorted(edges):
            pinned(name, value)
    for text, value in (("+95", 95), ("095", 95), ("0000000000000000000000095", 95), (" 95", 95),
                        ("95 ", 95), ("\t95", 95), ("+0", 0), ("00", 0), ("+089", 89), ("090", 90)):
        pinned("canary", value, text)
    return collected.requests
