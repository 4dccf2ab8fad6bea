//! What the endpoint sees of path and authority.

use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::config::route::v3::{
    RouteAction, RouteMatch, route_action::HostRewriteSpecifier, route_match::PathSpecifier,
};
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;

use crate::message::Message;
use crate::path;
use crate::substitution::Substitutions;
use crate::uri_template;

/// The path with its query after `prefix_rewrite` or `regex_rewrite`; `None` where that is not
/// decided.
pub(crate) fn path(
    action: &RouteAction,
    route_match: &RouteMatch,
    message: &Message,
    substitutions: &Substitutions,
) -> Option<String> {
    if !action.prefix_rewrite.is_empty() {
        let matched = path::matched_part(route_match, message.path_without_query());
        let rest = message.path.get(matched.len()..).unwrap_or_default();
        return Some(format!("{}{rest}", action.prefix_rewrite));
    }
    if let Some(policy) = &action.path_rewrite_policy {
        return by_template(policy, route_match, message);
    }
    match &action.regex_rewrite {
        Some(rule) => by_regex(rule, message, substitutions),
        None => Some(message.path.clone()),
    }
}

/// The path with its query after a `path_rewrite_policy`, which the query has no part in.
fn by_template(
    policy: &TypedExtensionConfig,
    route_match: &RouteMatch,
    message: &Message,
) -> Option<String> {
    let Some(PathSpecifier::PathMatchPolicy(matched)) = &route_match.path_specifier else {
        return None;
    };
    let path = message.path_without_query();
    let template = uri_template::of_match(matched)?;
    let rewrite = uri_template::of_rewrite(policy)?;
    let query = message.path.get(path.len()..).unwrap_or_default();
    match template.rewrite(path, &rewrite) {
        Some(made) => Some(format!("{made}{query}")),
        None => Some(message.path.clone()),
    }
}

/// The path with its query after a substitution, which the query has no part in. One that leaves
/// nothing of the path changes nothing.
pub(crate) fn by_regex(
    rule: &RegexMatchAndSubstitute,
    message: &Message,
    substitutions: &Substitutions,
) -> Option<String> {
    let path = message.path_without_query();
    let replaced = substitutions.apply(rule, path)?;
    if replaced.is_empty() {
        return Some(message.path.clone());
    }
    let query = message.path.get(path.len()..).unwrap_or_default();
    Some(format!("{replaced}{query}"))
}

/// The authority after the route's rewrite, or that of the weighted cluster; `None` where that is
/// not decided.
pub(crate) fn authority(
    action: &RouteAction,
    of_weighted_cluster: Option<&str>,
    message: &Message,
    endpoint_hostname: &str,
    substitutions: &Substitutions,
) -> Option<String> {
    let of_route = match &action.host_rewrite_specifier {
        Some(HostRewriteSpecifier::HostRewriteLiteral(literal)) => Some(literal.clone()),
        Some(HostRewriteSpecifier::HostRewriteHeader(name)) => message.first_value(name),
        Some(HostRewriteSpecifier::HostRewritePathRegex(rule)) => {
            Some(substitutions.apply(rule, message.path_without_query())?)
        }
        Some(HostRewriteSpecifier::AutoHostRewrite(auto)) if auto.value => {
            Some(endpoint_hostname.to_owned())
        }
        _ => None,
    };
    let rewritten = of_route
        .filter(|host| !host.is_empty())
        .or_else(|| of_weighted_cluster.map(str::to_owned))
        .filter(|host| !host.is_empty());
    Some(rewritten.unwrap_or_else(|| message.authority.clone()))
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::google::protobuf::BoolValue;
    use rstest::rstest;

    use super::*;
    use crate::message::tests::message;
    use crate::substitution::tests::{rule, substitutions};

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
        let found = super::path(&action, &route_match, &message, &Substitutions::default());
        assert_eq!(found.as_deref(), Some(expected));
    }

    #[rstest]
    #[case(None, None, "h.test")]
    #[case(Some(HostRewriteSpecifier::HostRewriteLiteral("l".to_owned())), None, "l")]
    #[case(Some(HostRewriteSpecifier::HostRewriteHeader("x".to_owned())), None, "from-x")]
    #[case(Some(HostRewriteSpecifier::HostRewriteHeader("y".to_owned())), None, "h.test")]
    #[case(Some(HostRewriteSpecifier::AutoHostRewrite(BoolValue { value: true })), None, "e")]
    #[case(Some(HostRewriteSpecifier::AutoHostRewrite(BoolValue { value: false })), None, "h.test")]
    #[case(None, Some("w"), "w")]
    #[case(None, Some(""), "h.test")]
    #[case(Some(HostRewriteSpecifier::HostRewriteLiteral("l".to_owned())), Some("w"), "l")]
    #[case(Some(HostRewriteSpecifier::HostRewriteHeader("y".to_owned())), Some("w"), "w")]
    #[case(
        Some(HostRewriteSpecifier::HostRewritePathRegex(rule("^/", "p."))),
        Some("w"),
        "p.p"
    )]
    #[case(
        Some(HostRewriteSpecifier::HostRewritePathRegex(rule(".*", ""))),
        Some("w"),
        "w"
    )]
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
        let substitutions = substitutions(&["^/", ".*"]);
        let found = authority(&action, of_weighted_cluster, &message, "e", &substitutions);
        assert_eq!(found.as_deref(), Some(expected));
    }

    // What Envoy 1.40 sent.
    #[rstest]
    #[case(rule("/", "//"), "/a/b?c/d", "//a//b?c/d")]
    #[case(rule("^/a", ""), "/a?b", "/a?b")]
    #[case(rule("b", "?q"), "/b?b", "/?q?b")]
    fn paths_by_regex(
        #[case] rule: RegexMatchAndSubstitute,
        #[case] path: &str,
        #[case] expected: &str,
    ) {
        let action = RouteAction {
            regex_rewrite: Some(rule),
            ..RouteAction::default()
        };
        let message = Message {
            path: path.to_owned(),
            ..message(&[])
        };
        let known = substitutions(&["/", "^/a", "b"]);
        let found = super::path(&action, &RouteMatch::default(), &message, &known);
        assert_eq!(found.as_deref(), Some(expected));
    }
}
