"""Clusters that a header names."""

from envoy_recorder.cases.build import Traffic, bootstrap, cluster, http_chain, listener, virtual_host

NAME = "cluster-header"
NOTES = ["cluster_header of routes and of weighted clusters: the first value of the header, pseudo "
         "headers, and names that no cluster has; header_name pins the weighted choice"]


def by(header: str, path: str, **more) -> dict:
    """A route by a header."""
    return {"match": {"prefix": path}, "name": path.strip("/"),
            "route": {"cluster_header": header, **more}}


def config() -> dict:
    """One virtual host with a route for each header."""
    weighted = {"clusters": [{"cluster_header": "x-cluster", "weight": 60},
                             {"name": "b", "weight": 30},
                             {"cluster_header": "X-Other", "weight": 10}], "header_name": "x-random"}
    routes = [by("x-cluster", "/plain"), by("X-Cluster", "/case"),
              by("x-cluster", "/404", cluster_not_found_response_code="NOT_FOUND"),
              by(":authority", "/authority"), by("host", "/host"), by(":path", "/path"),
              by(":method", "/method"),
              {"match": {"prefix": "/weighted"}, "name": "weighted",
               "route": {"weighted_clusters": weighted}}]
    clusters = [cluster(name, 1, first=index + 1) for index, name in enumerate(
        ("a", "b", "A", "GET", "/path", "a,b", "outbound|80||a.test", "h.test"))]
    return bootstrap([listener("web", [http_chain("web", [virtual_host("all", ["*"], routes)])])],
                     clusters)


def traffic() -> list[dict]:
    """Names that there are, and that there are not."""
    collected = Traffic()
    values = [["a"], ["b"], ["A"], [" a "], ["a", "b"], ["b", "a"], ["a,b"], ["none"], ["ab"], [""],
              ["", "a"], ["outbound|80||a.test"], []]
    for path in ("/plain", "/case", "/404"):
        for lines in values:
            collected.add(path, headers=[("x-cluster", line) for line in lines])
    for path in ("/authority", "/host", "/path", "/path?q", "/method"):
        for host in ("a", "b", "none", "a:80", "h.test", "A"):
            collected.add(path, host)
            collected.add(path, host, method="POST")
    for value in (0, 59, 60, 89, 90, 99):
        for lines in (["a"], ["none"], []):
            headers = [("x-random", str(value)), *(("x-cluster", line) for line in lines)]
            collected.add("/weighted", headers=headers, random=value)
            collected.add("/weighted", headers=[*headers, ("x-other", "b")], random=value)
    return collected.requests
