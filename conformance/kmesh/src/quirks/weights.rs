//! Weights are off by one and out of 100.

/// Out of this many.
const TOTAL: u64 = 100;

/// An entry that was chosen, by its interval `from..to` of a number under 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) entry: usize,
    pub(crate) value: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// Takes the weights off a number under 100 until nothing over zero is left; `None` where the weights
/// do not reach that far.
pub(crate) fn choose(weights: impl Iterator<Item = u32>, random: u64) -> Option<Choice> {
    let value = random % TOTAL;
    let mut from = 0;
    let mut sum = 0_u64;
    for (entry, weight) in weights.enumerate() {
        sum += u64::from(weight);
        // Zero counts as well: that is the one too many.
        let to = (sum + 1).min(TOTAL);
        if value < to {
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
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&[80, 20], &[81, 19], 0)]
    #[case(&[0, 100], &[1, 99], 0)]
    #[case(&[1, 1], &[2, 1], 97)]
    #[case(&[200, 300], &[100, 0], 0)]
    #[case(&[], &[], 100)]
    fn shares_of_a_hundred(#[case] weights: &[u32], #[case] shares: &[usize], #[case] none: usize) {
        let mut counts = vec![0; weights.len()];
        let mut left = 0;
        for random in 0..100 {
            match choose(weights.iter().copied(), random) {
                Some(choice) => {
                    assert!((choice.from..choice.to).contains(&choice.value));
                    counts[choice.entry] += 1;
                }
                None => left += 1,
            }
        }
        assert_eq!((counts.as_slice(), left), (shares, none));
    }
}
