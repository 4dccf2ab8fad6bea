//! What the endpoint sees of path and authority.

use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::config::route::v3::{
    RouteAction, RouteMatch, route_action::HostRewriteSpecifier, route_match::PathSpecifier,
};
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use twinmesh_engine::Level;

use crate::format::{self, Context, Facts};
use crate::lines::{Known, Lines, Undecided};
use crate::message::Message;
use crate::mutation::{self, Mutation};
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

/// What makes a request's path and host anew.
#[derive(Clone, Copy)]
pub(crate) struct Rewriting<'a> {
    pub(crate) action: &'a RouteAction,
    pub(crate) route_match: &'a RouteMatch,
    pub(crate) substitutions: &'a Substitutions,
    pub(crate) facts: &'a Facts<'a>,
}

/// Whether the router writes `grpc-timeout` of a gRPC request anew, before there are mutations.
#[expect(deprecated, reason = "Envoy reads max_grpc_timeout still")]
pub(crate) fn writes_grpc_timeout(action: &RouteAction) -> bool {
    let duration = action.max_stream_duration.as_ref();
    action.max_grpc_timeout.is_some()
        || duration.is_some_and(|duration| duration.grpc_timeout_header_max.is_some())
}

/// Changes a request by the mutations of all levels. Those of a weighted cluster see the host that came, and
/// the others the one of its `host_rewrite_literal`, of which Envoy remembers no original.
pub(crate) fn by_mutations(
    mutations: Vec<Mutation<'_>>,
    of_weighted_cluster: Option<&str>,
    lines: &mut Lines,
    facts: &Facts<'_>,
) {
    for mutation in mutations {
        mutation::of_request(mutation, lines, facts);
        let host = of_weighted_cluster.filter(|host| !host.is_empty());
        if let Some(host) = host.filter(|_| mutation.level == Level::WeightedCluster) {
            lines.set(":authority", host.to_owned());
        }
    }
}

/// Writes authority and path as they are sent upstream, and what Envoy remembers of the old ones.
/// Header mutations come before it.
///
/// # Errors
/// It is not known what they come to.
pub(crate) fn finalize(rewriting: Rewriting<'_>, lines: &mut Lines) -> Known<()> {
    let action = rewriting.action;
    let host = host(rewriting, lines)?;
    if let Some(host) = host.filter(|host| !host.is_empty()) {
        set_host(action, host, lines)?;
    }
    let message = lines.message()?;
    let path = if action.path_rewrite.is_empty() {
        let (route_match, substitutions) = (rewriting.route_match, rewriting.substitutions);
        let path = path(action, route_match, &message, substitutions);
        let path = path.ok_or_else(|| Undecided::new("the route's rewrite is not decided"))?;
        rewrites_path(action).then_some(path)
    } else {
        let new = by_format(&action.path_rewrite, lines, rewriting.facts)?;
        let (_, query) = split_query(&message.path);
        new.map(|new| format!("{new}{query}"))
    };
    if let Some(path) = path {
        lines.remember("x-envoy-original-path", message.path);
        lines.set(":path", path);
    }
    Ok(())
}

/// The path that a `path_rewrite` makes, without the query that was there; nothing where it comes
/// to nothing.
///
/// # Errors
/// It has a command whose value is not known.
pub(crate) fn by_format(format: &str, request: &Lines, facts: &Facts<'_>) -> Known<Option<String>> {
    let context = Context {
        request,
        response: None,
        facts,
    };
    let made = format::value(format, "", &context)?;
    Ok(Some(made).filter(|made| !made.is_empty()))
}

/// Writes the endpoint's name as the host, where `auto_host_rewrite` asks for that.
///
/// # Errors
/// The old host is not known.
pub(crate) fn by_endpoint(action: &RouteAction, hostname: &str, lines: &mut Lines) -> Known<()> {
    match &action.host_rewrite_specifier {
        Some(HostRewriteSpecifier::AutoHostRewrite(auto)) if auto.value && !hostname.is_empty() => {
            set_host(action, hostname.to_owned(), lines)
        }
        _ => Ok(()),
    }
}

fn rewrites_path(action: &RouteAction) -> bool {
    !action.prefix_rewrite.is_empty()
        || action.regex_rewrite.is_some()
        || action.path_rewrite_policy.is_some()
}

