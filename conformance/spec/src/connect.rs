//! CONNECT requests: which routes take them, and whether Envoy ends the tunnel itself. What allows
//! them is in [`crate::upgrade`] (measured on Envoy 1.40).

use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteMatch,
    route::Action,
    route_action::{HashPolicy, hash_policy::PolicySpecifier, upgrade_config::ConnectConfig},
    route_match::PathSpecifier,
};
use twinmesh_engine::{BadRequest, Request};

use crate::head::{Refused, by_codec, of};
use crate::message::Message;
use crate::{host, integer};

/// Whether a route takes CONNECT requests, which no other path matcher does.
pub(crate) fn takes(route_match: &RouteMatch) -> bool {
    matches!(
        route_match.path_specifier,
        Some(PathSpecifier::ConnectMatcher(_))
    )
}

/// Looks at what says that the head has a body; a length of 0 is taken off before anything is made of
/// how the body is encoded.
///
/// # Errors
/// Envoy refuses the head.
pub(crate) fn check_body(message: &mut Message) -> Result<(), Refused> {
    if of(message, "content-length")
        .iter()
        .any(|length| length != "0")
    {
        return Err(by_codec(BadRequest::ContentLength, 400));
    }
    if !of(message, "transfer-encoding").is_empty() {
        return Err(by_codec(BadRequest::TransferEncoding, 501));
    }
    message.headers.retain(|(name, _)| name != "content-length");
    Ok(())
}

/// Host and port of a CONNECT request that was taken.
pub(crate) fn target(request: &Request) -> &str {
    let target = request.path.trim_matches([' ', '\t']);
    target.strip_prefix('@').unwrap_or(target)
}

/// Whether a hash takes the host of a CONNECT request whose port was stripped: it comes back, for some
/// hashes before and for others after they are made.
pub(crate) fn hashes_stripped_port(
    action: &RouteAction,
    message: &Message,
    request: &Request,
) -> bool {
    let by_host = |policy: &HashPolicy| match &policy.policy_specifier {
        Some(PolicySpecifier::Header(header)) => [":authority", "host"]
            .iter()
            .any(|name| header.header_name.eq_ignore_ascii_case(name)),
        _ => false,
    };
    message.is_connect()
        && message.authority != target(request)
        && action.hash_policy.iter().any(by_host)
}

/// The host that the endpoint gets: with the port, where the connection manager has stripped that, as
/// a number.
pub(crate) fn with_port(authority: String, request: &Request) -> String {
    if host::port_start(&authority).is_some() {
        return authority;
    }
    let target = target(request);
    let port = host::port_start(target).and_then(|colon| target.get(colon + 1..));
    match port.and_then(integer::unsigned) {
        Some(port) => format!("{authority}:{port}"),
        None => authority,
    }
}

/// How a route ends tunnels; whether it is enabled does not matter.
fn ends(action: &RouteAction) -> Option<&ConnectConfig> {
    let configs = &action.upgrade_configs;
    let mut configs = configs.iter().filter_map(|it| it.connect_config.as_ref());
    configs.next()
}

/// Whether Envoy answers by itself, and the endpoint gets what follows the head.
pub(crate) fn is_terminated(action: &RouteAction, message: &Message) -> bool {
    let Some(config) = ends(action) else {
        return false;
    };
    message.is_connect() || (config.allow_post && message.method == "POST")
}

/// Whether the request becomes a tunnel.
pub(crate) fn is_tunnel(action: &RouteAction, message: &Message) -> bool {
    message.is_connect() || is_terminated(action, message)
}

/// Why a CONNECT request that is allowed is not decided; the redirect of a virtual host has no route.
pub(crate) fn undecided(route: Option<&Route>, message: &Message) -> Option<&'static str> {
    if !message.is_connect() {
        return None;
    }
    match route.map(|route| &route.action) {
        None | Some(Some(Action::Redirect(_))) => {
            Some("redirects of CONNECT requests are not decided")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::route::v3::route_action::UpgradeConfig;
    use rstest::rstest;

    use super::*;
    use crate::message::tests::message;

    #[rstest]
    #[case::sent_on("CONNECT", None, false)]
    #[case::ended("CONNECT", Some(false), true)]
    #[case::post("POST", Some(true), true)]
    #[case::no_post("POST", Some(false), false)]
    #[case::get("GET", Some(true), false)]
    fn by_whom_a_tunnel_ends(
        #[case] method: &str,
        #[case] allow_post: Option<bool>,
        #[case] expected: bool,
    ) {
        let action = RouteAction {
            upgrade_configs: vec![UpgradeConfig {
                upgrade_type: "CONNECT".to_owned(),
                connect_config: allow_post.map(|allow_post| ConnectConfig {
                    allow_post,
                    ..ConnectConfig::default()
                }),
                ..UpgradeConfig::default()
            }],
            ..RouteAction::default()
        };
        let message = Message {
            method: method.to_owned(),
            ..message(&[])
        };
        assert_eq!(is_terminated(&action, &message), expected);
    }

    #[rstest]
    #[case(&[], Ok(0))]
    #[case(&[("content-length", "0")], Ok(0))]
    #[case(&[("content-length", "5")], Err(400))]
    #[case(&[("transfer-encoding", "chunked")], Err(501))]
    fn bodies(#[case] headers: &[(&str, &str)], #[case] expected: Result<usize, u32>) {
        let mut message = message(headers);
        let found = check_body(&mut message).map_err(|refused| match refused {
            Refused::Bad { status, .. } => status,
            Refused::Undecided(_) => 0,
        });
        assert_eq!(found.map(|()| message.headers.len()), expected);
    }
}
