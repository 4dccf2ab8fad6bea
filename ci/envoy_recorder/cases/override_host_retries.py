"""The balancer override_host and retries: each attempt takes the next endpoint that is named."""

from envoy_recorder.cases.attempts import retries
from envoy_recorder.cases.build import (
    Traffic, bootstrap, grouped, http_chain, listener, route, virtual_host)
from envoy_recorder.cases.hash_balancers import group, plain
from envoy_recorder.cases.override_host import HOST, override, typed

NAME = "override-host-retries"
NOTES = ["every attempt fails, so that a decision has the endpoint of the last one: known and unknown "
         "endpoints in the header, the same one again, and predicates that would pass over it"]
PREDICATE = {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}
ACTIONS = {
    "/none": {},
    "/one": retries("5xx") | {},
    "/two": retries("5xx"),
    "/passes-over": retries("5xx", retry_host_predicate=[PREDICATE], host_selection_retry_max_attempts=9),
}
ACTIONS["/one"]["retry_policy"]["num_retries"] = 1


def config() -> dict:
    """A route for each number of retries, before round robin and before a ring."""
    clusters = [
        grouped("turns", [group(plain(4))], **override(typed("round_robin.v3.RoundRobin"))),
        grouped("ring", [group(plain(4))], **override(typed("ring_hash.v3.RingHash"))),
        grouped("alone", [group(plain(1))], **override(typed("round_robin.v3.RoundRobin")))]
    hosts = []
    for each in clusters:
        routes = []
        for path, action in ACTIONS.items():
            routes.append(route({"path": path}, each["name"]))
            routes[-1]["route"] |= action | {"hash_policy": [{"header": {"header_name": "x-user"}}]}
        hosts.append(virtual_host(each["name"], [f"{each['name']}.test"], routes))
    return bootstrap([listener("web", [http_chain("web", hosts)])], clusters)


def endpoints() -> str:
    """The script."""
    return '[[endpoint]]\naddress = "*"\n\n[[endpoint.rule]]\nanswers = [{ status = 503 }]\n'


def traffic() -> list[dict]:
    """Enough names for all attempts, but before the ring and where there is one endpoint."""
    collected = Traffic()
    one, two, three = (HOST.format(number) for number in (1, 2, 3))
    unknown = HOST.format(77)
    for line in (f"{one},{two},{three}", f"{three},{unknown},{two},{one}", f"{two},{two},{two}",
                 f"{unknown},{three},,{three},{unknown},{one},{two}", f"{one}", f"{unknown}", ""):
        for path in ACTIONS:
            for name in ("turns", "ring", "alone"):
                few = len([part for part in line.split(",") if part and part != unknown]) < 3
                if name == "turns" and few or name == "ring" and few and path == "/passes-over":
                    continue
                collected.add(path, f"{name}.test", [("x-host", line), ("x-user", "u")])
    for index, request in enumerate(collected.requests):
        request["time_us"] = index * 60_000_000
        request["source"] = f"127.1.0.{index % 250 + 1}:{20000 + index}"
    return collected.requests
