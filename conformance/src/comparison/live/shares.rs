//! How often each of several random choices was taken, against their weights.

use std::collections::BTreeMap;
use std::fmt;

use statrs::distribution::{ChiSquared, ContinuousCDF};
use twinmesh_engine::{Decision, Outcome};

use crate::comparison::{Field, Fields, Verdict};

/// Pearson's statistic says little where fewer are expected of any choice.
const LEAST_EXPECTED: f64 = 5.0;

/// One choice that is made again and again.
pub struct Shares {
    subject: String,
    field: Field,
    /// The cluster whose picks are meant.
    cluster: Option<String>,
    /// The requests that may choose.
    indices: Vec<usize>,
    weights: BTreeMap<String, u64>,
    counts: BTreeMap<String, u64>,
}

/// A chi-square test of such a choice.
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    /// What was tested.
    pub subject: String,
    /// Each choice with its weight and how often it was taken.
    pub shares: Vec<(String, u64, u64)>,
    /// Pearson's statistic.
    pub statistic: f64,
    /// Its degrees of freedom.
    pub freedom: usize,
    /// How probable one as large or larger is where the weights hold.
    pub probability: f64,
    /// The significance level of this test.
    pub level: f64,
    /// Whether the weights do not hold.
    pub is_rejected: bool,
}

impl fmt::Display for Test {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count: u64 = self.shares.iter().map(|(_, _, count)| count).sum();
        let shares: Vec<String> = self
            .shares
            .iter()
            .map(|(name, weight, count)| format!("`{name}` {count} times at weight {weight}"))
            .collect();
        write!(
            formatter,
            "the shares of {}, {count} times chosen, are {}those of the weights: {} (chi-square {:.1}, {} degrees of freedom, p {:.1e}, significance level {:.1e})",
            self.subject,
            if self.is_rejected { "not " } else { "" },
            shares.join(", "),
            self.statistic,
            self.freedom,
            self.probability,
            self.level,
        )
    }
}

impl Shares {
    /// The endpoints of a cluster, as chosen by those of the requests at these indices that got there.
    pub fn of_endpoints(
        cluster: &str,
        weights: BTreeMap<String, u64>,
        indices: Vec<usize>,
    ) -> Self {
        Self {
            subject: format!("the endpoints of cluster `{cluster}`"),
            field: Field::Endpoint,
            cluster: Some(cluster.to_owned()),
            indices,
            weights,
            counts: BTreeMap::new(),
        }
    }

    /// The weighted clusters of a route, as chosen by the requests at these indices.
    pub fn of_clusters(
        subject: String,
        weights: BTreeMap<String, u64>,
        indices: Vec<usize>,
    ) -> Self {
        Self {
            subject,
            field: Field::Cluster,
            cluster: None,
            indices,
            weights,
            counts: BTreeMap::new(),
        }
    }

    /// The field that is random.
    pub fn field(&self) -> Field {
        self.field
    }

    /// Counts what was chosen; a choice without weight is a divergence. Returns the first request
    /// that was counted.
    pub fn count(
        &mut self,
        expected: &[Decision],
        found: &[Decision],
        verdicts: &mut [Verdict],
    ) -> Option<usize> {
        let mut first = None;
        for index in self.indices.iter().copied() {
            let (Some(expected), Some(found)) = (expected.get(index), found.get(index)) else {
                continue;
            };
            // Left undecided for what the cluster makes of it, a request has drawn that all the same.
            if found.outcome == Outcome::Unsupported {
                let drawn = found.cluster.as_ref().filter(|_| self.cluster.is_none());
                if let Some(drawn) = drawn.filter(|it| self.has(it)) {
                    *self.counts.entry(drawn.clone()).or_default() += 1;
                }
                continue;
            }
            let choice = match &self.cluster {
                Some(cluster) if found.cluster.as_ref() == Some(cluster) => &found.endpoint,
                Some(_) => continue,
                // Another route says another thing.
                None if found.route != expected.route => continue,
                None => &found.cluster,
            };
            let Some(choice) = choice else {
                continue;
            };
            if self.has(choice) {
                *self.counts.entry(choice.clone()).or_default() += 1;
                first = first.or(Some(index));
            } else if let Some(verdict) = verdicts.get_mut(index) {
                let note = format!("`{choice}` is none of {} that have a weight", self.subject);
                verdict.diverge(Fields::from_iter([self.field]), Some(note));
            }
        }
        first
    }

    fn has(&self, choice: &str) -> bool {
        self.weights.get(choice).is_some_and(|weight| *weight > 0)
    }

    /// Whether enough was counted for the test to say something.
    pub fn can_be_tested(&self) -> bool {
        let cells = self.cells();
        cells.len() > 1
            && cells
                .iter()
                .all(|(_, expected)| *expected >= LEAST_EXPECTED)
    }

