//! What the endpoint sees of path and authority.

use envoy_types::pb::envoy::config::route::v3::{
    RouteAction, RouteMatch, route_action::HostRewriteSpecifier,
};

use crate::message::Message;
use crate::path;

/// The path with its query after `prefix_rewrite`.
pub(crate) fn path(action: &RouteAction, route_match: &RouteMatch, message: &Message) -> String {
    if action.prefix_rewrite.is_empty() {
        return message.path.clone();
    }
    let matched = path::matched_part(route_match, message.path_without_query());
    let rest = message.path.get(matched.len()..).unwrap_or_default();
    format!("{}{rest}", action.prefix_rewrite)
}

/// The authority after the route's rewrite, or that of the weighted cluster.
pub(crate) fn authority(
    action: &RouteAction,
    of_weighted_cluster: Option<&str>,
    message: &Message,
    endpoint_hostname: &str,
) -> String {
    let of_route = match &action.host_rewrite_specifier {
        Some(HostRewriteSpecifier::HostRewriteLiteral(literal)) => Some(literal.clone()),
        Some(HostRewriteSpecifier::HostRewriteHeader(name)) => message.first_value(name),
        Some(HostRewriteSpecifier::AutoHostRewrite(auto)) if auto.value => {
            Some(endpoint_hostname.to_owned())
        }
        _ => None,
    };
    of_route
        .filter(|host| !host.is_empty())
        .or_else(|| of_weighted_cluster.map(str::to_owned))
        .unwrap_or_else(|| message.authority.clone())
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
    use envoy_types::pb::google::protobuf::BoolValue;
    use rstest::rstest;

    use super::*;
    use crate::message::tests::message;

    #[rstest]
    #[case(PathSpecifier::Prefix("/p".to_owned()), "/new", "/p/x?q", "/new/x?q")]
    #[case(PathSpecifier::Prefix("/p".to_owned()), "", "/p/x?q", "/p/x?q")]
    #[case(PathSpecifier::PathSeparatedPrefix("/p".to_owned()), "/", "/p/a", "//a")]
    #[case(PathSpecifier::Path("/p".to_owned()), "/new", "/p?q", "/new?q")]
    fn paths(
        #[case] specifier: PathSpecifier,
        #[case] prefix_rewrite: &str,
        #[case] path: &str,
        #[case] expected: &str,
    ) {
        let action = RouteAction {
            prefix_rewrite: prefix_rewrite.to_owned(),
            ..RouteAction::default()
        };
        let route_match = RouteMatch {
            path_specifier: Some(specifier),
            ..RouteMatch::default()
        };
        let message = Message {
            path: path.to_owned(),
            ..message(&[])
        };
        assert_eq!(super::path(&action, &route_match, &message), expected);
    }

    #[rstest]
    #[case(None, None, "h.test")]
    #[case(Some(HostRewriteSpecifier::HostRewriteLiteral("l".to_owned())), None, "l")]
    #[case(Some(HostRewriteSpecifier::HostRewriteHeader("x".to_owned())), None, "from-x")]
    #[case(Some(HostRewriteSpecifier::HostRewriteHeader("y".to_owned())), None, "h.test")]
    #[case(Some(HostRewriteSpecifier::AutoHostRewrite(BoolValue { value: true })), None, "e")]
    #[case(Some(HostRewriteSpecifier::AutoHostRewrite(BoolValue { value: false })), None, "h.test")]
    #[case(None, Some("w"), "w")]
    fn authorities(
        #[case] specifier: Option<HostRewriteSpecifier>,
        #[case] of_weighted_cluster: Option<&str>,
        #[case] expected: &str,
    ) {
        let action = RouteAction {
            host_rewrite_specifier: specifier,
            ..RouteAction::default()
        };
        let message = message(&[("x", "from-x")]);
        assert_eq!(
            authority(&action, of_weighted_cluster, &message, "e"),
            expected
        );
    }
}
