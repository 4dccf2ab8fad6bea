//! Whatever is not a prefix becomes an empty one, which matches everything (inferred from the
//! translation of routes, which copies prefixes only).

use envoy_types::pb::envoy::config::route::v3::{RouteMatch, route_match::PathSpecifier};

/// The prefix that Kmesh looks for, where it looks for one at all.
pub(crate) fn prefix(matched: &RouteMatch) -> Option<&str> {
    match &matched.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => Some(prefix),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_prefixes_are_looked_for() {
        let of = |specifier| {
            prefix(&RouteMatch {
                path_specifier: specifier,
                ..RouteMatch::default()
            })
            .map(str::to_owned)
        };
        assert_eq!(
            of(Some(PathSpecifier::Prefix("/a".into()))),
            Some("/a".into())
        );
        assert_eq!(of(Some(PathSpecifier::Path("/a".into()))), None);
        assert_eq!(
            of(Some(PathSpecifier::PathSeparatedPrefix("/a".into()))),
            None
        );
        assert_eq!(of(None), None);
    }
}
