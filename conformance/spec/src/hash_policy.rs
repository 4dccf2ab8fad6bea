//! `RouteAction.hash_policy`: the number by which requests that belong together find one endpoint.

use std::net::IpAddr;

use envoy_types::pb::envoy::config::route::v3::route_action::{
    HashPolicy,
    hash_policy::{Cookie, Header, PolicySpecifier},
};
use envoy_types::pb::envoy::r#type::v3::{
    HashPolicy as TcpHashPolicy, hash_policy::PolicySpecifier as TcpPolicySpecifier,
};
use xxhash_rust::xxh64::xxh64;

use twinmesh_engine::address_text;

use crate::cookie;
use crate::message::{Message, arrives_as_sent};
use crate::query_parameter;
use crate::substitution::Substitutions;

/// The client's address, as far as the request says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    /// `None` where it is not known.
    pub(crate) address: Option<IpAddr>,
    /// The connection manager takes it from x-forwarded-for, where that is there.
    pub(crate) trusts_forwarded_for: bool,
}

/// The hash by the policies in order; `Ok(None)` where none of them finds anything to hash. The
/// error is why it is not decided.
pub(crate) fn hash(
    policies: &[HashPolicy],
    message: &Message,
    client: Client,
    substitutions: &Substitutions,
) -> Result<Option<u64>, &'static str> {
    let mut sum = None;
    for policy in policies {
        let one = match &policy.policy_specifier {
            Some(PolicySpecifier::Header(header)) => of_header(header, message, substitutions)?,
            Some(PolicySpecifier::Cookie(cookie)) => of_cookie(cookie, message)?,
            Some(PolicySpecifier::ConnectionProperties(properties)) => match properties.source_ip {
                true => Some(of_client(Some(message), client)?),
                // To Envoy that is no policy, and so none that ends them.
                false => continue,
            },
            Some(PolicySpecifier::QueryParameter(parameter)) => {
                query_parameter::first_value(&message.path, &parameter.name).map(of_text)
            }
            Some(PolicySpecifier::FilterState(_)) => {
                return Err("the filter state that its hash takes is not decided");
            }
            None => return Err("a hash policy of this kind is not decided"),
        };
        sum = match (sum, one) {
            (sum, None) => sum,
            (None, one) => one,
            // Turned by one bit, lest equal ones cancel each other out.
            (Some(sum), Some(one)) => Some(u64::rotate_left(sum, 1) ^ one),
        };
        if policy.terminal && sum.is_some() {
            break;
        }
    }
    Ok(sum)
}

/// The same for a TCP proxy.
pub(crate) fn of_connection(
    policies: &[TcpHashPolicy],
    client: Client,
) -> Result<Option<u64>, &'static str> {
    match policies.first().map(|policy| &policy.policy_specifier) {
        None => Ok(None),
        Some(Some(TcpPolicySpecifier::SourceIp(_))) => of_client(None, client).map(Some),
        Some(_) => Err("the filter state that its hash takes is not decided"),
    }
}

fn of_text(text: &str) -> u64 {
    xxh64(text.as_bytes(), 0)
}

/// All values, each rewritten, in alphabetical order, so that the order of lines does not count; the
/// hash of each is the next one's seed.
fn of_header(
    header: &Header,
    message: &Message,
    substitutions: &Substitutions,
) -> Result<Option<u64>, &'static str> {
    if !arrives_as_sent(&header.header_name) {
        return Err("its hash takes a header that the connection manager rewrites");
    }
    let values = message.values(&header.header_name).into_iter();
    let rewritten = values.map(|value| match &header.regex_rewrite {
        Some(rule) => substitutions.apply_to_bytes(rule, value.as_bytes()),
        None => Some(value.into_bytes()),
    });
    let values: Option<Vec<Vec<u8>>> = rewritten.collect();
    let mut values = values.ok_or("the regex that rewrites what its hash takes is not decided")?;
    values.sort();
    let hash = |seed, value: &Vec<u8>| xxh64(value, seed);
    Ok((!values.is_empty()).then(|| values.iter().fold(0, hash)))
}

fn of_cookie(cookie: &Cookie, message: &Message) -> Result<Option<u64>, &'static str> {
    let lines = message.values("cookie");
    match cookie::value(&lines, &cookie.name) {
        Some(value) if !value.is_empty() => Ok(Some(of_text(value))),
        _ if cookie.ttl.is_some() => Err("the cookie that Envoy would make up is not decided"),
        _ => Ok(None),
    }
}

