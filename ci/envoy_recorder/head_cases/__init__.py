"""The request heads that ci/record-heads sends, by topic."""

from envoy_recorder.head_cases import (
    absolute, framing, header, header_count, host, method, precedence, repeat, request_line, stripping,
    target)


def all_heads() -> list[dict]:
    """Every head with an id and its topic; ids are stable as long as a topic only grows."""
    heads = []
    for topic, listed in (
            ("request-line", request_line.heads()),
            ("target", target.heads()),
            ("host", host.heads()),
            ("header", header.heads()),
            ("framing", framing.heads()),
            ("repeat", repeat.heads()),
            ("method", method.heads()),
            ("absolute", absolute.heads()),
            ("precedence", precedence.heads()),
            ("stripping", stripping.heads()),
            ("header-count", header_count.heads())):
        for index, head in enumerate(listed):
            heads.append({"id": f"{topic}-{index:03}", "topic": topic, **head})
    return heads
