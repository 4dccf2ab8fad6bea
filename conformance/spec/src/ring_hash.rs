//! `RING_HASH`: a ring of hashes, of which the next one at or after the request's is the endpoint's.

use xxhash_rust::xxh64::xxh64;

use crate::hash_balancer::Share;
use crate::murmur::murmur;

/// How large a ring is, and what it is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Options {
    pub(crate) minimum_size: u64,
    pub(crate) maximum_size: u64,
    /// `MURMUR_HASH_2` instead of xxHash64.
    pub(crate) murmur: bool,
}

/// A ring: hashes in order, each with the host that it stands for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ring(Vec<(u64, usize)>);

impl Ring {
    /// Lays the ring out. A host has as many hashes as its share of the ring asks for; what is no
    /// whole number is carried over to the next host.
    pub(crate) fn new(shares: &[Share], options: Options) -> Self {
        let smallest = shares
            .iter()
            .fold(1.0, |least: f64, share| least.min(share.weight));
        // So large that the smallest share is a whole number of hashes.
        let size = (smallest * options.minimum_size as f64).ceil() / smallest;
        let size = size.min(options.maximum_size as f64);
        let mut ring = Vec::new();
        let mut target = 0.0;
        let mut placed = 0.0;
        for share in shares {
            target += size * share.weight;
            let mut index = 0;
            while placed < target {
                let text = format!("{}_{index}", share.key);
                let hash = match options.murmur {
                    true => murmur(&text),
                    false => xxh64(text.as_bytes(), 0),
                };
                ring.push((hash, share.host));
                index += 1;
                placed += 1.0;
            }
        }
        ring.sort_by_key(|(hash, _)| *hash);
        Self(ring)
    }

    /// The host of the first hash that is not smaller, or of the first of all.
    pub(crate) fn pick(&self, hash: u64) -> Option<usize> {
        let next = self.0.iter().find(|(of_host, _)| *of_host >= hash);
        next.or(self.0.first()).map(|(_, host)| *host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options = Options {
        minimum_size: 8,
        maximum_size: 1024,
        murmur: false,
    };

    fn shares(weights: &[f64]) -> Vec<Share> {
        let total: f64 = weights.iter().sum();
        let share = |(host, weight): (usize, &f64)| Share {
            key: format!("10.0.0.{host}:80"),
            weight: weight / total,
            host,
        };
        weights.iter().enumerate().map(share).collect()
    }

    fn counts(ring: &Ring, hosts: usize) -> Vec<usize> {
        let of = |host| ring.0.iter().filter(|(_, other)| *other == host).count();
        (0..hosts).map(of).collect()
    }

    #[test]
    fn the_smallest_share_is_whole() {
        let ring = Ring::new(&shares(&[1.0, 2.0, 4.0]), OPTIONS);
        assert_eq!(counts(&ring, 3), [2, 4, 8]);
    }

    #[test]
    fn the_maximum_holds() {
        let options = Options {
            maximum_size: 6,
            ..OPTIONS
        };
        let ring = Ring::new(&shares(&[1.0; 4]), options);
        assert_eq!(counts(&ring, 4), [2, 1, 2, 1]);
    }

    #[test]
    fn the_ring_starts_over() {
        let ring = Ring(vec![(10, 2), (20, 1), (30, 0)]);
        for (hash, host) in [(0, 2), (10, 2), (11, 1), (30, 0), (31, 2), (u64::MAX, 2)] {
            assert_eq!(ring.pick(hash), Some(host), "{hash}");
        }
        assert_eq!(Ring(Vec::new()).pick(5), None);
    }
}
