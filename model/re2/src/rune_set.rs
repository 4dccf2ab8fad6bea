//! Sets of code points, surrogates included: RE2 treats them as any other.

/// The highest code point.
pub(crate) const MAX_RUNE: u32 = 0x10_FFFF;

/// A set of code points, as ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RuneSet {
    /// Inclusive ranges: sorted, neither overlapping nor adjacent once `normalised` is set.
    ranges: Vec<(u32, u32)>,
    normalised: bool,
}

impl RuneSet {
    pub(crate) fn new(ranges: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut set = Self::default();
        for (low, high) in ranges {
            set.add(low, high);
        }
        set
    }

    /// Adds `low..=high`.
    pub(crate) fn add(&mut self, low: u32, high: u32) {
        if low <= high {
            self.ranges.push((low, high));
            self.normalised = false;
        }
    }

    /// With one more code point.
    pub(crate) fn with(mut self, rune: u32) -> RuneSet {
        self.add(rune, rune);
        self
    }

    /// Without one code point.
    pub(crate) fn without(mut self, rune: u32) -> RuneSet {
        self.negated().with(rune).negated()
    }

    /// Adds every code point of `other`.
    pub(crate) fn union(&mut self, other: &RuneSet) {
        self.ranges.extend_from_slice(&other.ranges);
        self.normalised = false;
    }

    /// The ranges, sorted and merged.
    pub(crate) fn ranges(&mut self) -> &[(u32, u32)] {
        if !self.normalised {
            self.ranges.sort_unstable();
            let mut merged: Vec<(u32, u32)> = Vec::with_capacity(self.ranges.len());
            for &(low, high) in &self.ranges {
                match merged.last_mut() {
                    Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                    _ => merged.push((low, high)),
                }
            }
            self.ranges = merged;
            self.normalised = true;
        }
        &self.ranges
    }

    /// The code points that are not in the set.
    pub(crate) fn negated(&mut self) -> RuneSet {
        let mut out = RuneSet::default();
        let mut next = 0;
        for &(low, high) in self.ranges() {
            if next < low {
                out.add(next, low - 1);
            }
            next = high + 1;
        }
        if next <= MAX_RUNE {
            out.add(next, MAX_RUNE);
        }
        out
    }

    /// The code points in both sets.
    pub(crate) fn intersection(&mut self, other: &mut RuneSet) -> RuneSet {
        let mut neither = self.negated();
        neither.union(&other.negated());
        neither.negated()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_merge_and_negate() {
        let mut set = RuneSet::new([(5, 9), (0, 1), (2, 2), (8, 20)]);
        assert_eq!(set.ranges(), [(0, 2), (5, 20)]);
        assert_eq!(set.negated().ranges(), [(3, 4), (21, MAX_RUNE)]);
        assert_eq!(RuneSet::default().negated().ranges(), [(0, MAX_RUNE)]);
        assert_eq!(RuneSet::new([(0, MAX_RUNE)]).negated().ranges(), []);
    }

    #[test]
    fn intersections_keep_what_both_have() {
        let mut left = RuneSet::new([(0, 10), (20, 30)]);
        let mut right = RuneSet::new([(5, 25)]);
        assert_eq!(left.intersection(&mut right).ranges(), [(5, 10), (20, 25)]);
    }
}