fn of_client(message: Option<&Message>, client: Client) -> Result<u64, &'static str> {
    let says_so = |message: &Message| {
        let headers = message.headers.iter();
        client.trusts_forwarded_for && headers.into_iter().any(|(it, _)| it == "x-forwarded-for")
    };
    if message.is_some_and(says_so) {
        return Err("the client's address in x-forwarded-for is not decided");
    }
    match client.address {
        Some(address) => Ok(of_text(&address_text::text(address))),
        None => Err("the client's address, which its hash takes, is not known"),
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::route::v3::route_action::hash_policy::{
        ConnectionProperties, QueryParameter,
    };
    use envoy_types::pb::google::protobuf::Duration;
    use rstest::rstest;

    use super::*;
    use crate::substitution::tests::{rule, substitutions};

    fn hash(
        policies: &[HashPolicy],
        message: &Message,
        client: Client,
    ) -> Result<Option<u64>, &'static str> {
        super::hash(policies, message, client, &substitutions(&["-.*"]))
    }
    use crate::message::tests::message;

    const CLIENT: Client = Client {
        address: Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7))),
        trusts_forwarded_for: true,
    };

    fn header(name: &str, terminal: bool) -> HashPolicy {
        HashPolicy {
            terminal,
            policy_specifier: Some(PolicySpecifier::Header(Header {
                header_name: name.to_owned(),
                regex_rewrite: None,
            })),
        }
    }

    fn policy(specifier: PolicySpecifier) -> HashPolicy {
        HashPolicy {
            terminal: false,
            policy_specifier: Some(specifier),
        }
    }

    fn cookie(ttl: bool) -> HashPolicy {
        policy(PolicySpecifier::Cookie(Cookie {
            name: "c".to_owned(),
            ttl: ttl.then(Duration::default),
            ..Cookie::default()
        }))
    }

    #[rstest]
    #[case(&[], None)]
    #[case(&[""], Some(of_text("")))]
    #[case(&["b", "a"], Some(xxh64(b"b", of_text("a"))))]
    #[case(&["a", "b"], Some(xxh64(b"b", of_text("a"))))]
    fn headers(#[case] values: &[&str], #[case] expected: Option<u64>) {
        let lines: Vec<_> = values.iter().map(|&value| ("x", value)).collect();
        let found = hash(&[header("X", false)], &message(&lines), CLIENT);
        assert_eq!(found, Ok(expected));
    }

    #[rstest]
    #[case(&["c=1"], Some("1"))]
    #[case(&["a=0; c=\"1 2\";c=3"], Some("1 2"))]
    #[case(&["a=0", "c=1"], Some("1"))]
    #[case(&["  c=1 "], Some("1 "))]
    #[case(&["c =1"], None)]
    #[case(&["c"], None)]
    #[case(&["C=1"], None)]
    #[case(&["c=a=b"], Some("a=b"))]
    #[case(&["c=\""], Some("\""))]
    #[case(&["c=", "c=1"], None)]
    fn cookies(#[case] lines: &[&str], #[case] hashed: Option<&str>) {
        let lines: Vec<_> = lines.iter().map(|&line| ("cookie", line)).collect();
        let message = message(&lines);
        assert_eq!(
            hash(&[cookie(false)], &message, CLIENT),
            Ok(hashed.map(of_text))
        );
        assert_eq!(
            hash(&[cookie(true)], &message, CLIENT).ok(),
            hashed.map(of_text).map(Some)
        );
    }

    #[test]
    fn several() {
        let query = policy(PolicySpecifier::QueryParameter(QueryParameter {
            name: "q".to_owned(),
        }));
        let source = policy(PolicySpecifier::ConnectionProperties(
            ConnectionProperties { source_ip: true },
        ));
        let message = message(&[("x", "1"), ("y", "2")]);
        let of = |policies: &[HashPolicy]| hash(policies, &message, CLIENT);
        let [one, two] = ["1", "2"].map(of_text);
        let (x, y, none) = (header("x", false), header("y", false), header("z", true));
        assert_eq!(
            of(&[x.clone(), y.clone()]),
            Ok(Some(one.rotate_left(1) ^ two))
        );
        assert_eq!(of(&[none, header("x", true), y.clone()]), Ok(Some(one)));
        let mut empty = policy(PolicySpecifier::ConnectionProperties(
            ConnectionProperties::default(),
        ));
        empty.terminal = true;
        assert_eq!(
            of(&[x.clone(), empty, y]),
            Ok(Some(one.rotate_left(1) ^ two))
        );
        assert_eq!(of(&[x.clone(), x]), Ok(Some(one.rotate_left(1) ^ one)));
        assert_eq!(of(&[query]), Ok(Some(one)));
        assert_eq!(of(&[source]), Ok(Some(of_text("10.0.0.7"))));
        assert_eq!(of(&[]), Ok(None));
    }

    #[test]
    fn an_address_that_is_not_the_connections_is_undecided() {
        let source = [policy(PolicySpecifier::ConnectionProperties(
            ConnectionProperties { source_ip: true },
        ))];
        let forwarded = message(&[("x-forwarded-for", "10.1.1.1")]);
        assert!(hash(&source, &forwarded, CLIENT).is_err());
        let own = Client {
            trusts_forwarded_for: false,
            ..CLIENT
        };
        assert_eq!(
            hash(&source, &forwarded, own),
            Ok(Some(of_text("10.0.0.7")))
        );
        let unknown = Client {
            address: None,
            ..own
        };
        assert!(hash(&source, &forwarded, unknown).is_err());
    }

    #[test]
    fn a_header_is_rewritten_line_by_line_before_lines_are_in_order() {
        let rewritten = |pattern: &str| {
            let mut policy = header("x", false);
            if let Some(PolicySpecifier::Header(header)) = &mut policy.policy_specifier {
                header.regex_rewrite = Some(rule(pattern, ""));
            }
            [policy]
        };
        let of = |lines: &[(&str, &str)]| hash(&rewritten("-.*"), &message(lines), CLIENT);
        let plain = hash(
            &[header("x", false)],
            &message(&[("x", "a"), ("x", "b")]),
            CLIENT,
        );
        assert_eq!(of(&[("x", "b-1"), ("x", "a-2")]), plain);
        assert_eq!(of(&[]), Ok(None));
        let unknown = hash(&rewritten("+"), &message(&[("x", "a")]), CLIENT);
        assert!(unknown.is_err());
    }
}
