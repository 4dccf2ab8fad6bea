//! Whether a route takes a request, in Envoy's order: runtime fraction, gRPC, headers, query
//! parameters, cookies, TLS, the path last.

use envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use envoy_types::pb::envoy::config::route::v3::{Route, RouteMatch, route_match::PathSpecifier};
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;

use super::{Input, Known, Lines, RouteTable};
use crate::{cookie, path, query_parameter, tls_context, uri_template};

/// What a route's matchers come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All accept.
    Matches,
    /// One does not.
    Fails,
    /// All that are decided accept, and there is one that is not.
    Undecided(&'static str),
}

/// Asks the route's matchers.
pub(super) fn matches(
    route: &Route,
    lines: &Lines,
    input: &Input,
    table: &RouteTable<'_>,
) -> Known<Verdict> {
    let regexes = &table.regexes;
    let nothing = RouteMatch::default();
    let route_match = route.r#match.as_ref().unwrap_or(&nothing);
    if let Some(fraction) = &route_match.runtime_fraction
        && !lets_through(fraction, input)
    {
        return Ok(Verdict::Fails);
    }
    let message = lines.message()?;
    if route_match.grpc.is_some() && !message.is_grpc() {
        return Ok(Verdict::Fails);
    }
    for matcher in &route_match.headers {
        if !table.accepts(matcher, lines)? {
            return Ok(Verdict::Fails);
        }
    }
    let accepts_parameters = route_match
        .query_parameters
        .iter()
        .all(|matcher| query_parameter::matches(matcher, &message.path, regexes));
    // What is not decided counts as accepting.
    let accepts_path = path::matches(route_match, message.path_without_query(), regexes);
    let undecided = undecided(route_match, input);
    let mut cookies = route_match.cookies.iter();
    let accepts_cookies = cookies.all(|matcher| cookie::matches(matcher, &message, regexes));
    // The tool's connections are none of TLS.
    let tls_context = route_match.tls_context.as_ref();
    let accepts_connection = tls_context.is_none_or(|asked| tls_context::matches(asked, None));
    if !accepts_cookies || !accepts_connection {
        return Ok(Verdict::Fails);
    }
    if !accepts_parameters || (!accepts_path && !is_connect(route_match, input)) {
        return Ok(Verdict::Fails);
    }
    Ok(undecided.map_or(Verdict::Matches, Verdict::Undecided))
}

/// Whether a matcher of CONNECT has such a request before it.
fn is_connect(route_match: &RouteMatch, input: &Input) -> bool {
    input.method == "CONNECT"
        && matches!(
            route_match.path_specifier,
            Some(PathSpecifier::ConnectMatcher(_))
        )
}

/// What of a match is not decided.
fn undecided(route_match: &RouteMatch, input: &Input) -> Option<&'static str> {
    let by_policy = match &route_match.path_specifier {
        Some(PathSpecifier::PathMatchPolicy(policy)) => uri_template::of_match(policy).is_none(),
        specifier => specifier.is_none(),
    };
    [
        (by_policy, "its path matcher is not decided"),
        (
            is_connect(route_match, input),
            "the method CONNECT is not decided",
        ),
        (
            !route_match.dynamic_metadata.is_empty(),
            "its metadata matchers are not decided",
        ),
        (
            !route_match.filter_state.is_empty(),
            "its filter state matchers are not decided",
        ),
    ]
    .into_iter()
    .find_map(|(is_there, what)| is_there.then_some(what))
}

/// Whether the runtime lets the request through. The tool's runtime knows one key, that of the
/// test, and takes a numerator of 0 for 1, so that a test can reach such a route.
fn lets_through(fraction: &RuntimeFractionalPercent, input: &Input) -> bool {
    let percent = fraction.default_value.unwrap_or_default();
    let denominator = match DenominatorType::try_from(percent.denominator) {
        Ok(DenominatorType::TenThousand) => 10_000,
        Ok(DenominatorType::Million) => 1_000_000,
        Ok(DenominatorType::Hundred) | Err(_) => 100,
    };
    !input.runtime.is_empty()
        && fraction.runtime_key == input.runtime
        && input.random_value % denominator < u64::from(percent.numerator.max(1))
}
