//! The request target: `/path?query`, `*`, or `scheme://authority/path?query`.

use std::net::{Ipv4Addr, Ipv6Addr};

/// What the target says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Path and query as they stand.
    Origin(String),
    /// An absolute one; `path` is `/` where the target has none.
    Absolute {
        /// Lower-cased: `http` or `https`.
        scheme: String,
        /// Host and port, without user information.
        authority: String,
        path: String,
    },
    /// Of CONNECT: host and port.
    Authority(String),
}

/// An absolute URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url<'a> {
    scheme: &'a str,
    pub(crate) has_user_information: bool,
    /// Host and port.
    authority: &'a str,
    /// With its query; may be empty.
    path: &'a str,
}

/// Whether Envoy's parser takes the target on a request line at all.
pub(crate) fn fits_a_request_line(target: &str, method: &str) -> bool {
    match target.bytes().next() {
        None => false,
        Some(b'/' | b'*') => target.bytes().all(is_printable),
        Some(_) if method == "CONNECT" => split_authority(target).is_some(),
        Some(_) => split_url(target).is_some(),
    }
}

fn is_printable(byte: u8) -> bool {
    (b'!'..=b'~').contains(&byte)
}

/// Scheme, authority and path of what looks like an absolute URL.
fn split_url(text: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte);
    let fits = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(in_scheme);
    let (authority, path) = split_authority(rest)?;
    fits.then_some((scheme, authority, path))
}

/// Authority and path of what follows a scheme. The authority ends where path or query begin.
fn split_authority(rest: &str) -> Option<(&str, &str)> {
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let not_in_authority = ['"', '#', '<', '>', '\\', '^', '`', '{', '|', '}'];
    let fits = rest.bytes().all(is_printable)
        && !authority.contains(not_in_authority)
        && authority.matches('@').count() < 2;
    fits.then_some((authority, path))
}

/// Takes apart an absolute URL; `None` where the text is none.
pub(crate) fn parse_url(text: &str) -> Option<Url<'_>> {
    let (scheme, authority, path) = split_url(text)?;
    let (user, authority) = match authority.split_once('@') {
        Some((user, _)) if user.contains(['[', ']']) => return None,
        Some((user, authority)) => (Some(user), authority),
        None => (None, authority),
    };
    is_host_and_port(authority).then_some(Url {
        scheme,
        has_user_information: user.is_some(),
        authority,
        path,
    })
}

/// Takes apart a target that fits a request line; `None` where Envoy refuses it afterwards.
pub(crate) fn parse(target: &str, method: &str, allow_absolute_url: bool) -> Option<Target> {
    if method == "CONNECT" {
        // An empty user slips through.
        let authority = target.strip_prefix('@').unwrap_or(target);
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.contains(']'));
        let fits = has_port && is_host_and_port(authority);
        return fits.then(|| Target::Authority(authority.to_owned()));
    }
    if target.starts_with('/') || (target.starts_with('*') && method == "OPTIONS") {
        return Some(Target::Origin(target.to_owned()));
    }
    if !allow_absolute_url {
        // The path then does not start with `/`, which the connection manager refuses.
        return target
            .contains("://")
            .then(|| Target::Origin(target.to_owned()));
    }
    let url = parse_url(target)?;
    let scheme = url.scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return None;
    }
    let path = if url.path.is_empty() { "/" } else { url.path };
    Some(Target::Absolute {
        scheme,
        authority: url.authority.to_owned(),
        path: path.to_owned(),
    })
}

