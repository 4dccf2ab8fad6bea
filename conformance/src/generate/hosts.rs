//! Hosts that a domain covers, and hosts right beside.

use super::probes::flip;

/// A host, and what is particular about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// In words.
    pub(crate) label: &'static str,
    /// As it stands in the request.
    pub(crate) text: String,
}

/// Hosts at and beside a domain; those that it is likeliest to cover go first.
pub(crate) fn of(domain: &str) -> Vec<Host> {
    let host = |label, text: &str| Host {
        label,
        text: text.to_owned(),
    };
    let mut hosts = Vec::new();
    if domain == "*" {
        for text in ["elsewhere.test", "a", "127.0.0.1", "x.y.z.invalid"] {
            hosts.push(host("any host", text));
        }
    } else if let Some(suffix) = domain.strip_prefix('*') {
        hosts.push(host("one character before it", &format!("a{suffix}")));
        hosts.push(host("several labels before it", &format!("x.y{suffix}")));
        hosts.push(host(
            "another label before it",
            &format!("twinmesh{suffix}"),
        ));
        hosts.push(host("nothing before it", suffix));
        hosts.push(host("nothing before it", suffix.trim_start_matches('.')));
        hosts.push(host("something behind it", &format!("a{suffix}x")));
    } else if let Some(prefix) = domain.strip_suffix('*') {
        hosts.push(host("one character behind it", &format!("{prefix}a")));
        hosts.push(host("a number behind it", &format!("{prefix}81")));
        hosts.push(host(
            "another label behind it",
            &format!("{prefix}twinmesh.test"),
        ));
        hosts.push(host("nothing behind it", prefix));
        hosts.push(host("something before it", &format!("x{prefix}a")));
    } else {
        hosts.push(host("equal", domain));
        hosts.push(host("other case", &flip(domain)));
        hosts.push(host("with a port", &format!("{domain}:81")));
        hosts.push(host("a label before it", &format!("x.{domain}")));
        hosts.push(host("one character more", &format!("{domain}x")));
    }
    hosts.retain(|host| !host.text.is_empty());
    hosts
}
