"""Records a case: the genuine dump, then the decisions of two fresh processes."""

import time
from pathlib import Path

from envoy_recorder import RecorderError, client, dump as dumps, headers, instrument
from envoy_recorder.backend import Backend
from envoy_recorder.decide import decision
from envoy_recorder.scripted import Scripted
from envoy_recorder.server import Envoy
from envoy_recorder.topology import Topology

RUNS = 2
LOG_SECONDS = 3


class Recording:
    """What Envoy made of a case."""

    def __init__(self, dump: dict, runs: list[list[dict]], topology: Topology):
        self.dump = dump
        self.runs = runs
        self.topology = topology


def record(binary: Path, bootstrap: dict, requests: list[dict],
           script: dict | None = None) -> Recording:
    """Runs the bootstrap as it is for its dump, and an instrumented copy of it for decisions."""
    with Envoy(binary, lambda _: bootstrap) as envoy:
        dump = dumps.fetch(envoy)
    # From here on only what the dump says is used: what is stored is what was recorded.
    bootstrap = dumps.bootstrap(dump)
    topology = Topology(bootstrap)
    addresses = topology.addresses()
    runs = []
    for _ in range(RUNS):
        with Backend(addresses) if script is None else Scripted(addresses, script) as backend:
            heads = {} if script is not None else backend.heads
            runs.append(run(binary, bootstrap, requests, topology, dump, heads, script is not None))
    headers.blank(runs)
    return Recording(dump, runs, topology)


def run(binary: Path, bootstrap: dict, requests: list[dict], topology: Topology,
        dump: dict, heads: dict, scripted: bool) -> list[dict]:
    """The decisions of one fresh process."""
    with Envoy(binary, lambda folder: instrument.instrument(bootstrap, folder)) as envoy:
        if not instrument.same(instrument.strip(dumps.fetch(envoy)), dump):
            raise RecorderError("the instrumented copy differs from the dump in more than its marks")
        answers = []
        for index, request in enumerate(requests):
            target, proxied = topology.target(request)
            answers.append(client.send(request, index, target, proxied))
            if not envoy.alive():
                raise RecorderError(f"Envoy ended at request {request['id']}")
        entries = logged(envoy, answers)
        decisions = [decision(request, answer, entries.get(answer.source), topology, heads, scripted)
                     for request, answer in zip(requests, answers)]
        check_unmatched(envoy, decisions)
        return decisions


def logged(envoy: Envoy, answers: list[client.Answer]) -> dict[str, dict]:
    """The log entry of each source address; each must be there once."""
    answered = {answer.source for answer in answers if answer.received}
    end = time.monotonic() + LOG_SECONDS
    time.sleep(0.2)
    while True:
        entries: dict[str, dict] = {}
        for entry in envoy.entries("access"):
            # A connection that is not closed by a filter is told of by what ends its chain.
            if ("by" in entry) != instrument.is_closed(entry):
                continue
            if entries.setdefault(entry["from"], entry) is not entry:
                raise RecorderError(f"two requests came from {entry['from']}")
        if answered <= entries.keys():
            return entries
        if time.monotonic() > end:
            raise RecorderError(f"not logged: {sorted(answered - entries.keys())}")
        time.sleep(0.1)


def check_unmatched(envoy: Envoy, decisions: list[dict]) -> None:
    """Connections closed without a log entry must be those without a filter chain."""
    counted = 0
    for line in envoy.get("/stats?filter=no_filter_chain_match").splitlines():
        counted += int(line.rpartition(":")[2])
    found = sum(found["outcome"] == "no_filter_chain" for found in decisions)
    if counted != found:
        raise RecorderError(f"{found} connections were closed without a log entry, but Envoy "
                            f"counts {counted} without a filter chain")
