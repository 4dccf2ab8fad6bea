//! Wilson's score interval: what shares are consistent with a count.

/// The interval in which a share lies, by how often its event was counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end, 0 to 1.
    pub from: f64,
    /// Upper end, 0 to 1.
    pub to: f64,
}

/// Quantile of the standard normal distribution that leaves 0.1 % outside, on both sides together.
const QUANTILE: f64 = 3.290_526_731_491_926;

/// In percent, how often the interval holds the share that the counts were drawn with.
pub const CONFIDENCE_PERCENT: f64 = 99.9;

/// The interval of `count` of `total`; everything where nothing was counted.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub fn interval(count: u64, total: u64) -> Interval {
    if total == 0 {
        return Interval { from: 0.0, to: 1.0 };
    }
    let number = total as f64;
    let share = count as f64 / number;
    let square = QUANTILE * QUANTILE;
    let centre = share + square / (2.0 * number);
    let spread =
        QUANTILE * (share * (1.0 - share) / number + square / (4.0 * number * number)).sqrt();
    let scale = 1.0 + square / number;
    Interval {
        from: ((centre - spread) / scale).max(0.0),
        to: ((centre + spread) / scale).min(1.0),
    }
}

impl Interval {
    /// Whether a share is one of those in it.
    pub fn holds(self, share: f64) -> bool {
        // The ends are 0 and 1 up to rounding where nothing or everything was counted.
        const ROUNDING: f64 = 1e-12;
        share >= self.from - ROUNDING && share <= self.to + ROUNDING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_those_of_the_formula() {
        // By hand: p = 0.1, n = 1000, z = 3.2905.
        let found = interval(100, 1000);
        assert!((found.from - 0.073_0).abs() < 5e-4, "{found:?}");
        assert!((found.to - 0.135_5).abs() < 5e-4, "{found:?}");
    }

    #[test]
    fn nothing_and_everything_have_an_end_at_the_edge() {
        assert!(interval(0, 10).holds(0.0));
        assert!(interval(0, 10).to < 0.6);
        assert!(interval(10, 10).holds(1.0));
        assert_eq!(interval(0, 0), Interval { from: 0.0, to: 1.0 });
    }

    #[test]
    fn more_counts_make_it_narrower() {
        let few = interval(9, 10);
        let many = interval(9_000, 10_000);
        assert!(few.holds(0.8) && few.holds(0.99));
        assert!(!many.holds(0.8) && !many.holds(0.99) && many.holds(0.9));
    }
}
