//! Matchers of a route in words: what each expects, and what the request has instead.

use envoy_types::pb::envoy::config::route::v3::{
    CookieMatcher, HeaderMatcher, QueryParameterMatcher, RouteMatch,
    header_matcher::HeaderMatchSpecifier,
    query_parameter_matcher::QueryParameterMatchSpecifier,
    route_match::{PathSpecifier, TlsContextMatchOptions},
};
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use twinmesh_engine::{ClientCertificate, Failed, Request};
use twinmesh_spec::reading::Seen;
use twinmesh_xds::uri_template;

/// A route's `match` in words, as one line.
pub fn route_match(route_match: &RouteMatch) -> String {
    let mut parts = vec![path(route_match)];
    parts.extend(route_match.headers.iter().map(header));
    parts.extend(route_match.query_parameters.iter().map(query_parameter));
    parts.extend(route_match.cookies.iter().map(cookie));
    if route_match.grpc.is_some() {
        parts.push("grpc".to_owned());
    }
    parts.extend(route_match.tls_context.as_ref().map(tls_context));
    let metadata = route_match.dynamic_metadata.iter();
    parts.extend(metadata.map(|_| "dynamic metadata".to_owned()));
    if route_match.runtime_fraction.is_some() {
        parts.push("a runtime fraction".to_owned());
    }
    parts.join(", ")
}

/// A matcher: the field of `RouteMatch` that holds it, and what it expects.
pub fn named(route_match: &RouteMatch, matcher: Failed) -> (String, String) {
    match matcher {
        Failed::Header(index) => (
            format!("headers[{index}]"),
            route_match
                .headers
                .get(index)
                .map_or_else(String::new, header),
        ),
        Failed::QueryParameter(index) => {
            let matcher = route_match.query_parameters.get(index);
            (
                format!("query_parameters[{index}]"),
                matcher.map_or_else(String::new, query_parameter),
            )
        }
        Failed::RuntimeFraction => (
            "runtime_fraction".to_owned(),
            "a share of the requests".to_owned(),
        ),
        Failed::Grpc => ("grpc".to_owned(), "a gRPC request".to_owned()),
        Failed::Cookie(index) => (
            format!("cookies[{index}]"),
            route_match
                .cookies
                .get(index)
                .map_or_else(String::new, cookie),
        ),
        Failed::TlsContext => (
            "tls_context".to_owned(),
            route_match
                .tls_context
                .as_ref()
                .map_or_else(String::new, tls_context),
        ),
        Failed::DynamicMetadata(index) => (
            format!("dynamic_metadata[{index}]"),
            "dynamic metadata".to_owned(),
        ),
        Failed::Path => (path_field(route_match).to_owned(), path(route_match)),
    }
}

/// The matcher that failed: the field that holds it, what it expects, and what was found.
/// `seen` is the request behind the connection manager.
pub fn failed(
    route_match: &RouteMatch,
    failed: Failed,
    request: &Request,
    seen: Option<&Seen>,
) -> String {
    match failed {
        Failed::Header(index) => match route_match.headers.get(index) {
            Some(matcher) => format!(
                "match.headers[{index}] expects {}; {}",
                header(matcher),
                found_header(&matcher.name, request, seen)
            ),
            None => format!("match.headers[{index}] does not match"),
        },
        Failed::QueryParameter(index) => match route_match.query_parameters.get(index) {
            Some(matcher) => format!(
                "match.query_parameters[{index}] expects {}; {}",
                query_parameter(matcher),
                found_query_parameter(&matcher.name, seen.map_or(&request.path, Seen::target))
            ),
            None => format!("match.query_parameters[{index}] does not match"),
        },
        Failed::RuntimeFraction => {
            "match.runtime_fraction does not take its random number".to_owned()
        }
        Failed::Grpc => format!(
            "match.grpc expects header content-type application/grpc; {}",
            found_header("content-type", request, seen)
        ),
        Failed::Cookie(index) => match route_match.cookies.get(index) {
            Some(matcher) => format!(
                "match.cookies[{index}] expects {}; {}",
                cookie(matcher),
                found_header("cookie", request, seen)
            ),
            None => format!("match.cookies[{index}] does not match"),
        },
        Failed::TlsContext => format!(
            "match.tls_context expects {}; {}",
            route_match
                .tls_context
                .as_ref()
                .map_or_else(String::new, tls_context),
            found_certificate(request)
        ),
        Failed::DynamicMetadata(index) => format!(
            "match.dynamic_metadata[{index}] finds none: there is no metadata when a route is chosen"
        ),
        Failed::Path => format!(
            "match.{} expects {}; the request has {:?}",
            path_field(route_match),
            path(route_match),
            path_of(request, seen)
        ),
    }
}

