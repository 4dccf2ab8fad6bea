//! `drop_overloads`: the share of the requests to a cluster that is dropped before an endpoint is
//! looked for.

use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;

use crate::draw::{self, draw};

const MILLION: u64 = 1_000_000;

/// Whether the request is dropped. Envoy draws for it alone (measured on 1.40); it refuses more than
/// one category.
pub(crate) fn drops(assignment: &ClusterLoadAssignment, random: u64) -> bool {
    let policy = assignment.policy.as_ref();
    let overload = policy.and_then(|policy| policy.drop_overloads.first());
    let share = overload.and_then(|overload| overload.drop_percentage);
    let share = share.unwrap_or_default();
    let millionths = match DenominatorType::try_from(share.denominator) {
        Ok(DenominatorType::TenThousand) => MILLION / 10_000,
        Ok(DenominatorType::Million) => 1,
        Ok(DenominatorType::Hundred) | Err(_) => MILLION / 100,
    };
    draw(random, draw::OVERLOAD) % MILLION < u64::from(share.numerator) * millionths
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::endpoint::v3::cluster_load_assignment::{
        Policy, policy::DropOverload,
    };
    use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, DenominatorType::Hundred, 0..1)]
    #[case(100, DenominatorType::Hundred, 10_000..10_001)]
    #[case(30, DenominatorType::Hundred, 2_850..3_150)]
    #[case(3_000, DenominatorType::TenThousand, 2_850..3_150)]
    #[case(300_000, DenominatorType::Million, 2_850..3_150)]
    fn shares(
        #[case] numerator: u32,
        #[case] denominator: DenominatorType,
        #[case] expected: std::ops::Range<usize>,
    ) {
        let assignment = ClusterLoadAssignment {
            policy: Some(Policy {
                drop_overloads: vec![DropOverload {
                    category: "c".to_owned(),
                    drop_percentage: Some(FractionalPercent {
                        numerator,
                        denominator: denominator as i32,
                    }),
                }],
                ..Policy::default()
            }),
            ..ClusterLoadAssignment::default()
        };
        let dropped = (0..10_000).filter(|&random| drops(&assignment, random));
        assert!(expected.contains(&dropped.count()));
        assert!(!drops(&ClusterLoadAssignment::default(), 1));
    }
}
