//! CONNECT requests: how their head is laid out for the model, and what of a tunnel is not decided.

use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction,
    route::Action,
    route_action::{HashPolicy, hash_policy::PolicySpecifier},
};
use std::net::{Ipv4Addr, Ipv6Addr};
use twinmesh_engine::Request;

/// A type of upgrade that Envoy treats as a method of its own.
pub(crate) const CONNECT_UDP: &str = "connect-udp";
/// A target that no request line may have, whatever its method.
const NO_TARGET: &str = "#";
/// One that is refused once the head's lines are read.
const REFUSED_TARGET: &str = "*";

/// What the target says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Host and port.
    Authority(String),
    /// Envoy refuses it; this one takes its place.
    Refused(&'static str),
}

/// Whether it is a CONNECT request.
pub(crate) fn is_connect(request: &Request) -> bool {
    request.method == "CONNECT"
}

/// The target; `None` where the request line is not of three tokens.
pub(crate) fn target(request: &Request) -> Option<Target> {
    let target = request.path.as_str();
    let is_one = !target.is_empty() && !target.contains([' ', '\t', '\r', '\n', '\u{b}', '\u{c}']);
    is_one.then(|| {
        if !fits(target) {
            return Target::Refused(NO_TARGET);
        }
        match authority(target) {
            Some(authority) => Target::Authority(authority.to_owned()),
            None => Target::Refused(REFUSED_TARGET),
        }
    })
}

/// Whether Envoy's parser takes it on a request line.
fn fits(target: &str) -> bool {
    let printable = target.bytes().all(|byte| byte.is_ascii_graphic());
    let authority = match target.as_bytes() {
        [b'/' | b'*', ..] => "",
        _ => target.split(['/', '?']).next().unwrap_or_default(),
    };
    let mut ats = authority.bytes().filter(|byte| *byte == b'@');
    let one_at = ats.next().is_none() || ats.next().is_none();
    printable
        && one_at
        && !authority
            .bytes()
            .any(|byte| b"\"#<>\\^`{|}".contains(&byte))
}

/// Host and port, in the one form that Envoy takes; an empty user before them leaves no trace.
fn authority(target: &str) -> Option<&str> {
    let target = target.strip_prefix('@').unwrap_or(target);
    let colon = target.rfind(':')?;
    let (host, port) = (target.get(..colon)?, target.get(colon + 1..)?);
    let is_port = port.bytes().all(|digit| digit.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let is_host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').is_some_and(|address| {
            address.parse::<Ipv6Addr>().is_ok() || address.parse::<Ipv4Addr>().is_ok()
        }),
        None => {
            let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
            !host.is_empty() && host.bytes().all(in_name)
        }
    };
    (is_port && is_host).then_some(target)
}

/// The authority of a request as it came, where it is a CONNECT request that Envoy takes.
pub(crate) fn authority_of(came: &Request) -> Option<&str> {
    authority(&came.path).filter(|_| is_connect(came))
}

/// A host as the endpoint gets it, which a stripped port comes back to; `None` where the request is not
/// one that Envoy takes.
pub(crate) fn restored(host: &str, came: &Request) -> Option<String> {
    let (_, port) = authority_of(came)?.rsplit_once(':')?;
    let has_port = match host.strip_prefix('[') {
        Some(address) => address.contains("]:"),
        None => host.contains(':'),
    };
    if has_port {
        return Some(host.to_owned());
    }
    Some(format!("{host}:{}", port.parse::<u16>().ok()?))
}

/// Whether Envoy ends the tunnel that the request becomes, so that the endpoint gets what follows its
/// head.
pub(crate) fn ends(action: &RouteAction, method: &str) -> bool {
    let config = action.upgrade_configs.iter();
    let config = config.filter_map(|it| it.connect_config.as_ref()).next();
    match method {
        "CONNECT" => config.is_some(),
        "POST" => config.is_some_and(|config| config.allow_post),
        _ => false,
    }
}

/// Why a tunnel that is allowed is not decided; the redirect of a virtual host that requires TLS has
/// no route. `authority` is what routes have seen.
pub(crate) fn undecided(
    came: &Request,
    route: Option<&Route>,
    authority: &str,
) -> Option<&'static str> {
    if !is_connect(came) {
        return None;
    }
    match route.and_then(|route| route.action.as_ref()) {
        None | Some(Action::Redirect(_)) => Some("redirects of CONNECT requests are not decided"),
        Some(Action::Route(action))
            if authority_of(came) != Some(authority) && action.hash_policy.iter().any(by_host) =>
        {
            Some("CONNECT requests hashed by a host without its port are not decided")
        }
        Some(_) => None,
    }
}

fn by_host(policy: &HashPolicy) -> bool {
    let Some(PolicySpecifier::Header(header)) = &policy.policy_specifier else {
        return false;
    };
    let name = header.header_name.to_ascii_lowercase();
    name == "host" || name == ":authority"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stripped_ports_come_back_as_numbers() {
        for (target, host, expected) in [
            ("a:080", "a", "a:80"),
            ("a:080", "a:080", "a:080"),
            ("a.:81", "a:81", "a:81"),
            ("a.:81", "a", "a:81"),
            ("[::1]:80", "[::1]", "[::1]:80"),
            ("[::1]:80", "[::1]:80", "[::1]:80"),
        ] {
            let came = serde_json::json!({"id": "r", "method": "CONNECT", "path": target});
            let came = serde_json::from_value(came).expect("a request");
            assert_eq!(restored(host, &came).as_deref(), Some(expected), "{target}");
        }
    }

    #[test]
    fn targets() {
        let fine = [
            ("a:443", "a:443"),
            ("@a:443", "a:443"),
            ("[::1]:80", "[::1]:80"),
            ("[1.2.3.4]:080", "[1.2.3.4]:080"),
        ];
        for (given, expected) in fine {
            assert!(fits(given), "{given}");
            assert_eq!(authority(given), Some(expected));
        }
        let refused = [
            "u@a:443", "a", "a:", ":1", "[::1]", "a:65536", "a:+1", "a:1:2", "a_:1", "a:1/#", "/#",
            "*",
        ];
        for given in refused {
            assert!(fits(given), "{given}");
            assert_eq!(authority(given), None, "{given}");
        }
        for given in ["a:1#", "a@@b:1", "\u{e9}:1"] {
            assert!(!fits(given), "{given}");
        }
    }
}