/// The request's path without its query, as it is compared.
pub fn path_of<'a>(request: &'a Request, seen: Option<&'a Seen>) -> &'a str {
    if let Some(seen) = seen {
        return seen.path();
    }
    let end = request.path.find('?').unwrap_or(request.path.len());
    request.path.get(..end).unwrap_or(&request.path)
}

/// Whether the path fits, as far as that can be told without the regex engine.
pub fn path_fits(route_match: &RouteMatch, path: &str) -> bool {
    let folded = route_match
        .case_sensitive
        .as_ref()
        .is_some_and(|sensitive| !sensitive.value);
    let fold = |text: &str| {
        if folded {
            text.to_ascii_lowercase()
        } else {
            text.to_owned()
        }
    };
    let path = fold(path);
    match &route_match.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => path.starts_with(&fold(prefix)),
        Some(PathSpecifier::Path(exact)) => path == fold(exact),
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => path
            .strip_prefix(&fold(prefix))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        _ => false,
    }
}

fn path_field(route_match: &RouteMatch) -> &'static str {
    match &route_match.path_specifier {
        Some(PathSpecifier::Prefix(_)) => "prefix",
        Some(PathSpecifier::Path(_)) => "path",
        Some(PathSpecifier::SafeRegex(_)) => "safe_regex",
        Some(PathSpecifier::ConnectMatcher(_)) => "connect_matcher",
        Some(PathSpecifier::PathSeparatedPrefix(_)) => "path_separated_prefix",
        Some(PathSpecifier::PathMatchPolicy(_)) => "path_match_policy",
        None => "path_specifier",
    }
}

fn path(route_match: &RouteMatch) -> String {
    let folded = route_match
        .case_sensitive
        .as_ref()
        .is_some_and(|sensitive| !sensitive.value);
    let text = match &route_match.path_specifier {
        Some(PathSpecifier::Prefix(value)) => format!("a path that starts with {value:?}"),
        Some(PathSpecifier::Path(value)) => format!("the path {value:?}"),
        Some(PathSpecifier::SafeRegex(value)) => format!("a path that matches /{}/", value.regex),
        Some(PathSpecifier::ConnectMatcher(_)) => "a CONNECT request".to_owned(),
        Some(PathSpecifier::PathSeparatedPrefix(value)) => {
            format!("the path {value:?} or one below it")
        }
        Some(PathSpecifier::PathMatchPolicy(policy)) => match uri_template::template(policy) {
            Some(template) => format!("a path of the template {template:?}"),
            None => format!("path_match_policy {}", policy.name),
        },
        None => "any path".to_owned(),
    };
    if folded {
        format!("{text} in any case")
    } else {
        text
    }
}

/// A header matcher in words.
pub fn header(matcher: &HeaderMatcher) -> String {
    #[expect(deprecated, reason = "snapshots have them")]
    let condition = match &matcher.header_match_specifier {
        Some(HeaderMatchSpecifier::ExactMatch(value)) if value.is_empty() => "present".to_owned(),
        Some(HeaderMatchSpecifier::ExactMatch(value)) => format!("exactly {value:?}"),
        Some(HeaderMatchSpecifier::SafeRegexMatch(value)) => format!("matching /{}/", value.regex),
        Some(HeaderMatchSpecifier::RangeMatch(range)) => {
            format!("a number from {} to below {}", range.start, range.end)
        }
        Some(HeaderMatchSpecifier::PresentMatch(true)) | None => "present".to_owned(),
        Some(HeaderMatchSpecifier::PresentMatch(false)) => "absent".to_owned(),
        Some(HeaderMatchSpecifier::PrefixMatch(value)) => format!("starting with {value:?}"),
        Some(HeaderMatchSpecifier::SuffixMatch(value)) => format!("ending in {value:?}"),
        Some(HeaderMatchSpecifier::ContainsMatch(value)) => format!("containing {value:?}"),
        Some(HeaderMatchSpecifier::StringMatch(value)) => string(value),
    };
    let not = if matcher.invert_match { "not " } else { "" };
    let missing = if matcher.treat_missing_header_as_empty {
        " (missing counts as empty)"
    } else {
        ""
    };
    format!("header {} {not}{condition}{missing}", matcher.name)
}

