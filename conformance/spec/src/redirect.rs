//! `RedirectAction`, and the redirect of a virtual host that requires TLS.

use envoy_types::pb::envoy::config::route::v3::{
    RedirectAction, RouteMatch,
    redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
};

use crate::format::Facts;
use crate::lines::{Known, Lines, Undecided};
use crate::message::Message;
use crate::path;
use crate::rewrite;
use crate::substitution::Substitutions;

/// Where to. `told` is what a format of the path may ask for.
///
/// # Errors
/// The path is rewritten in a way that is not decided.
pub(crate) fn location(
    action: &RedirectAction,
    route_match: &RouteMatch,
    message: &Message,
    substitutions: &Substitutions,
    told: (&Lines, &Facts<'_>),
) -> Known<String> {
    let scheme = match &action.scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) if !scheme.is_empty() => {
            scheme.as_str()
        }
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => "https",
        _ => message.scheme.as_str(),
    };
    let port = match action.port_redirect {
        0 => String::new(),
        port => format!(":{port}"),
    };
    let host = if action.host_redirect.is_empty() {
        own_host(message, scheme, !port.is_empty())
    } else {
        action.host_redirect.as_str()
    };
    let path = path(action, route_match, message, substitutions, told)?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(format!("{scheme}://{host}{port}{slash}{path}"))
}

/// The path that a prefix or regex rewrite gives the request itself, before it is answered.
pub(crate) fn rewritten_path(
    action: &RedirectAction,
    route_match: &RouteMatch,
    message: &Message,
    substitutions: &Substitutions,
) -> Option<String> {
    match &action.path_rewrite_specifier {
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) if !prefix.is_empty() => {
            let matched = path::matched_part(route_match, message.path_without_query());
            let rest = message.path.get(matched.len()..).unwrap_or_default();
            Some(format!("{prefix}{rest}"))
        }
        Some(PathRewriteSpecifier::RegexRewrite(rule)) => {
            rewrite::by_regex(rule, message, substitutions)
        }
        _ => None,
    }
}

/// The status of the redirect.
pub(crate) fn status(action: &RedirectAction) -> u32 {
    match RedirectResponseCode::try_from(action.response_code) {
        Ok(RedirectResponseCode::Found) => 302,
        Ok(RedirectResponseCode::SeeOther) => 303,
        Ok(RedirectResponseCode::TemporaryRedirect) => 307,
        Ok(RedirectResponseCode::PermanentRedirect) => 308,
        Ok(RedirectResponseCode::MovedPermanently) | Err(_) => 301,
    }
}

/// Where a virtual host with `require_tls` sends a request that is not; the status is 301.
pub(crate) fn to_tls(message: &Message) -> String {
    format!("https://{}{}", message.authority, message.path)
}

/// The request's authority. Its port goes where a new one comes, and where it was the default of
/// the scheme that is left.
fn own_host<'a>(message: &'a Message, scheme: &str, has_new_port: bool) -> &'a str {
    let authority = message.authority.as_str();
    let colon = if authority.starts_with('[') {
        authority.rfind("]:").map(|bracket| bracket + 1)
    } else {
        authority.rfind(':')
    };
    let Some(colon) = colon else {
        return authority;
    };
    let (host, port) = authority.split_at(colon);
    let was = &message.forwarded_proto;
    let was_default = (was.eq_ignore_ascii_case("https") && port == ":443")
        || (was.eq_ignore_ascii_case("http") && port == ":80");
    if has_new_port || (scheme != was && was_default) {
        host
    } else {
        authority
    }
}

/// The new path with its query.
fn path(
    action: &RedirectAction,
    route_match: &RouteMatch,
    message: &Message,
    substitutions: &Substitutions,
    (request, facts): (&Lines, &Facts<'_>),
) -> Known<String> {
    let (_, query) = split_query(&message.path);
    let path = match &action.path_rewrite_specifier {
        Some(PathRewriteSpecifier::PathRedirect(path)) if !path.is_empty() => {
            // A query of its own displaces the request's, and is never stripped.
            if path.contains('?') {
                return Ok(path.clone());
            }
            format!("{path}{query}")
        }
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) if !prefix.is_empty() => {
            let matched = path::matched_part(route_match, message.path_without_query());
            let rest = message.path.get(matched.len()..).unwrap_or_default();
            format!("{prefix}{rest}")
        }
        None
        | Some(PathRewriteSpecifier::PathRedirect(_) | PathRewriteSpecifier::PrefixRewrite(_)) => {
            message.path.clone()
        }
        Some(PathRewriteSpecifier::RegexRewrite(rule)) => {
            let path = rewrite::by_regex(rule, message, substitutions);
            path.ok_or_else(|| Undecided::new("the redirect's regex_rewrite is not decided"))?
        }
        Some(PathRewriteSpecifier::PathRewrite(format)) => {
            match rewrite::by_format(format, request, facts)? {
                // As with path_redirect.
                Some(path) if path.contains('?') => return Ok(path),
                Some(path) => format!("{path}{query}"),
                None => message.path.clone(),
            }
        }
    };
    if action.strip_query {
        return Ok(split_query(&path).0.to_owned());
    }
    Ok(path)
}

