//! Headers that the connection manager does not leave as they come.

/// Whether matchers see a header as the client sent it. The connection manager adds, removes or
/// rewrites the others by rules that are not decided.
pub fn arrives_as_sent(name: &str) -> bool {
    const MANAGED: [&str; 11] = [
        "connection",
        "expect",
        "keep-alive",
        "proxy-connection",
        // Removed where it is no URL.
        "referer",
        "te",
        "transfer-encoding",
        "upgrade",
        "x-forwarded-client-cert",
        "x-forwarded-for",
        "x-request-id",
    ];
    let name = name.to_ascii_lowercase();
    !MANAGED.contains(&name.as_str()) && !name.starts_with("x-envoy-")
}
