"""Authorities before listeners that strip a trailing dot, the port, or both."""

from envoy_recorder.head_cases.build import only

# The listeners of envoy_recorder.heads that strip.
LISTENERS = ("strip_trailing_host_dot", "strip_any_host_port", "strip_dot_and_port")
AUTHORITIES = (
    "a.com", "a.com.", "a.com..", "a.com:80", "a.com.:80", "a.com:80.", "a.com.:80.", "a.com:", "a.com.:",
    "a.com:.", "a.com:x", "a.com:x.", "a.com:x..", "a.com.:x", "x..com:81.", "a.com:80:80", "a.com.:80:80",
    "a.com:80.:80", "a.com:80:80.", "a.com:x:80", "a.com.:x:80", "a.com:x.:80", "a.com.:x.:80", "a.com::80",
    "a.b:c.d:80", "a.b.:c:d", ":80", ".:80", ".", "..", ":", ":.", ".:", "[::1]", "[::1]:80", "[::1].",
    "[::1].:80", "[::1]:80.", "[::1.]:80", "[a.:b]:80", "[::1]:80:80", "[::1]]:80", "[:80", "]:80", "a:80]",
    "::1", "::1.", "a.com:080", "a.com:0", "a.com:65536", "a.com:4294967295", "a.com:4294967296",
    "a.com.:4294967296", "a.com:+80", "a.com:-80", "a.com:80a", "a.com:18446744073709551616", "A.com.:80")


def heads() -> list[dict]:
    """See the module."""
    return [only(f"host: {authority}", listener=listener)
            for listener in LISTENERS for authority in AUTHORITIES]
