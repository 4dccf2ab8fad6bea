//! `hash_balance_factor`: how many active requests a host may have before a balancer that hashes
//! looks for another one.
//!
//! A host may have its share of all active requests of the cluster and this one, raised by the factor.
//! Where the host that the hash leads to has more, the others are asked in an order that the hash
//! shuffles; where all have more, the one that is over by the least takes the request.

use rand_mt::Mt;

use crate::hash_balancer::Share;

/// The host that takes the request. `first` is the one that its hash leads to, `active` tells of a
/// host how many requests it has, and `all` of the cluster.
pub(crate) fn pick(
    shares: &[Share],
    first: usize,
    hash: u64,
    factor: u32,
    all: u64,
    active: impl Fn(usize) -> u64,
) -> usize {
    let slots = ((all + 1) * u64::from(factor)).div_ceil(100) as f64;
    let load = |share: &Share| active(share.host) as f64 / (slots * share.weight).ceil().max(1.0);
    let Some(own) = shares.iter().find(|share| share.host == first) else {
        return first;
    };
    let mut least = (first, load(own));
    if least.1 <= 1.0 {
        return first;
    }
    let mut order: Vec<&Share> = shares.iter().collect();
    // The generator takes the hash's lower half.
    let mut random = Mt::new(hash as u32);
    for place in 0..order.len() {
        let left = order.len() - place;
        order.swap(place, place + below(&mut random, left as u64) as usize);
        let Some(share) = order.get(place).filter(|share| share.host != first) else {
            continue;
        };
        let own = load(share);
        if own <= 1.0 {
            return share.host;
        }
        if own < least.1 {
            least = (share.host, own);
        }
    }
    least.0
}

/// A number below `count`, each with the same chance.
fn below(random: &mut Mt, count: u64) -> u64 {
    let width = (1 << 32) / count;
    loop {
        let number = u64::from(random.next_u32()) / width;
        if number < count {
            return number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(weights: &[f64]) -> Vec<Share> {
        let total: f64 = weights.iter().sum();
        let share = |(host, weight): (usize, &f64)| Share {
            key: host.to_string(),
            weight: weight / total,
            host,
        };
        weights.iter().enumerate().map(share).collect()
    }

    fn picked(weights: &[f64], active: &[u64], factor: u32, hash: u64) -> usize {
        let all = active.iter().sum();
        let shares = shares(weights);
        pick(&shares, 0, hash, factor, all, |host| active[host])
    }

    #[test]
    fn a_host_keeps_what_fits_its_share() {
        // Of three requests and this one each host may have ceil(4 * 1.5 / 2) = 3.
        assert_eq!(picked(&[1.0, 1.0], &[3, 0], 150, 7), 0);
        assert_eq!(picked(&[1.0, 1.0], &[4, 0], 100, 7), 1);
        // A heavier one may have more.
        assert_eq!(picked(&[3.0, 1.0], &[4, 0], 100, 7), 0);
        // One is always allowed.
        assert_eq!(picked(&[1.0, 99.0], &[1, 0], 100, 7), 0);
    }

    #[test]
    fn the_hash_says_in_which_order_others_are_asked() {
        assert_eq!(picked(&[1.0, 1.0, 1.0], &[9, 0, 0], 100, 7), 1 + third(7));
        assert_eq!(picked(&[1.0, 1.0, 1.0], &[9, 0, 0], 100, 8), 1 + third(8));
        // The second has no room, in whichever order.
        assert_eq!(picked(&[1.0, 1.0, 1.0], &[9, 9, 0], 100, 7), 2);
        assert_eq!(picked(&[1.0, 1.0, 1.0], &[9, 9, 0], 100, 8), 2);
    }

    /// Whether the third host comes before the second in the order of this hash.
    fn third(hash: u32) -> usize {
        let mut random = Mt::new(hash);
        let mut order = [0, 1, 2];
        for place in 0..3 {
            order.swap(place, place + below(&mut random, 3 - place as u64) as usize);
        }
        let first = order.into_iter().find(|host| *host != 0);
        usize::from(first == Some(2))
    }
}