/// The path, and the query with its question mark.
fn split_query(path: &str) -> (&str, &str) {
    path.split_at(path.find('?').unwrap_or(path.len()))
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
    use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
    use rstest::rstest;

    use super::*;
    use crate::substitution::tests::{rule, substitutions};

    fn message(scheme: &str, authority: &str, path: &str) -> Message {
        Message {
            scheme: scheme.to_ascii_lowercase(),
            forwarded_proto: scheme.to_owned(),
            authority: authority.to_owned(),
            path: path.to_owned(),
            ..Message::default()
        }
    }

    fn https() -> RedirectAction {
        RedirectAction {
            scheme_rewrite_specifier: Some(SchemeRewriteSpecifier::HttpsRedirect(true)),
            ..RedirectAction::default()
        }
    }

    fn scheme(scheme: &str) -> RedirectAction {
        RedirectAction {
            scheme_rewrite_specifier: Some(SchemeRewriteSpecifier::SchemeRedirect(
                scheme.to_owned(),
            )),
            ..RedirectAction::default()
        }
    }

    fn port(port: u32) -> RedirectAction {
        RedirectAction {
            port_redirect: port,
            ..RedirectAction::default()
        }
    }

    fn host(host: &str, port: u32) -> RedirectAction {
        RedirectAction {
            host_redirect: host.to_owned(),
            port_redirect: port,
            ..RedirectAction::default()
        }
    }

    fn to_path(path: &str, strip_query: bool) -> RedirectAction {
        RedirectAction {
            path_rewrite_specifier: Some(PathRewriteSpecifier::PathRedirect(path.to_owned())),
            strip_query,
            ..RedirectAction::default()
        }
    }

    fn prefix(prefix: &str, strip_query: bool) -> RedirectAction {
        RedirectAction {
            path_rewrite_specifier: Some(PathRewriteSpecifier::PrefixRewrite(prefix.to_owned())),
            strip_query,
            ..RedirectAction::default()
        }
    }

    fn request(message: &Message) -> Lines {
        Lines::of_message(message, &HttpConnectionManager::default())
    }

    fn by_format(format: &str, strip_query: bool) -> RedirectAction {
        let format = PathRewriteSpecifier::PathRewrite(format.to_owned());
        RedirectAction {
            path_rewrite_specifier: Some(format),
            strip_query,
            ..RedirectAction::default()
        }
    }

    fn by_regex(pattern: &str, substitution: &str, strip_query: bool) -> RedirectAction {
        let rule = rule(pattern, substitution);
        RedirectAction {
            path_rewrite_specifier: Some(PathRewriteSpecifier::RegexRewrite(rule)),
            strip_query,
            ..RedirectAction::default()
        }
    }

    // What Envoy 1.40 answered.
    #[rstest]
    #[case(https(), "http", "v:80", "/a?b", "https://v/a?b")]
    #[case(https(), "http", "v:443", "/a", "https://v:443/a")]
    #[case(https(), "https", "v:443", "/a", "https://v:443/a")]
    #[case(https(), "HTTPS", "v:443", "/a", "https://v/a")]
    #[case(scheme("ftp"), "http", "v:80", "/a", "ftp://v/a")]
    #[case(scheme("ftp"), "http", "v:443", "/a", "ftp://v:443/a")]
    #[case(port(8443), "http", "v:80", "/a", "http://v:8443/a")]
    #[case(port(8443), "http", "v:443", "/a", "http://v:8443/a")]
    #[case(port(8443), "http", "[::1]:80", "/a", "http://[::1]:8443/a")]
    #[case(port(8443), "http", "[::1]", "/a", "http://[::1]:8443/a")]
    #[case(port(8443), "http", "::1", "/a", "http://::8443/a")]
    #[case(port(8443), "http", "", "/a", "http://:8443/a")]
    #[case(https(), "http", "[::1].:80", "/a", "https://[::1].:80/a")]
    #[case(port(8443), "http", "[::1].:80", "/a", "http://[::1].:80:8443/a")]
    #[case(https(), "http", "[::1]:80:80", "/a", "https://[::1]:80:80/a")]
    #[case(port(8443), "http", "[::1]:80:80", "/a", "http://[::1]:8443/a")]
    #[case(https(), "http", "a:80:80", "/a", "https://a:80/a")]
    #[case(port(8443), "http", "a:80:80", "/a", "http://a:80:8443/a")]
    #[case(https(), "http", "a:80]", "/a", "https://a:80]/a")]
    #[case(port(8443), "http", "a:80]", "/a", "http://a:8443/a")]
    #[case(https(), "http", "[:80", "/a", "https://[:80/a")]
    #[case(port(8443), "http", "[:80", "/a", "http://[:80:8443/a")]
    #[case(host("x.test:1", 8443), "http", "v", "/a", "http://x.test:1:8443/a")]
    #[case(host("x.test", 0), "http", "v:80", "/a", "http://x.test/a")]
    #[case(to_path("/n", false), "http", "v", "/a?b", "http://v/n?b")]
    #[case(to_path("/n", true), "http", "v", "/a?b", "http://v/n")]
    #[case(to_path("/n?k=1", true), "http", "v", "/a?b", "http://v/n?k=1")]
    #[case(to_path("n", false), "http", "v", "/a?z", "http://v/n?z")]
    #[case(prefix("/new", false), "http", "v", "/pref/x?y", "http://v/new/x?y")]
    #[case(prefix("/new", true), "http", "v", "/prefx?y", "http://v/newx")]
    #[case(RedirectAction { strip_query: true, ..https() }, "http", "v", "/a?b", "https://v/a")]
    #[case(by_regex("a", "b", false), "http", "v", "/ax?a", "http://v/bx?a")]
    #[case(by_regex("a", "?x", true), "http", "v", "/a/a?y", "http://v/")]
    #[case(by_regex(".*", "", false), "http", "v", "/x?y", "http://v/x?y")]
    #[case(by_format("/lit", false), "http", "v", "/x?y", "http://v/lit?y")]
    #[case(by_format("lit", true), "http", "v", "/x?y", "http://v/lit")]
    #[case(by_format("%REQ(no)%", false), "http", "v", "/x?y", "http://v/x?y")]
    #[case(by_format("%REQ(no)%", true), "http", "v", "/x?y", "http://v/x")]
    #[case(
        by_format("%PATH(NQ)%/z", false),
        "http",
        "v",
        "/x?y",
        "http://v/x/z?y"
    )]
    #[case(by_format("/n?k=1", true), "http", "v", "/x?y", "http://v/n?k=1")]
    #[case(
        by_format("%QUERY_PARAMS%", false),
        "http",
        "v",
        "/x?y",
        "http://v/y?y"
    )]
    #[case(by_format("-", false), "http", "v", "/x?y", "http://v/-?y")]
    fn locations(
        #[case] action: RedirectAction,
        #[case] scheme: &str,
        #[case] authority: &str,
        #[case] path: &str,
        #[case] expected: &str,
    ) {
        let route_match = RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/pref".to_owned())),
            ..RouteMatch::default()
        };
        let message = message(scheme, authority, path);
        let location = location(
            &action,
            &route_match,
            &message,
            &substitutions(&["a", ".*"]),
            (&request(&message), &Facts::OfTool),
        );
        assert_eq!(location.as_deref(), Ok(expected));
    }

    #[test]
    fn an_exact_path_is_replaced_as_a_whole() {
        let route_match = RouteMatch {
            path_specifier: Some(PathSpecifier::Path("/px".to_owned())),
            ..RouteMatch::default()
        };
        let message = message("http", "v", "/px?y");
        let location = location(
            &prefix("/new", false),
            &route_match,
            &message,
            &Substitutions::default(),
            (&request(&message), &Facts::OfTool),
        );
        assert_eq!(location.as_deref(), Ok("http://v/new?y"));
    }

    #[rstest]
    #[case(RedirectResponseCode::MovedPermanently, 301)]
    #[case(RedirectResponseCode::Found, 302)]
    #[case(RedirectResponseCode::SeeOther, 303)]
    #[case(RedirectResponseCode::TemporaryRedirect, 307)]
    #[case(RedirectResponseCode::PermanentRedirect, 308)]
    fn statuses(#[case] code: RedirectResponseCode, #[case] expected: u32) {
        let action = RedirectAction {
            response_code: code as i32,
            ..RedirectAction::default()
        };
        assert_eq!(status(&action), expected);
    }
}
