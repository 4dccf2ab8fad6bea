//! What a redirect answers (`RedirectAction`): text that the model does not make, since no
//! decision hangs on it.

use envoy_types::pb::envoy::config::route::v3::{
    RedirectAction, Route,
    redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
};

use crate::rewrite::{prefix_length, substituted};
use crate::seen::Seen;
use crate::substitution::Substitutions;

/// `response_code`.
pub fn status(action: &RedirectAction) -> u32 {
    match RedirectResponseCode::try_from(action.response_code) {
        Ok(RedirectResponseCode::Found) => 302,
        Ok(RedirectResponseCode::SeeOther) => 303,
        Ok(RedirectResponseCode::TemporaryRedirect) => 307,
        Ok(RedirectResponseCode::PermanentRedirect) => 308,
        _ => 301,
    }
}

/// The `Location` header; `made` is what `path_rewrite` comes to.
pub fn location(
    seen: &Seen,
    route: &Route,
    action: &RedirectAction,
    substitutions: &Substitutions,
    made: Option<&str>,
) -> String {
    let scheme = match &action.scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => "https",
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) if !scheme.is_empty() => scheme,
        _ => &seen.scheme,
    };
    let port = if action.port_redirect == 0 {
        String::new()
    } else {
        format!(":{}", action.port_redirect)
    };
    let host = if action.host_redirect.is_empty() {
        host(seen, scheme, &port)
    } else {
        &action.host_redirect
    };
    let path = path(seen, route, action, substitutions, made);
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("{scheme}://{host}{port}{slash}{path}")
}

/// The request's host, without a port that a new one replaces or that was its scheme's default
/// when the scheme changes.
fn host<'a>(seen: &'a Seen, scheme: &str, new_port: &str) -> &'a str {
    let authority = seen.authority.as_str();
    // Without brackets the last colon counts, be it an IPv6 address or not.
    let colon = if authority.starts_with('[') {
        authority.rfind("]:").map(|bracket| bracket + 1)
    } else {
        authority.rfind(':')
    };
    let Some(colon) = colon else {
        return authority;
    };
    let (host, port) = authority.split_at(colon);
    let default = match seen.forwarded_proto.to_ascii_lowercase().as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => return if new_port.is_empty() { authority } else { host },
    };
    let left = scheme != seen.forwarded_proto && port == default;
    if left || !new_port.is_empty() {
        host
    } else {
        authority
    }
}

/// The path and query.
fn path(
    seen: &Seen,
    route: &Route,
    action: &RedirectAction,
    substitutions: &Substitutions,
    made: Option<&str>,
) -> String {
    let own = seen.path.as_str();
    let query_at = own.find('?').unwrap_or(own.len());
    let (own_path, query) = own.split_at(query_at);
    let (path, query) = match &action.path_rewrite_specifier {
        Some(PathRewriteSpecifier::PathRedirect(path)) if path.contains('?') => {
            return path.clone();
        }
        Some(PathRewriteSpecifier::PathRedirect(path)) if !path.is_empty() => (path.clone(), query),
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) if !prefix.is_empty() => {
            let matched = prefix_length(route, seen);
            (
                format!("{prefix}{}", own_path.get(matched..).unwrap_or_default()),
                query,
            )
        }
        Some(PathRewriteSpecifier::RegexRewrite(rule)) => {
            (substituted(substitutions, rule, seen), "")
        }
        Some(PathRewriteSpecifier::PathRewrite(_)) => match made.unwrap_or_default() {
            "" => (own_path.to_owned(), query),
            made if made.contains('?') => return made.to_owned(),
            made => (made.to_owned(), query),
        },
        _ => (own_path.to_owned(), query),
    };
    if action.strip_query {
        path.split('?').next().unwrap_or_default().to_owned()
    } else {
        path + query
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The authority, and where Envoy 1.40 sends it with `https_redirect` and with
    /// `port_redirect: 81`.
    const AUTHORITIES: &[(&str, &str, &str)] = &[
        ("a.com", "https://a.com/", "http://a.com:81/"),
        ("a.com:80", "https://a.com/", "http://a.com:81/"),
        ("a.com:443", "https://a.com:443/", "http://a.com:81/"),
        ("a.com:80:80", "https://a.com:80/", "http://a.com:80:81/"),
        ("[::1]:80", "https://[::1]/", "http://[::1]:81/"),
        ("[::1].:80", "https://[::1].:80/", "http://[::1].:80:81/"),
        ("[::1]:80:80", "https://[::1]:80:80/", "http://[::1]:81/"),
        ("[::1]]:80", "https://[::1]]/", "http://[::1]]:81/"),
        ("[:80", "https://[:80/", "http://[:80:81/"),
        ("a:80]", "https://a:80]/", "http://a:81/"),
        ("x[::1]:80", "https://x[::1]/", "http://x[::1]:81/"),
        (":80", "https:///", "http://:81/"),
        ("::1", "https://::1/", "http://::81/"),
        ("a.com:080", "https://a.com:080/", "http://a.com:81/"),
    ];

    #[test]
    fn hosts_lose_their_port_as_in_envoy() {
        let https = RedirectAction {
            scheme_rewrite_specifier: Some(SchemeRewriteSpecifier::HttpsRedirect(true)),
            ..RedirectAction::default()
        };
        let port = RedirectAction {
            port_redirect: 81,
            ..RedirectAction::default()
        };
        for (authority, to_https, to_port) in AUTHORITIES {
            let seen = Seen {
                authority: (*authority).to_owned(),
                path: "/".to_owned(),
                scheme: "http".to_owned(),
                forwarded_proto: "http".to_owned(),
                grpc: false,
                ..Seen::default()
            };
            let route = Route::default();
            assert_eq!(
                location(&seen, &route, &https, &Substitutions::default(), None),
                *to_https
            );
            assert_eq!(
                location(&seen, &route, &port, &Substitutions::default(), None),
                *to_port
            );
        }
    }
}