fn set_host(action: &RouteAction, host: String, lines: &mut Lines) -> Known<()> {
    let old = lines.text(":authority")?;
    if action.append_x_forwarded_host {
        lines.add("x-forwarded-host", old.clone());
    }
    lines.remember("x-envoy-original-host", old);
    lines.set(":authority", host);
    Ok(())
}

/// The host that the route asks for before an endpoint is chosen. What is missing in a format leaves
/// a hyphen.
fn host(rewriting: Rewriting<'_>, lines: &Lines) -> Known<Option<String>> {
    match &rewriting.action.host_rewrite_specifier {
        Some(HostRewriteSpecifier::HostRewriteLiteral(literal)) => Ok(Some(literal.clone())),
        Some(HostRewriteSpecifier::HostRewriteHeader(name)) => lines.first(name),
        Some(HostRewriteSpecifier::HostRewritePathRegex(rule)) => {
            let path = lines.text(":path")?;
            let (path, _) = split_query(&path);
            let host = rewriting.substitutions.apply(rule, path);
            let undecided = || Undecided::new("its host rewrite is not decided");
            host.ok_or_else(undecided).map(Some)
        }
        Some(HostRewriteSpecifier::HostRewrite(format)) if !format.is_empty() => {
            let context = Context {
                request: lines,
                response: None,
                facts: rewriting.facts,
            };
            format::value(format, "-", &context).map(Some)
        }
        _ => Ok(None),
    }
}

/// The path, and the query with its question mark.
fn split_query(path: &str) -> (&str, &str) {
    path.split_at(path.find('?').unwrap_or(path.len()))
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
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
    #[case(Some(HostRewriteSpecifier::HostRewrite("%REQ(x)%.t".to_owned())), None, "from-x.t")]
    #[case(Some(HostRewriteSpecifier::HostRewrite("%REQ(y)%".to_owned())), None, "-")]
    #[case(Some(HostRewriteSpecifier::HostRewrite("%REQ(:path)%".to_owned())), None, "/p?q=1")]
    #[case(Some(HostRewriteSpecifier::HostRewrite("%REQ(:authority)%.x".to_owned())), Some("w"), "w.x")]
    #[case(Some(HostRewriteSpecifier::HostRewrite(String::new())), Some("w"), "w")]
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
        let rewriting = Rewriting {
            action: &action,
            route_match: &RouteMatch::default(),
            substitutions: &substitutions(&["^/", ".*"]),
            facts: &Facts::OfTool,
        };
        let mut lines = Lines::of_message(&message, &HttpConnectionManager::default());
        let own = Mutation {
            level: Level::WeightedCluster,
            add: &[],
            remove: &[],
        };
        by_mutations(vec![own], of_weighted_cluster, &mut lines, &Facts::OfTool);
        finalize(rewriting, &mut lines).expect("it is decided");
        by_endpoint(&action, "e", &mut lines).expect("it is decided");
        assert_eq!(lines.text(":authority").as_deref(), Ok(expected));
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

    // What Envoy 1.40 sent.
    #[rstest]
    #[case("%REQ(x)%", "/from?q=1")]
    #[case("%REQ(y)%", "/p?q=1")]
    #[case("lit", "lit?q=1")]
    #[case("/a%%b", "/a%b?q=1")]
    #[case("%PATH(NQ)%/z", "/p/z?q=1")]
    #[case("/n?fixed=1", "/n?fixed=1?q=1")]
    #[case("/%REQ(:authority)%", "/new.test?q=1")]
    #[case("/%REQ(x-envoy-original-host)%", "/h.test?q=1")]
    #[case("%REQ(:path)%", "/p?q=1?q=1")]
    fn paths_by_format(#[case] path_rewrite: &str, #[case] expected: &str) {
        let literal = HostRewriteSpecifier::HostRewriteLiteral("new.test".to_owned());
        let action = RouteAction {
            path_rewrite: path_rewrite.to_owned(),
            host_rewrite_specifier: Some(literal),
            ..RouteAction::default()
        };
        let rewriting = Rewriting {
            action: &action,
            route_match: &RouteMatch::default(),
            substitutions: &Substitutions::default(),
            facts: &Facts::OfTool,
        };
        let message = message(&[("x", "/from")]);
        let mut lines = Lines::of_message(&message, &HttpConnectionManager::default());
        finalize(rewriting, &mut lines).expect("it is decided");
        assert_eq!(lines.text(":path").as_deref(), Ok(expected));
    }
}
