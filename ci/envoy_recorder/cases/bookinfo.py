"""Bookinfo with user-pinned routing: jason sees the new reviews and gets ratings aborted."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, endpoint, grouped, http_chain, listener, route, virtual_host)

NAME = "bookinfo-user-pinned"
NOTES = [
    "modelled on Istio's bookinfo sample: end-user jason goes to reviews v2, ratings are delayed "
    "or fail for him, everybody else gets v1; names as Istio gives them"]
SERVICES = {"productpage": (("v1", 2),), "details": (("v1", 1),),
            "reviews": (("v1", 2), ("v2", 3), ("v3", 2)), "ratings": (("v1", 2), ("v2", 1))}
SUFFIX = "default.svc.cluster.local"
LOCALITIES = ("a", "b")


def name(service: str, subset: str) -> str:
    """A cluster's name as Istio makes it."""
    return f"outbound|9080|{subset}|{service}.{SUFFIX}"


def hosts() -> list[dict]:
    """The virtual hosts of port 9080."""
    jason = [{"name": "end-user", "string_match": {"exact": "jason"}}]
    routes = {
        "productpage": [route({"prefix": "/"}, name("productpage", "v1"), "default")],
        "details": [route({"prefix": "/"}, name("details", "v1"), "default")],
        "reviews": [
            route({"prefix": "/", "headers": jason}, name("reviews", "v2"), "jason"),
            route({"prefix": "/", "headers": [
                {"name": "end-user", "string_match": {"prefix": "test-"}},
                {"name": "user-agent", "string_match": {"safe_regex": {"regex": ".*(Chrome|Firefox).*"}}},
            ]}, name("reviews", "v3"), "testers-browser"),
            route({"prefix": "/", "headers": [
                {"name": "cookie", "string_match": {"safe_regex": {"regex": "^(.*?;)?(user=jason)(;.*)?$"}}}]},
                name("reviews", "v2"), "jason-cookie"),
            route({"prefix": "/"}, name("reviews", "v1"), "default")],
        "ratings": [
            {"name": "abort-jason", "match": {"prefix": "/ratings", "headers": jason},
             "direct_response": {"status": 500}},
            route({"path": "/ratings/0"}, name("ratings", "v2"), "zero"),
            route({"prefix": "/ratings"}, name("ratings", "v1"))],
        "gone": [route({"prefix": "/"}, name("gone", "v9"), "default")],
    }
    result = []
    for service, listed in routes.items():
        full = f"{service}.{SUFFIX}"
        domains = [domain + port for domain in (full, service, f"{service}.default",
                                                f"{service}.default.svc")
                   for port in ("", ":9080")]
        result.append(virtual_host(f"{full}:9080", domains, listed))
    result.append(virtual_host("block_all", ["blocked.test"], [
        {"name": "block_all", "match": {"prefix": "/"}, "direct_response": {"status": 502}}]))
    return result


def bootstrap_clusters() -> list[dict]:
    """A cluster for each subset, its endpoints spread over two zones."""
    result, number = [], 1
    for service, subsets in SERVICES.items():
        for subset, count in subsets:
            groups = [{"locality": {"region": "us-central1", "zone": f"us-central1-{zone}"},
                       "lb_endpoints": []} for zone in LOCALITIES]
            for index in range(count):
                groups[index % 2]["lb_endpoints"].append(endpoint(number))
                number += 1
            result.append(grouped(name(service, subset),
                                  [group for group in groups if group["lb_endpoints"]]))
    result.append(cluster(name("empty", "v1"), []))
    return result


def config() -> dict:
    """One outbound listener."""
    table = hosts() + [virtual_host("empty", ["empty"], [
        route({"prefix": "/"}, name("empty", "v1"), "default")])]
    return bootstrap([listener("127.0.0.1_18480", [
        http_chain("127.0.0.1_18480", table, table="9080")])], bootstrap_clusters())


def traffic() -> list[dict]:
    """Each service under each of its names, with and without jason."""
    collected = Traffic()
    users = ([], [("end-user", "jason")], [("end-user", "Jason")], [("end-user", "jason ")],
             [("End-User", "jason")], [("end-user", "jasonx")], [("end-user", "")],
             [("end-user", "jason"), ("end-user", "mary")],
             [("end-user", "mary"), ("end-user", "jason")], [("end-user", "jason,mary")],
             [("user", "jason")])
    for service, path in (("reviews", "/reviews/1"), ("ratings", "/ratings/1"),
                          ("ratings", "/ratings/0"), ("productpage", "/productpage"),
                          ("details", "/details/0")):
        for headers in users:
            for authority in (service, f"{service}.{SUFFIX}:9080"):
                collected.add(path, authority, headers)
    for authority in ("reviews.default", "reviews.default.svc", "REVIEWS", "Reviews.Default:9080",
                      "reviews:80", "reviews:9081", "reviews.", "reviews.other", "xreviews",
                      "reviews.default.svc.cluster", f"reviews.{SUFFIX}.", "", "blocked.test",
                      "gone", "empty", "unknown.test"):
        collected.add("/reviews/1", authority, [("end-user", "jason")])
        collected.add("/reviews/1", authority)
    for user, agent in (("test-", "Chrome"), ("test-1", "Mozilla/5.0 Firefox/120"),
                        ("test-1", "curl"), ("test", "Chrome"), ("Test-1", "Chrome"),
                        ("test-1", "chrome")):
        collected.add("/reviews/1", "reviews", [("end-user", user), ("user-agent", agent)])
    for cookie in ("user=jason", "a=1;user=jason", "user=jason;a=1", "a=1; user=jason",
                   "a=1;user=jason;b=2", "user=jasonx", "xuser=jason", "user=Jason", ""):
        collected.add("/reviews/1", "reviews", [("cookie", cookie)])
    for path in ("/ratings", "/ratingsx", "/rating", "/Ratings/1", "/", "/ratings/0?x=1",
                 "/ratings/0/", "/ratings/00"):
        collected.add(path, "ratings")
        collected.add(path, "ratings", [("end-user", "jason")])
    for index in range(60):
        user = ("jason", "mary", "test-7")[index % 3]
        collected.add(f"/reviews/{index}", "reviews",
                      [("end-user", user), ("user-agent", "Chrome")])
    return collected.requests
