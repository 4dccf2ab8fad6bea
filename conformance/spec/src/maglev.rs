//! `MAGLEV`: a table that the hosts fill in turns, each by a sequence of its own.

use xxhash_rust::xxh64::xxh64;

use crate::hash_balancer::Share;

/// The table: the host of each entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table(Vec<usize>);

/// A host that fills the table.
struct Filling {
    host: usize,
    weight: f64,
    /// Its turns so far, in weights of the heaviest.
    filled: f64,
    /// Where it looks next.
    next: u64,
    skip: u64,
}

impl Table {
    /// Fills the table. In every round each host takes one entry, but a lighter one lets as many
    /// rounds pass as its weight goes into the heaviest.
    pub(crate) fn new(shares: &[Share], size: u64) -> Self {
        let heaviest = shares
            .iter()
            .fold(0.0, |most: f64, share| most.max(share.weight));
        let mut shares: Vec<&Share> = shares.iter().collect();
        shares.sort_by_key(|share| &share.key);
        let mut hosts: Vec<Filling> = shares
            .iter()
            .filter(|_| size > 1)
            .map(|share| Filling {
                host: share.host,
                weight: share.weight,
                filled: 0.0,
                next: xxh64(share.key.as_bytes(), 0) % size,
                skip: xxh64(share.key.as_bytes(), 1) % (size - 1) + 1,
            })
            .collect();
        let mut table = vec![None; usize::try_from(size).unwrap_or_default()];
        let entry = |next: u64| usize::try_from(next).unwrap_or(usize::MAX);
        let mut left = size;
        let mut round = 0.0;
        while !hosts.is_empty() && left > 0 {
            round += 1.0;
            for host in &mut hosts {
                if left == 0 {
                    break;
                }
                if round * host.weight < host.filled {
                    continue;
                }
                host.filled += heaviest;
                while table.get(entry(host.next)).is_some_and(Option::is_some) {
                    host.next = (host.next + host.skip) % size;
                }
                if let Some(free) = table.get_mut(entry(host.next)) {
                    *free = Some(host.host);
                }
                left -= 1;
                host.next = (host.next + host.skip) % size;
            }
        }
        Self(table.into_iter().flatten().collect())
    }

    /// The host of the entry at the hash modulo the table's size.
    pub(crate) fn pick(&self, hash: u64) -> Option<usize> {
        let entry = hash.checked_rem(self.0.len() as u64)?;
        self.0.get(usize::try_from(entry).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(weights: &[f64], size: u64) -> Table {
        let total: f64 = weights.iter().sum();
        let share = |(host, weight): (usize, &f64)| Share {
            key: format!("10.0.0.{host}:80"),
            weight: weight / total,
            host,
        };
        let shares: Vec<Share> = weights.iter().enumerate().map(share).collect();
        Table::new(&shares, size)
    }

    #[test]
    fn entries_follow_the_weights() {
        let table = table(&[1.0, 2.0, 4.0], 251);
        let of = |host| table.0.iter().filter(|other| **other == host).count();
        assert_eq!((0..3).map(of).collect::<Vec<_>>(), [36, 72, 143]);
    }

    #[test]
    fn the_hash_modulo_the_size_finds_the_entry() {
        let table = table(&[1.0, 1.0], 7);
        assert_eq!(table.0.len(), 7);
        assert_eq!(table.pick(9), Some(table.0[2]));
        assert_eq!(Table(Vec::new()).pick(9), None);
    }
}