fn is_host_and_port(authority: &str) -> bool {
    let (host_is_valid, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else {
                return false;
            };
            let is_valid =
                address.parse::<Ipv6Addr>().is_ok() || address.parse::<Ipv4Addr>().is_ok();
            (is_valid, port)
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            let (host, port) = authority.split_at(end);
            let in_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
            (!host.is_empty() && host.bytes().all(in_host), port)
        }
    };
    let port_is_valid = match port.strip_prefix(':') {
        Some(digits) => {
            digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok()
        }
        None => port.is_empty(),
    };
    host_is_valid && port_is_valid
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/", true)]
    #[case("*", true)]
    #[case("//x/y", true)]
    #[case("/%", true)]
    #[case("/#f", true)]
    #[case("http://x/y?z", true)]
    #[case("http://x:port/p", true)]
    #[case("ftp://x", true)]
    #[case("", false)]
    #[case("foo", false)]
    #[case("?q", false)]
    #[case("x:80", false)]
    #[case("/a b", false)]
    #[case("/a\tb", false)]
    #[case("/ü", false)]
    #[case("/\x7f", false)]
    #[case("http://a b/", false)]
    #[case("http://a\"/", false)]
    #[case("1http://a/", false)]
    #[case("h+t://a/", true)]
    #[case("http://a@b/", true)]
    #[case("http://a@@b/", false)]
    #[case("http://a@b@c/", false)]
    #[case("http://a@b/@", true)]
    fn on_a_request_line(#[case] target: &str, #[case] expected: bool) {
        assert_eq!(fits_a_request_line(target, "GET"), expected);
    }

    #[rstest]
    #[case("a:443", Some("a:443"))]
    #[case("A.b-c:0443", Some("A.b-c:0443"))]
    #[case("[::1]:80", Some("[::1]:80"))]
    #[case("[1.2.3.4]:80", Some("[1.2.3.4]:80"))]
    #[case("@a:443", Some("a:443"))]
    #[case("u@a:443", None)]
    #[case("a", None)]
    #[case("a:", None)]
    #[case(":443", None)]
    #[case("[::1]", None)]
    #[case("a:65536", None)]
    #[case("a:+443", None)]
    #[case("a:1:2", None)]
    #[case("a_:443", None)]
    #[case("a:443/", None)]
    #[case("a:443?b", None)]
    #[case("/", None)]
    #[case("*", None)]
    #[case("http://a:443", None)]
    fn of_connect(#[case] target: &str, #[case] expected: Option<&str>) {
        assert!(fits_a_request_line(target, "CONNECT"));
        let expected = expected.map(|authority| Target::Authority(authority.to_owned()));
        assert_eq!(parse(target, "CONNECT", true), expected);
        assert_eq!(parse(target, "CONNECT", false), expected);
    }

    #[rstest]
    #[case("a:443#x")]
    #[case("a<b:443")]
    #[case("a@@b:443")]
    fn on_no_request_line_of_connect(#[case] target: &str) {
        assert!(!fits_a_request_line(target, "CONNECT"));
    }

    #[rstest]
    #[case("http://x/y?z", Some(("http", "x", "/y?z")))]
    #[case("HTTP://X/y", Some(("http", "X", "/y")))]
    #[case("https://x:99", Some(("https", "x:99", "/")))]
    #[case("http://x?q", Some(("http", "x", "?q")))]
    #[case("http://u:p@x/", Some(("http", "x", "/")))]
    #[case("http://[::1]:8/p", Some(("http", "[::1]:8", "/p")))]
    #[case("http://", None)]
    #[case("http:///p", None)]
    #[case("http://x:/p", None)]
    #[case("http://x:port/p", None)]
    #[case("http://x:65536/p", None)]
    #[case("http://a,b/p", None)]
    #[case("http://a_b/p", None)]
    #[case("http://a@@b/", None)]
    #[case("http://[@b/", None)]
    #[case("http://x:080/p", Some(("http", "x:080", "/p")))]
    #[case("http://[::1/p", None)]
    #[case("ftp://x/y", None)]
    fn absolute(#[case] target: &str, #[case] expected: Option<(&str, &str, &str)>) {
        let expected = expected.map(|(scheme, authority, path)| Target::Absolute {
            scheme: scheme.to_owned(),
            authority: authority.to_owned(),
            path: path.to_owned(),
        });
        assert_eq!(parse(target, "GET", true), expected);
    }

    #[rstest]
    #[case("*", "OPTIONS", true, true)]
    #[case("*x", "OPTIONS", true, true)]
    #[case("*", "GET", true, false)]
    #[case("http://x/", "GET", false, true)]
    fn other_forms(
        #[case] target: &str,
        #[case] method: &str,
        #[case] allow_absolute_url: bool,
        #[case] is_taken: bool,
    ) {
        let expected = is_taken.then(|| Target::Origin(target.to_owned()));
        assert_eq!(parse(target, method, allow_absolute_url), expected);
    }
}
