//! Values at the boundaries of a matcher.

use envoy_types::pb::envoy::config::route::v3::{
    CookieMatcher, HeaderMatcher, QueryParameterMatcher, RouteMatch,
    header_matcher::HeaderMatchSpecifier, query_parameter_matcher::QueryParameterMatchSpecifier,
    route_match::PathSpecifier,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};

use twinmesh_xds::uri_template;

use super::draft::CONNECT;
use super::sample;

/// A value that a matcher is asked about, and what is particular about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe {
    /// In words.
    pub(crate) label: String,
    /// One for each line of a header; none: it is missing.
    pub(crate) values: Vec<String>,
}

fn probe(label: &str, value: impl Into<String>) -> Probe {
    Probe {
        label: label.to_owned(),
        values: vec![value.into()],
    }
}

fn missing() -> Probe {
    Probe {
        label: "missing".to_owned(),
        values: Vec::new(),
    }
}

/// The probes of a header matcher, for values that can stand in a header.
pub(crate) fn header(matcher: &HeaderMatcher) -> Vec<Probe> {
    #[expect(deprecated, reason = "snapshots have them")]
    let mut probes = match &matcher.header_match_specifier {
        Some(HeaderMatchSpecifier::StringMatch(string)) => of_string(string),
        Some(HeaderMatchSpecifier::ExactMatch(text)) => exact(text),
        Some(HeaderMatchSpecifier::PrefixMatch(text)) => prefix(text),
        Some(HeaderMatchSpecifier::SuffixMatch(text)) => suffix(text),
        Some(HeaderMatchSpecifier::ContainsMatch(text)) => contains(text),
        Some(HeaderMatchSpecifier::SafeRegexMatch(pattern)) => regex(&pattern.regex),
        Some(HeaderMatchSpecifier::RangeMatch(range)) => vec![
            probe("the first of the range", range.start.to_string()),
            probe(
                "the last of the range",
                range.end.saturating_sub(1).to_string(),
            ),
            probe("the range's end", range.end.to_string()),
            probe("below the range", range.start.saturating_sub(1).to_string()),
            probe("no number", "x"),
        ],
        Some(HeaderMatchSpecifier::PresentMatch(_)) | None => {
            vec![probe("present", "1"), probe("present and empty", "")]
        }
    };
    let pseudo = matcher.name.starts_with(':') || matcher.name.eq_ignore_ascii_case("host");
    if matcher.name == ":method" {
        let methods = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"];
        probes.extend(methods.map(|method| probe(&format!("method {method}"), method)));
    }
    if !pseudo {
        probes.push(missing());
    }
    probes.retain(|probe| probe.values.iter().all(|value| fits_a_header(value)));
    distinct(probes)
}

/// The probes of a query parameter matcher, for values that can stand in a query.
pub(crate) fn query_parameter(matcher: &QueryParameterMatcher) -> Vec<Probe> {
    let mut probes = match &matcher.query_parameter_match_specifier {
        Some(QueryParameterMatchSpecifier::StringMatch(string)) => of_string(string),
        Some(QueryParameterMatchSpecifier::PresentMatch(_)) | None => {
            vec![probe("present", "1"), probe("present and empty", "")]
        }
    };
    probes.push(missing());
    probes.retain(|probe| probe.values.iter().all(|value| fits_a_query(value)));
    distinct(probes)
}

/// The probes of a cookie's matcher, for values that can stand in a cookie.
pub(crate) fn cookie(matcher: &CookieMatcher) -> Vec<Probe> {
    let string = matcher.string_match.as_ref();
    let mut probes = string.map_or_else(Vec::new, of_string);
    probes.push(missing());
    probes.retain(|probe| probe.values.iter().all(|value| fits_a_cookie(value)));
    distinct(probes)
}

/// The probes of `grpc`: content types.
pub(crate) fn grpc() -> Vec<Probe> {
    vec![
        probe("gRPC", "application/grpc"),
        probe("gRPC with a format", "application/grpc+proto"),
        probe("gRPC-Web", "application/grpc-web"),
        missing(),
    ]
}

/// The probes of `tls_context`.
pub(crate) fn tls_context() -> Vec<Probe> {
    vec![
        probe("a certificate that was validated", "validated"),
        probe("a certificate that was not validated", "presented"),
        missing(),
    ]
}

