"""Kept-alive sessions of `requests`, several at a time: each response's bytes are checked, and counted
by who gave it.

Takes the base URL, the number of sessions and of requests in each; on standard input {"by": {header
value or "": [backends]}, "files": {backend: {path: sha256}}}. Prints {header value: {backend: count}}.
"""

import collections
import hashlib
import json
import random
import sys
import threading

import requests

base, sessions, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
told = json.load(sys.stdin)
paths = sorted(next(iter(told["files"].values())))
found = {value: collections.Counter() for value in told["by"]}
wrong = []
lock = threading.Lock()


def one(session, turn, number):
    path = turn.choice(paths)
    value = turn.choice(sorted(found))
    headers = {"end-user": value} if value else {}
    with session.get(base + path, headers=headers, timeout=60, stream=turn.random() < 0.3) as response:
        body = response.content
    backend = response.headers.get("x-backend", "nobody")
    expected = told["files"].get(backend, {}).get(path)
    if response.status_code != 200 or backend not in told["by"][value]:
        wrong.append(f"{path} {value!r}: {response.status_code} by {backend}")
    elif hashlib.sha256(body).hexdigest() != expected:
        wrong.append(f"{path} {value!r} by {backend}: {len(body)} bytes, not those of the file")
    with lock:
        found[value][backend] += 1


def run(number):
    turn = random.Random(number)
    try:
        with requests.Session() as session:
            session.trust_env = False
            for _ in range(count):
                one(session, turn, number)
    except Exception as error:
        wrong.append(f"session {number}: {error!r}")


threads = [threading.Thread(target=run, args=(number,)) for number in range(sessions)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if wrong:
    sys.exit("\n".join(wrong[:20]))
json.dump(found, sys.stdout)
