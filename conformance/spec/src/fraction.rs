//! `RouteMatch.runtime_fraction`: the share of the requests that a route takes.

use envoy_types::pb::envoy::config::route::v3::RouteMatch;
use envoy_types::pb::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};

/// Whether the share includes the request with this random number, which is the one that weighted
/// clusters take too. What the runtime may say of `runtime_key` is not looked at.
pub(crate) fn includes(route_match: &RouteMatch, random: u64) -> bool {
    let Some(fraction) = &route_match.runtime_fraction else {
        return true;
    };
    contains(&fraction.default_value.unwrap_or_default(), random)
}

/// Whether a share of all numbers contains this one.
pub(crate) fn contains(share: &FractionalPercent, random: u64) -> bool {
    let denominator = match DenominatorType::try_from(share.denominator) {
        Ok(DenominatorType::TenThousand) => 10_000,
        Ok(DenominatorType::Million) => 1_000_000,
        Ok(DenominatorType::Hundred) | Err(_) => 100,
    };
    random % denominator < u64::from(share.numerator)
}

/// Whether the share is everything.
pub(crate) fn is_everything(route_match: &RouteMatch) -> bool {
    // The largest number modulo each denominator.
    includes(route_match, 999_999)
}

/// Whether the share is nothing.
pub(crate) fn is_nothing(route_match: &RouteMatch) -> bool {
    let fraction = route_match.runtime_fraction.as_ref();
    let share = fraction.map(|fraction| fraction.default_value.unwrap_or_default());
    share.is_some_and(|share| share.numerator == 0)
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, DenominatorType::Hundred, 0, false)]
    #[case(1, DenominatorType::Hundred, 0, true)]
    #[case(1, DenominatorType::Hundred, 1, false)]
    #[case(99, DenominatorType::Hundred, 98, true)]
    #[case(99, DenominatorType::Hundred, 199, false)]
    #[case(100, DenominatorType::Hundred, 99, true)]
    #[case(100, DenominatorType::TenThousand, 99, true)]
    #[case(100, DenominatorType::TenThousand, 100, false)]
    #[case(1_000_000, DenominatorType::Million, u64::MAX, true)]
    fn shares(
        #[case] numerator: u32,
        #[case] denominator: DenominatorType,
        #[case] random: u64,
        #[case] expected: bool,
    ) {
        let route_match = RouteMatch {
            runtime_fraction: Some(RuntimeFractionalPercent {
                default_value: Some(FractionalPercent {
                    numerator,
                    denominator: denominator as i32,
                }),
                ..RuntimeFractionalPercent::default()
            }),
            ..RouteMatch::default()
        };
        assert_eq!(includes(&route_match, random), expected);
        assert!(includes(&RouteMatch::default(), random));
        let all = (0..1_000_000).step_by(99).chain([99, 9_999, 999_999]);
        let mut all = all.map(|random| includes(&route_match, random));
        assert_eq!(is_everything(&route_match), all.clone().all(|it| it));
        assert_eq!(is_nothing(&route_match), !all.any(|it| it));
    }
}
