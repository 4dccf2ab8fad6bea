//! What a redirect answers (`RedirectAction`): text that the model does not make, since no
//! decision hangs on it.

use envoy_types::pb::envoy::config::route::v3::{
    RedirectAction, Route,
    redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
    route_match::PathSpecifier,
};

use crate::seen::Seen;

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

/// The `Location` header.
pub fn location(seen: &Seen, route: &Route, action: &RedirectAction) -> String {
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
    let path = path(seen, route, action);
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("{scheme}://{host}{port}{slash}{path}")
}

/// The request's host, without a port that a new one replaces or that was its scheme's default
/// when the scheme changes.
fn host<'a>(seen: &'a Seen, scheme: &str, new_port: &str) -> &'a str {
    let authority = seen.authority.as_str();
    let after_brackets = authority.rfind(']').map_or(0, |end| end + 1);
    // Without brackets the last colon counts, be it an IPv6 address or not.
    let from = if authority.starts_with('[') {
        after_brackets
    } else {
        0
    };
    let Some(colon) = authority
        .get(from..)
        .and_then(|rest| rest.rfind(':'))
        .map(|at| at + from)
    else {
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
fn path(seen: &Seen, route: &Route, action: &RedirectAction) -> String {
    let own = seen.path.as_str();
    let query_at = own.find('?').unwrap_or(own.len());
    let (own_path, query) = own.split_at(query_at);
    let (path, query) = match &action.path_rewrite_specifier {
        Some(PathRewriteSpecifier::PathRedirect(path)) if path.contains('?') => {
            return path.clone();
        }
        Some(PathRewriteSpecifier::PathRedirect(path)) if !path.is_empty() => (path.clone(), query),
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) if !prefix.is_empty() => {
            let matched = match route
                .r#match
                .as_ref()
                .and_then(|matched| matched.path_specifier.as_ref())
            {
                Some(PathSpecifier::Prefix(text) | PathSpecifier::PathSeparatedPrefix(text)) => {
                    text.len()
                }
                _ => own_path.len(),
            };
            (
                format!("{prefix}{}", own_path.get(matched..).unwrap_or_default()),
                query,
            )
        }
        _ => (own_path.to_owned(), query),
    };
    if action.strip_query {
        path.split('?').next().unwrap_or_default().to_owned()
    } else {
        path + query
    }
}