    /// How often each choice was taken, and how often it was to be.
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts and weights are far below 2^53"
    )]
    fn cells(&self) -> Vec<(f64, f64)> {
        let total: u64 = self.counts.values().sum();
        let weights: u64 = self.weights.values().sum();
        self.weights
            .iter()
            .filter(|(_, weight)| **weight > 0)
            .map(|(name, weight)| {
                let count = self.counts.get(name).copied().unwrap_or(0);
                let expected = total as f64 * *weight as f64 / weights as f64;
                (count as f64, expected)
            })
            .collect()
    }

    /// Tests the counts. In its far tail the chi-square distribution makes rare what is not, so
    /// that a Chernoff bound, which holds for any number of choices, has to agree.
    pub fn test(&self, level: f64) -> Test {
        let cells = self.cells();
        let freedom = cells.len().saturating_sub(1);
        let statistic: f64 = cells
            .iter()
            .map(|(count, expected)| (count - expected).powi(2) / expected)
            .sum();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let distribution = ChiSquared::new(freedom as f64);
        let probability = distribution.map_or(1.0, |it| it.sf(statistic));
        Test {
            subject: self.subject.clone(),
            shares: self
                .weights
                .iter()
                .map(|(name, weight)| {
                    let count = self.counts.get(name).copied().unwrap_or(0);
                    (name.clone(), *weight, count)
                })
                .collect(),
            statistic,
            freedom,
            probability,
            level,
            is_rejected: probability < level && chernoff(&cells) < level,
        }
    }
}

/// An upper bound of the probability that some cell is as far from what is expected of it as the
/// farthest one: twice the number of cells times exp(-n D), where D is the relative entropy of its
/// share and what was expected of it.
fn chernoff(cells: &[(f64, f64)]) -> f64 {
    let total: f64 = cells.iter().map(|(count, _)| count).sum();
    let entropy = |share: f64, expected: f64| {
        if share > 0.0 {
            share * (share / expected).ln()
        } else {
            0.0
        }
    };
    let farthest = cells
        .iter()
        .map(|(count, expected)| {
            entropy(*count, *expected) + entropy(total - count, total - expected)
        })
        .fold(0.0, f64::max);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let cells = cells.len() as f64;
    (2.0 * cells * (-farthest).exp()).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(counts: &[(u64, u64)], level: f64) -> Option<Test> {
        let name = |index: usize| format!("c{index}");
        let mut shares = Shares::of_clusters("it".to_owned(), BTreeMap::new(), Vec::new());
        for (index, (count, weight)) in counts.iter().enumerate() {
            shares.weights.insert(name(index), *weight);
            shares.counts.insert(name(index), *count);
        }
        shares.can_be_tested().then(|| shares.test(level))
    }

    fn is_rejected(counts: &[(u64, u64)], level: f64) -> bool {
        test(counts, level).is_some_and(|test| test.is_rejected)
    }

    #[test]
    fn shares_near_the_weights_hold() {
        assert!(!is_rejected(&[(903, 90), (97, 10)], 1e-4));
        assert!(!is_rejected(&[(330, 1), (340, 1), (330, 1)], 1e-4));
    }

    #[test]
    fn shares_far_from_the_weights_do_not() {
        assert!(is_rejected(&[(800, 90), (200, 10)], 1e-6));
        assert!(is_rejected(&[(900, 50), (100, 50)], 1e-6));
        assert!(is_rejected(&[(500, 1), (250, 1), (250, 1)], 1e-6));
    }

    #[test]
    fn probabilities_are_those_of_the_tables() {
        let of = |counts: &[(u64, u64)]| test(counts, 0.05).map_or(0.0, |test| test.probability);
        // 3.841 is the 95 % quantile with one degree of freedom, 5.991 with two.
        let one = of(&[(5098, 1), (4902, 1)]);
        assert!((one - 0.05).abs() < 1e-3, "{one}");
        let two = of(&[(3333, 1), (3333, 1), (3334, 1)]);
        assert!(two > 0.99, "{two}");
    }

    #[test]
    fn what_is_left_undecided_behind_a_drawn_cluster_counts_as_drawn() {
        let decision = |outcome, cluster: &str| Decision {
            outcome,
            cluster: Some(cluster.to_owned()),
            ..Decision::default()
        };
        let one = |_| decision(Outcome::Unsupported, "one");
        let mut found: Vec<Decision> = (0..50).map(one).collect();
        found.extend((0..50).map(|_| decision(Outcome::Forward, "two")));
        found.push(decision(Outcome::Unsupported, "other"));
        let weights = [("one", 1), ("two", 1)].map(|(name, weight)| (name.to_owned(), weight));
        let indices = (0..found.len()).collect();
        let mut shares = Shares::of_clusters("it".to_owned(), weights.into(), indices);
        let expected = found.clone();
        let mut verdicts = vec![Verdict::Agrees; found.len()];
        assert_eq!(shares.count(&expected, &found, &mut verdicts), Some(50));
        assert!(shares.can_be_tested() && !shares.test(1e-4).is_rejected);
        assert!(verdicts.iter().all(|it| matches!(it, Verdict::Agrees)));
    }

    #[test]
    fn few_choices_are_not_tested() {
        assert!(test(&[(9, 1), (0, 1)], 1e-4).is_none());
        assert!(test(&[(100, 1)], 1e-4).is_none());
        assert!(test(&[(0, 1), (0, 1)], 1e-4).is_none());
    }

    #[test]
    fn what_is_rare_by_chi_square_alone_is_no_alarm() {
        // Ten expected, 27 found: the statistic's tail says 1e-7, the Poisson's 1e-5.
        let found = test(&[(27, 1), (973, 99)], 1e-6).expect("ten are expected");
        assert!(found.probability < 1e-6 && !found.is_rejected, "{found}");
    }
}
