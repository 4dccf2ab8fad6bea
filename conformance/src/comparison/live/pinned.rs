//! What of a request settles a choice that is otherwise drawn.

use super::managed::Managed;
use envoy_types::pb::envoy::config::route::v3::{
    RouteAction, WeightedCluster, route_action::hash_policy::PolicySpecifier,
    weighted_cluster::RandomValueSpecifier,
};

/// Whether something is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Settled {
    /// It is not.
    No,
    /// It is, unless what the request has there counts as nothing.
    Perhaps,
    /// It is.
    Yes,
}

/// Whether the request settles which of the weighted clusters is chosen: by one header that is a
/// number, or by a hash.
pub fn is_pinned(managed: &Managed, action: &RouteAction, weighted: &WeightedCluster) -> Settled {
    if !managed.is_known() {
        return Settled::Perhaps;
    }
    match &weighted.random_value_specifier {
        Some(RandomValueSpecifier::HeaderName(name)) => {
            let settled = match &managed.values(name)[..] {
                [value] if is_number(value) => Settled::Yes,
                _ => Settled::No,
            };
            settled.min(most(managed, name))
        }
        Some(RandomValueSpecifier::UseHashPolicy(uses)) if uses.value => has_hash(managed, action),
        _ => Settled::No,
    }
}

/// Whether one of the route's hash policies makes a hash of the request.
pub fn has_hash(managed: &Managed, action: &RouteAction) -> Settled {
    if !managed.is_known() {
        return Settled::Perhaps;
    }
    let policies = action.hash_policy.iter();
    let hashes = policies.map(|policy| match &policy.policy_specifier {
        Some(PolicySpecifier::Header(header)) => {
            let name = &header.header_name;
            let values = managed.values(name);
            all_say(values.iter().map(String::as_str)).min(most(managed, name))
        }
        Some(PolicySpecifier::Cookie(cookie)) => {
            let lines = managed.values("cookie");
            let pairs = lines.iter().flat_map(|line| line.split(';'));
            all_say(pairs.filter_map(|pair| value_of(pair, &cookie.name)))
        }
        Some(PolicySpecifier::QueryParameter(parameter)) => {
            let pairs = managed.query().split('&');
            let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            let named = pairs.filter(|(name, _)| *name == parameter.name);
            all_say(named.map(|(_, value)| value))
        }
        Some(PolicySpecifier::ConnectionProperties(connection)) if connection.source_ip => {
            Settled::Yes
        }
        _ => Settled::No,
    });
    hashes.max().unwrap_or(Settled::No)
}

/// The value of the cookie if that is its name: a space behind the name is part of it.
fn value_of<'a>(cookie: &'a str, name: &str) -> Option<&'a str> {
    let (other, value) = cookie.trim_start_matches(' ').split_once('=')?;
    (other == name).then_some(value)
}

/// What a header settles at most.
fn most(managed: &Managed, name: &str) -> Settled {
    let mut uncertain = managed.uncertain.iter();
    match uncertain.any(|it| it.eq_ignore_ascii_case(name)) {
        true => Settled::Perhaps,
        false => Settled::Yes,
    }
}

/// Of values that are looked at the first one counts, or all do: an empty one says nothing.
fn all_say<'a>(values: impl Iterator<Item = &'a str>) -> Settled {
    let says = |value: &str| !value.trim_matches([' ', '\t', '"']).is_empty();
    let said = values.map(|value| {
        if says(value) {
            Settled::Yes
        } else {
            Settled::Perhaps
        }
    });
    said.min().unwrap_or(Settled::No)
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

    use super::{Settled, all_say, is_number, value_of};

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

    #[rstest]
    #[case("  b=1", Some("1"))]
    #[case("b =1", None)]
    #[case("\tb=1", None)]
    #[case("b", None)]
    fn cookies(#[case] cookie: &str, #[case] expected: Option<&str>) {
        assert_eq!(value_of(cookie, "b"), expected);
    }

    #[rstest]
    #[case(&[], Settled::No)]
    #[case(&["a", "b"], Settled::Yes)]
    #[case(&[""], Settled::Perhaps)]
    #[case(&["a", "\"\""], Settled::Perhaps)]
    fn empty_values_may_say_nothing(#[case] values: &[&str], #[case] expected: Settled) {
        assert_eq!(all_say(values.iter().copied()), expected);
    }
}
