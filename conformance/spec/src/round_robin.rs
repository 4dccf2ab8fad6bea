//! `ROUND_ROBIN`.

use crate::edf::Edf;

/// State of one round robin balancer.
#[derive(Debug, Clone, Default)]
pub(crate) struct RoundRobin {
    /// How many picks there were while all weights were equal.
    index: u64,
    /// Where weights differ: an endpoint picked k times with weight w has the deadline (k + 1) / w.
    schedule: Option<Edf<Deadline>>,
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
    /// Index of the next of endpoints of these weights; `None` where there is none.
    pub(crate) fn pick(&mut self, weights: &[u32]) -> Option<usize> {
        if all_equal(weights) {
            let picked = self.index.checked_rem(weights.len() as u64)?;
            self.index = self.index.wrapping_add(1);
            return usize::try_from(picked).ok();
        }
        let schedule = self.schedule.get_or_insert_with(|| {
            Edf::new(weights.iter().map(|&weight| Deadline { number: 1, weight }))
        });
        schedule.pick(Deadline::earlier, |_, deadline| Deadline {
            number: deadline.number + 1,
            weight: deadline.weight,
        })
    }

    /// The endpoints have changed: a schedule starts anew, the index goes on.
    pub(crate) fn endpoints_changed(&mut self) {
        self.schedule = None;
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
        let mut balancer = RoundRobin::default();
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

    /// Envoy 1.40, EDS with weights 1,1,1, then 3,1,1, then 1,1,1: picks by weight do not move
    /// the index.
    #[test]
    fn the_index_goes_on_after_picks_by_weight() {
        let mut balancer = RoundRobin::default();
        let mut picks = |weights: &[u32], count| -> Vec<usize> {
            balancer.endpoints_changed();
            (0..count).filter_map(|_| balancer.pick(weights)).collect()
        };
        assert_eq!(picks(&[1, 1, 1], 7), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(picks(&[3, 1, 1], 10).len(), 10);
        assert_eq!(picks(&[1, 1, 1], 5), [1, 2, 0, 1, 2]);
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