/// A cookie's matcher in words.
pub fn cookie(matcher: &CookieMatcher) -> String {
    let condition = matcher.string_match.as_ref();
    let condition = condition.map_or_else(|| "present".to_owned(), string);
    let not = if matcher.invert_match { "not " } else { "" };
    format!("cookie {} {not}{condition}", matcher.name)
}

/// `tls_context` in words.
fn tls_context(asked: &TlsContextMatchOptions) -> String {
    let side = |asked: bool, what: &str| {
        if asked {
            what.to_owned()
        } else {
            format!("not {what}")
        }
    };
    let presented = asked.presented.as_ref();
    let validated = asked.validated.as_ref();
    let parts: Vec<String> = presented
        .map(|it| side(it.value, "presented"))
        .into_iter()
        .chain(validated.map(|it| side(it.value, "validated")))
        .collect();
    format!("a client certificate {}", parts.join(" and "))
}

fn found_certificate(request: &Request) -> &'static str {
    match request.client_certificate.filter(|_| request.is_tls()) {
        Some(ClientCertificate::Validated) => "the client's was validated",
        Some(ClientCertificate::Presented) => "the client's was presented, and not validated",
        None => "the client presented none",
    }
}

/// A query parameter matcher in words.
pub fn query_parameter(matcher: &QueryParameterMatcher) -> String {
    let condition = match &matcher.query_parameter_match_specifier {
        Some(QueryParameterMatchSpecifier::StringMatch(value)) => string(value),
        Some(QueryParameterMatchSpecifier::PresentMatch(false)) => "absent".to_owned(),
        Some(QueryParameterMatchSpecifier::PresentMatch(true)) | None => "present".to_owned(),
    };
    format!("query parameter {} {condition}", matcher.name)
}

fn string(matcher: &StringMatcher) -> String {
    let text = match &matcher.match_pattern {
        Some(MatchPattern::Exact(value)) => format!("exactly {value:?}"),
        Some(MatchPattern::Prefix(value)) => format!("starting with {value:?}"),
        Some(MatchPattern::Suffix(value)) => format!("ending in {value:?}"),
        Some(MatchPattern::Contains(value)) => format!("containing {value:?}"),
        Some(MatchPattern::SafeRegex(value)) => format!("matching /{}/", value.regex),
        Some(MatchPattern::Custom(custom)) => format!("fit for {}", custom.name),
        None => "of any value".to_owned(),
    };
    if matcher.ignore_case {
        format!("{text} in any case")
    } else {
        text
    }
}

fn found_header(name: &str, request: &Request, seen: Option<&Seen>) -> String {
    let sent = sent(name, request);
    let Some(seen) = seen else {
        return found(&sent);
    };
    let left = seen.values(name);
    if !left.is_empty() || sent.is_empty() {
        let left: Vec<&str> = left.iter().map(String::as_str).collect();
        return found(&left);
    }
    let by = seen.taken_off_by(name);
    let by = by.map_or_else(String::new, |field| format!(" ({field})"));
    format!(
        "{}, but the connection manager takes it off{by}",
        found(&sent)
    )
}

/// The values of a header as the client sent it.
fn sent<'a>(name: &str, request: &'a Request) -> Vec<&'a str> {
    let pseudo = match name.to_ascii_lowercase().as_str() {
        ":method" => Some(Some(request.method.as_str())),
        ":path" => Some(Some(request.path.as_str())),
        ":scheme" => Some(Some(request.scheme.as_str())),
        ":authority" | "host" => Some(request.authority.as_deref()),
        _ => None,
    };
    match pseudo {
        Some(value) => value.into_iter().collect(),
        None => request
            .headers
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect(),
    }
}

fn found_query_parameter(name: &str, target: &str) -> String {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or(query);
    let values: Vec<&str> = query
        .split('&')
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
        .filter(|(other, _)| *other == name)
        .map(|(_, value)| value)
        .take(1)
        .collect();
    found(&values)
}

fn found(values: &[&str]) -> String {
    match values {
        [] => "the request has none".to_owned(),
        [value] => format!("the request has {value:?}"),
        several => {
            let several: Vec<String> = several.iter().map(|value| format!("{value:?}")).collect();
            format!("the request has {}", several.join(" and "))
        }
    }
}
