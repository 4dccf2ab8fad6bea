//! What is random: only its members and their shares can be compared.

use std::collections::BTreeMap;

use twinmesh_engine::{Decision, Outcome};

use super::{Field, Fields, Verdict};
use crate::case::Distribution;

/// A share that would arise by chance less often than once in ten thousand runs is a divergence:
/// this is that quantile of the standard normal distribution.
const NORMAL_QUANTILE: f64 = 3.719;

/// The chi-square test says little about a cluster of which fewer requests are expected.
const LEAST_EXPECTED: f64 = 5.0;

/// Compares the clusters of the selected requests with the rule's weights: each must have a
/// weight, and their shares must be those of the weights.
pub fn compare(
    rule: &Distribution,
    selected: &[usize],
    found: &[Decision],
    verdicts: &mut [Verdict],
) {
    let Some(weights) = &rule.weights else {
        return;
    };
    let cluster_field = Fields::from_iter([Field::Cluster]);
    let mut counts: BTreeMap<&str, u64> = weights
        .iter()
        .filter(|(_, weight)| **weight > 0)
        .map(|(cluster, _)| (cluster.as_str(), 0))
        .collect();
    let mut first = None;
    for index in selected {
        let Some(decision) = found.get(*index) else {
            continue;
        };
        if decision.outcome == Outcome::Unsupported {
            continue;
        }
        let cluster = decision.cluster.as_deref().unwrap_or("");
        if let Some(count) = counts.get_mut(cluster) {
            *count += 1;
            first = first.or(Some(*index));
        } else if let Some(verdict) = verdicts.get_mut(*index) {
            let known: Vec<&str> = counts.keys().copied().collect();
            let note = format!(
                "cluster `{cluster}` is none of those with a weight: {}",
                known.join(", ")
            );
            verdict.diverge(cluster_field, Some(note));
        }
    }
    let shares: Vec<(u64, u64)> = counts
        .iter()
        .map(|(cluster, count)| (*count, weights.get(*cluster).copied().unwrap_or(0)))
        .collect();
    if let Some((statistic, limit)) = unlikely(&shares)
        && let Some(verdict) = first.and_then(|index| verdicts.get_mut(index))
    {
        let counted: Vec<String> = counts
            .iter()
            .map(|(cluster, count)| {
                let weight = weights.get(*cluster).copied().unwrap_or(0);
                format!("`{cluster}` {count} times at weight {weight}")
            })
            .collect();
        let note = format!(
            "the shares of {} selected requests are not those of the weights: {} (chi-square {statistic:.1}, at most {limit:.1} in all but 1 of 10,000 runs)",
            shares.iter().map(|(count, _)| count).sum::<u64>(),
            counted.join(", "),
        );
        verdict.diverge(cluster_field, Some(note));
    }
}

/// Pearson's chi-square test of counts against weights: the statistic and its limit, where it is
/// over it. `None` too where so few were counted that the test does not apply.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts and weights are far below 2^53"
)]
fn unlikely(shares: &[(u64, u64)]) -> Option<(f64, f64)> {
    let total: u64 = shares.iter().map(|(count, _)| count).sum();
    let weights: u64 = shares.iter().map(|(_, weight)| weight).sum();
    let mut statistic = 0.0;
    for (count, weight) in shares {
        let expected = total as f64 * *weight as f64 / weights as f64;
        if expected < LEAST_EXPECTED {
            return None;
        }
        statistic += (*count as f64 - expected).powi(2) / expected;
    }
    if shares.len() < 2 {
        return None;
    }
    // Wilson and Hilferty's approximation of the chi-square distribution's quantile.
    let freedom = (shares.len() - 1) as f64;
    let spread = 2.0 / (9.0 * freedom);
    let limit = freedom * (1.0 - spread + NORMAL_QUANTILE * spread.sqrt()).powi(3);
    (statistic > limit).then_some((statistic, limit))
}

#[cfg(test)]
mod tests {
    use super::unlikely;

    #[test]
    fn shares_near_the_weights_are_likely() {
        assert_eq!(unlikely(&[(903, 90), (97, 10)]), None);
        assert_eq!(unlikely(&[(330, 1), (340, 1), (330, 1)]), None);
    }

    #[test]
    fn shares_far_from_the_weights_are_not() {
        assert!(unlikely(&[(800, 90), (200, 10)]).is_some());
        assert!(unlikely(&[(900, 50), (100, 50)]).is_some());
        assert!(unlikely(&[(500, 1), (250, 1), (250, 1)]).is_some());
    }

    #[test]
    fn few_requests_say_nothing() {
        assert!(unlikely(&[(20, 1), (0, 1)]).is_some());
        assert_eq!(unlikely(&[(9, 1), (0, 1)]), None);
        assert_eq!(unlikely(&[(0, 1), (0, 1)]), None);
    }
}
