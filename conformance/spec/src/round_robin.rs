//! `ROUND_ROBIN`.

use crate::edf::Edf;

/// State of one round robin balancer.
#[derive(Debug, Clone)]
pub(crate) enum RoundRobin {
    /// All weights are equal: the number of picks so far.
    Equal(u64),
    /// Weights differ: an endpoint picked k times with weight w has the deadline (k + 1) / w.
    Weighted(Edf<Deadline>),
}

/// The fraction `number / weight`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    number: u64,
    weight: u32,
}

impl Deadline {
    fn earlier(&self, other: &Self) -> bool {
        u128::from(self.number) * u128::from(other.weight)
            < u128::from(other.number) * u128::from(self.weight)
    }
}

impl RoundRobin {
    /// A balancer over endpoints of these weights, before its first pick.
    pub(crate) fn new(weights: &[u32]) -> Self {
        if all_equal(weights) {
            Self::Equal(0)
        } else {
            Self::Weighted(Edf::new(
                weights.iter().map(|&weight| Deadline { number: 1, weight }),
            ))
        }
    }

    /// Index of the next endpoint; `None` where there is none.
    pub(crate) fn pick(&mut self, weights: &[u32]) -> Option<usize> {
        match self {
            Self::Equal(counter) => {
                let picked = counter.checked_rem(weights.len() as u64)?;
                *counter = counter.wrapping_add(1);
                usize::try_from(picked).ok()
            }
            Self::Weighted(edf) => edf.pick(Deadline::earlier, |_, deadline| Deadline {
                number: deadline.number + 1,
                weight: deadline.weight,
            }),
        }
    }
}

/// Whether no weight differs from the first.
pub(crate) fn all_equal(weights: &[u32]) -> bool {
    weights.iter().all(|weight| weights.first() == Some(weight))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn picks(weights: &[u32], count: usize) -> Vec<usize> {
        let mut balancer = RoundRobin::new(weights);
        (0..count).filter_map(|_| balancer.pick(weights)).collect()
    }

    #[rstest]
    #[case::one(&[7], &[0, 0, 0])]
    #[case::equal(&[1, 1, 1], &[0, 1, 2, 0])]
    #[case::equal_above_one(&[5, 5], &[0, 1, 0])]
    #[case::three_to_one(&[3, 1], &[0, 0, 1, 0, 0, 0, 1, 0])]
    #[case::ascending(&[1, 2, 3], &[2, 1, 2, 0, 1, 2, 2, 1, 2, 0, 1, 2])]
    #[case::none(&[], &[])]
    fn sequences(#[case] weights: &[u32], #[case] expected: &[usize]) {
        assert_eq!(picks(weights, expected.len()), expected);
    }

    #[test]
    fn each_is_picked_as_often_as_its_weight_says() {
        let weights = [7, 1, 4, 30, 2];
        let picks = picks(&weights, 44 * 3);
        for (index, weight) in weights.iter().enumerate() {
            let count = picks.iter().filter(|&&pick| pick == index).count();
            assert_eq!(count, *weight as usize * 3);
        }
    }
}
