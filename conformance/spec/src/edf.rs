//! Earliest deadline first: how Envoy spreads picks by weight.

/// Entries with deadlines. The entry with the smallest deadline is picked; among equal ones, the
/// one that was inserted first.
#[derive(Debug, Clone)]
pub(crate) struct Edf<D> {
    entries: Vec<Entry<D>>,
    inserted: u64,
}

#[derive(Debug, Clone)]
struct Entry<D> {
    deadline: D,
    inserted: u64,
}

impl<D> Edf<D> {
    /// The entries in order, each with its first deadline.
    pub(crate) fn new(deadlines: impl IntoIterator<Item = D>) -> Self {
        let entries: Vec<_> = deadlines
            .into_iter()
            .zip(0..)
            .map(|(deadline, inserted)| Entry { deadline, inserted })
            .collect();
        let inserted = entries.len() as u64;
        Self { entries, inserted }
    }

    /// The index of the picked entry, which is inserted anew with the deadline that `next` makes
    /// of its index and its old deadline. `earlier` is a strict order. `None` without entries.
    pub(crate) fn pick(
        &mut self,
        earlier: impl Fn(&D, &D) -> bool,
        next: impl FnOnce(usize, &D) -> D,
    ) -> Option<usize> {
        let mut picked: Option<(usize, &Entry<D>)> = None;
        for (index, entry) in self.entries.iter().enumerate() {
            let first = match picked {
                None => true,
                Some((_, best)) if earlier(&entry.deadline, &best.deadline) => true,
                Some((_, best)) if earlier(&best.deadline, &entry.deadline) => false,
                Some((_, best)) => entry.inserted < best.inserted,
            };
            if first {
                picked = Some((index, entry));
            }
        }
        let (index, entry) = picked?;
        let deadline = next(index, &entry.deadline);
        let inserted = self.inserted;
        self.inserted += 1;
        if let Some(entry) = self.entries.get_mut(index) {
            *entry = Entry { deadline, inserted };
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_who_was_inserted_first() {
        let mut edf = Edf::new([2, 2, 1]);
        let mut pick = || edf.pick(|a, b| a < b, |_, deadline| deadline + 1);
        // The third entry returns with deadline 2, behind the two that have it already.
        assert_eq!(pick(), Some(2));
        assert_eq!(pick(), Some(0));
        assert_eq!(pick(), Some(1));
        assert_eq!(pick(), Some(2));
    }

    #[test]
    fn nothing_to_pick() {
        assert_eq!(Edf::<u64>::new([]).pick(|a, b| a < b, |_, d| *d), None);
    }
}
