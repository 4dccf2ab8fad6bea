//! The choice among weighted clusters.

use envoy_types::pb::envoy::config::route::v3::{
    WeightedCluster, weighted_cluster::RandomValueSpecifier,
};

use crate::draw::{self, draw};
use crate::integer;
use crate::message::Message;

/// The entry that was chosen, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) entry: usize,
    /// The random number modulo the total weight.
    pub(crate) value: u64,
    /// The entry's interval is `from..to`.
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// Chooses by the header that the route names, where it is there once and is a number, or by the
/// request's hash, where the route asks for it and there is one; else by the request's random
/// number. `None` where all weights are zero. The error is why the hash is not decided.
pub(crate) fn select(
    weighted: &WeightedCluster,
    message: &Message,
    hash: Result<Option<u64>, &'static str>,
    random: u64,
) -> Result<Option<Choice>, &'static str> {
    let given = match &weighted.random_value_specifier {
        Some(RandomValueSpecifier::HeaderName(name)) => match message.values(name).as_slice() {
            [one] => integer::unsigned(one),
            _ => None,
        },
        Some(RandomValueSpecifier::UseHashPolicy(by_hash)) if by_hash.value => hash?,
        _ => None,
    };
    let number = given.unwrap_or_else(|| draw(random, draw::WEIGHTED_CLUSTER));
    let weights = weighted
        .clusters
        .iter()
        .map(|cluster| cluster.weight.as_ref().map_or(0, |weight| weight.value));
    Ok(by_number(weights, number))
}

/// The entry in whose interval `number` modulo the total lies.
pub(crate) fn by_number(weights: impl Iterator<Item = u32> + Clone, number: u64) -> Option<Choice> {
    let total: u64 = weights.clone().map(u64::from).sum();
    let value = number.checked_rem(total)?;
    let mut from = 0;
    for (entry, weight) in weights.enumerate() {
        let to = from + u64::from(weight);
        if (from..to).contains(&value) {
            return Some(Choice {
                entry,
                value,
                from,
                to,
            });
        }
        from = to;
    }
    None
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight;
    use envoy_types::pb::google::protobuf::{BoolValue, UInt32Value};
    use rstest::rstest;

    use super::*;
    use crate::message::tests::message;

    #[rstest]
    #[case(0, (0, 0, 0, 90))]
    #[case(89, (0, 89, 0, 90))]
    #[case(90, (2, 90, 90, 100))]
    #[case(99, (2, 99, 90, 100))]
    #[case(100, (0, 0, 0, 90))]
    #[case(u64::MAX, (0, 15, 0, 90))]
    fn intervals(#[case] number: u64, #[case] expected: (usize, u64, u64, u64)) {
        let choice = by_number([90, 0, 10].into_iter(), number).expect("the total is not zero");
        assert_eq!(
            (choice.entry, choice.value, choice.from, choice.to),
            expected
        );
    }

    #[test]
    fn nothing_to_choose_from() {
        assert_eq!(by_number([0, 0].into_iter(), 5), None);
        assert_eq!(by_number([].into_iter(), 5), None);
    }

    #[rstest]
    #[case(&[("x-random", "95")], 95)]
    #[case(&[("x-random", "+95")], 95)]
    #[case(&[("x-random", "-1")], 7)]
    #[case(&[("x-random", "95.0")], 7)]
    #[case(&[("x-random", "")], 7)]
    #[case(&[("x-random", "95"), ("x-random", "95")], 7)]
    #[case(&[], 7)]
    fn pinned_by_a_header(#[case] headers: &[(&str, &str)], #[case] expected: u64) {
        let weighted = WeightedCluster {
            clusters: vec![ClusterWeight {
                weight: Some(UInt32Value { value: 100 }),
                ..ClusterWeight::default()
            }],
            random_value_specifier: Some(RandomValueSpecifier::HeaderName("x-random".to_owned())),
            ..WeightedCluster::default()
        };
        let choice = select(&weighted, &message(headers), Ok(Some(3)), 7);
        assert_eq!(
            choice.map(|choice| choice.map(|it| it.value)),
            Ok(Some(expected))
        );
    }

    #[rstest]
    #[case(true, Ok(Some(1234)), Ok(34))]
    #[case(true, Ok(None), Ok(7))]
    #[case(true, Err("why"), Err("why"))]
    #[case(false, Ok(Some(1234)), Ok(7))]
    fn chosen_by_hash(
        #[case] by_hash: bool,
        #[case] hash: Result<Option<u64>, &'static str>,
        #[case] expected: Result<u64, &'static str>,
    ) {
        let weighted = WeightedCluster {
            clusters: vec![ClusterWeight {
                weight: Some(UInt32Value { value: 100 }),
                ..ClusterWeight::default()
            }],
            random_value_specifier: Some(RandomValueSpecifier::UseHashPolicy(BoolValue {
                value: by_hash,
            })),
            ..WeightedCluster::default()
        };
        let choice = select(&weighted, &message(&[]), hash, 7);
        let value = choice.map(|choice| choice.map_or(0, |choice| choice.value));
        assert_eq!(value, expected);
    }
}