/// The probes of a path matcher: paths without a query.
pub(crate) fn path(route_match: &RouteMatch) -> Vec<Probe> {
    let mut probes = match &route_match.path_specifier {
        Some(PathSpecifier::ConnectMatcher(_)) => {
            return vec![probe("CONNECT", CONNECT), probe("another method", "/")];
        }
        Some(PathSpecifier::Path(text)) => {
            let mut probes = exact(text);
            probes.push(probe("a slash more", format!("{text}/")));
            probes
        }
        Some(PathSpecifier::Prefix(text)) => {
            let mut probes = prefix(text);
            probes.push(probe("below it", below(text)));
            probes
        }
        Some(PathSpecifier::PathSeparatedPrefix(text)) => {
            let mut probes = prefix(text);
            probes.push(probe("a slash more", format!("{text}/")));
            probes.push(probe("below it", below(text)));
            probes
        }
        Some(PathSpecifier::SafeRegex(pattern)) => regex(&pattern.regex),
        Some(PathSpecifier::PathMatchPolicy(policy)) => {
            let template = uri_template::template(policy);
            let pattern = template.and_then(|template| uri_template::regex(&template).ok());
            pattern.map_or_else(Vec::new, |pattern| regex(&pattern))
        }
        _ => vec![probe("any", "/")],
    };
    probes.retain(|probe| probe.values.iter().all(|path| is_a_path(path)));
    distinct(probes)
}

/// Further paths that the path matcher may accept, for where others get before the plain ones.
pub(crate) fn further_paths(route_match: &RouteMatch) -> Vec<String> {
    let text = match &route_match.path_specifier {
        Some(PathSpecifier::Prefix(text) | PathSpecifier::PathSeparatedPrefix(text)) => text,
        _ => return Vec::new(),
    };
    let text = if text.is_empty() { "/" } else { text };
    let below = below(text);
    let mut paths = vec![
        format!("{text}~"),
        format!("{text}~/~"),
        format!("{below}~"),
        format!("{below}/~/~"),
        format!("{text}0"),
    ];
    paths.retain(|path| is_a_path(path));
    paths
}

fn below(text: &str) -> String {
    format!("{}/x", text.strip_suffix('/').unwrap_or(text))
}

fn of_string(matcher: &StringMatcher) -> Vec<Probe> {
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => exact(text),
        Some(MatchPattern::Prefix(text)) => prefix(text),
        Some(MatchPattern::Suffix(text)) => suffix(text),
        Some(MatchPattern::Contains(text)) => contains(text),
        Some(MatchPattern::SafeRegex(pattern)) => regex(&pattern.regex),
        Some(MatchPattern::Custom(_)) | None => vec![probe("present", "1")],
    }
}

fn exact(text: &str) -> Vec<Probe> {
    let mut probes = vec![
        probe("equal", text),
        probe("one character more", format!("{text}x")),
    ];
    probes.extend(nearby(text));
    probes
}

fn prefix(text: &str) -> Vec<Probe> {
    let mut probes = vec![
        probe("the prefix alone", text),
        probe("one character more", format!("{text}x")),
        probe("another character before it", format!("x{text}")),
    ];
    probes.extend(nearby(text));
    probes
}

fn suffix(text: &str) -> Vec<Probe> {
    let mut probes = vec![
        probe("the suffix alone", text),
        probe("one character before it", format!("x{text}")),
        probe("another character behind it", format!("{text}x")),
        probe(
            "one character less",
            text.chars().skip(1).collect::<String>(),
        ),
    ];
    probes.extend(nearby(text).into_iter().skip(1));
    probes
}

fn contains(text: &str) -> Vec<Probe> {
    let mut probes = vec![
        probe("that alone", text),
        probe("in the middle", format!("x{text}x")),
    ];
    probes.extend(nearby(text));
    probes
}

fn nearby(text: &str) -> [Probe; 3] {
    let mut less = text.to_owned();
    less.pop();
    [
        probe("one character less", less),
        probe("other case", flip(text)),
        probe("empty", ""),
    ]
}

fn regex(pattern: &str) -> Vec<Probe> {
    let texts = sample::matching(pattern);
    let beside = sample::beside(&texts);
    let texts = texts.into_iter().enumerate();
    let texts = texts.map(|(index, text)| probe(&format!("text {} for it", index + 1), text));
    let beside = beside.into_iter().enumerate();
    let beside = beside.map(|(index, text)| probe(&format!("text {} beside it", index + 1), text));
    texts.chain(beside).collect()
}

/// The case of every letter changed.
pub(crate) fn flip(text: &str) -> String {
    text.chars()
        .map(|letter| {
            if letter.is_ascii_lowercase() {
                letter.to_ascii_uppercase()
            } else {
                letter.to_ascii_lowercase()
            }
        })
        .collect()
}

fn distinct(probes: Vec<Probe>) -> Vec<Probe> {
    let mut out: Vec<Probe> = Vec::with_capacity(probes.len());
    for probe in probes {
        if out.iter().all(|other| other.values != probe.values) {
            out.push(probe);
        }
    }
    out
}

fn fits_a_header(value: &str) -> bool {
    value.trim() == value && value.chars().all(|letter| !letter.is_control())
}

fn fits_a_cookie(value: &str) -> bool {
    value
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b';' | b'"'))
}

fn fits_a_query(value: &str) -> bool {
    value
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'&' | b'#'))
}

/// A path that no connection manager changes: what it would make of dots and escapes is not the
/// matcher's business.
pub(crate) fn is_a_path(path: &str) -> bool {
    path.starts_with('/')
        && path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'))
        && !path.split('/').any(|part| part == "." || part == "..")
}
