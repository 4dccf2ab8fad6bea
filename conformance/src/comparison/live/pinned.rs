//! What of a request settles a choice that is otherwise drawn.

use envoy_types::pb::envoy::config::route::v3::{
    RouteAction, WeightedCluster, route_action::hash_policy::PolicySpecifier,
    weighted_cluster::RandomValueSpecifier,
};
use twinmesh_engine::Request;

/// Whether the request settles which of the weighted clusters is chosen: by one header that is a
/// number, or by a hash.
pub fn is_pinned(request: &Request, action: &RouteAction, weighted: &WeightedCluster) -> bool {
    match &weighted.random_value_specifier {
        Some(RandomValueSpecifier::HeaderName(name)) => {
            let mut values = values(request, name);
            match (values.next(), values.next()) {
                (Some(value), None) => is_number(value),
                _ => false,
            }
        }
        Some(RandomValueSpecifier::UseHashPolicy(uses)) => uses.value && has_hash(request, action),
        None => false,
    }
}

/// Whether one of the route's hash policies makes a hash of the request.
pub fn has_hash(request: &Request, action: &RouteAction) -> bool {
    action
        .hash_policy
        .iter()
        .any(|policy| match &policy.policy_specifier {
            Some(PolicySpecifier::Header(header)) => {
                values(request, &header.header_name).next().is_some()
            }
            Some(PolicySpecifier::Cookie(cookie)) => values(request, "cookie")
                .flat_map(|line| line.split(';'))
                .filter_map(|pair| pair.split_once('='))
                .any(|(name, _)| name.trim() == cookie.name),
            Some(PolicySpecifier::QueryParameter(parameter)) => {
                let query = request.path.split_once('?').map_or("", |(_, query)| query);
                let names = query.split('&').map(|pair| pair.split('=').next());
                names.flatten().any(|name| name == parameter.name)
            }
            Some(PolicySpecifier::ConnectionProperties(connection)) => connection.source_ip,
            _ => false,
        })
}

fn values<'a>(request: &'a Request, name: &'a str) -> impl Iterator<Item = &'a str> {
    let pseudo = match name.to_ascii_lowercase().as_str() {
        ":path" => Some(request.path.as_str()),
        ":method" => Some(request.method.as_str()),
        ":authority" | "host" => request.authority.as_deref(),
        _ => None,
    };
    let headers = request
        .headers
        .iter()
        .filter(move |(header, _)| header.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str());
    pseudo.into_iter().chain(headers)
}

/// As absl::SimpleAtoi reads a 64-bit number.
fn is_number(text: &str) -> bool {
    let digits = text.trim_ascii();
    let digits = digits.strip_prefix('+').unwrap_or(digits);
    digits.starts_with(|it: char| it.is_ascii_digit()) && digits.parse::<u64>().is_ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::is_number;

    #[rstest]
    #[case("95", true)]
    #[case("+95", true)]
    #[case(" 095 ", true)]
    #[case("18446744073709551616", false)]
    #[case("-1", false)]
    #[case("++1", false)]
    #[case("95.0", false)]
    #[case("0x5f", false)]
    #[case("", false)]
    fn numbers(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_number(text), expected);
    }
}
