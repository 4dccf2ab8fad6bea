//! Zone-aware routing: which locality of priority 0 takes a request, so that Envoy's own is preferred
//! as far as the others' share of the load allows.

use crate::draw::{self, draw};
use crate::locality::Name;

/// What a cluster says of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Options {
    /// `routing_enabled`, in percent.
    pub(crate) routing_enabled: u64,
    /// `min_cluster_size`, in healthy endpoints.
    pub(crate) min_cluster_size: u64,
    /// `force_locality_direct_routing`.
    pub(crate) forces_direct: bool,
}

impl Options {
    /// Whether a request is one of those that are routed by zone.
    pub(crate) fn includes(self, random: u64) -> bool {
        draw(random, draw::ZONE) % 100 < self.routing_enabled
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            routing_enabled: 100,
            min_cluster_size: 6,
            forces_direct: false,
        }
    }
}

/// How many healthy endpoints a locality has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) name: Name,
    pub(crate) healthy: u64,
}

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Routing {
    /// To all localities alike.
    Everywhere,
    /// To Envoy's own, the first.
    Direct,
    /// Some to its own, the others by what the localities have left.
    Residual {
        /// Of 10,000 requests those that go to its own.
        local: u64,
        /// What the localities have left, each with those before it.
        capacities: Vec<u64>,
    },
}

/// The share of a whole, in units of 1/10,000.
fn share(count: u64, total: u64) -> u64 {
    (10_000 * count).checked_div(total).unwrap_or(0)
}

impl Routing {
    /// Over the localities of a cluster and those of the cluster that Envoy itself is in, in Envoy's
    /// order, by the name of its own.
    pub(crate) fn new(
        upstream: &[Count],
        local: &[Count],
        own: Option<&Name>,
        options: Options,
    ) -> Self {
        let is_own = |count: Option<&Count>| own.is_some() && count.map(|it| &it.name) == own;
        let healthy: u64 = upstream.iter().map(|it| it.healthy).sum();
        if upstream.len() < 2
            || (local.len() < 2 && !options.forces_direct)
            || !is_own(local.first())
            || healthy < options.min_cluster_size
        {
            return Self::Everywhere;
        }
        let healthy_locals: u64 = local.iter().map(|it| it.healthy).sum();
        let shares: Vec<(u64, u64)> = upstream
            .iter()
            .map(|there| {
                // Where nothing is healthy it does not matter what comes from there.
                if there.healthy == 0 {
                    return (0, 0);
                }
                let here = local.iter().find(|here| here.name == there.name);
                let here = here.map_or(0, |here| here.healthy);
                (share(here, healthy_locals), share(there.healthy, healthy))
            })
            .collect();
        let has_own = is_own(upstream.first());
        let (from_own, to_own) = shares.first().copied().unwrap_or_default();
        if has_own && ((to_own > 0 && to_own >= from_own) || options.forces_direct) {
            return Self::Direct;
        }
        let local = match has_own {
            true => (to_own * 10_000).checked_div(from_own).unwrap_or(0),
            false => 0,
        };
        let mut left = 0;
        let capacities = shares
            .iter()
            .enumerate()
            .map(|(index, (from, to))| {
                if index > 0 || !has_own {
                    left += to.saturating_sub(*from);
                }
                left
            })
            .collect();
        Self::Residual { local, capacities }
    }

    /// Index of the locality that takes a request; `None`: any.
    pub(crate) fn pick(&self, random: u64) -> Option<usize> {
        let number = |index| draw(random, draw::ZONE + index);
        match self {
            Self::Everywhere => None,
            Self::Direct => Some(0),
            Self::Residual { local, .. } if number(1) % 10_000 < *local => Some(0),
            Self::Residual { capacities, .. } => {
                let all = *capacities.last()?;
                match number(2).checked_rem(all) {
                    Some(number) => capacities.iter().position(|upto| number < *upto),
                    None => usize::try_from(number(2) % capacities.len() as u64).ok(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn counts(text: &str) -> Vec<Count> {
        let count = |word: &str| {
            let (zone, rest) = word.split_at(1);
            let healthy = rest.chars().filter(|it| *it == 'h').count() as u64;
            Count {
                name: ["r".to_owned(), zone.to_owned(), String::new()],
                healthy,
            }
        };
        text.split_whitespace().map(count).collect()
    }

    fn residual(local: u64, capacities: &[u64]) -> Routing {
        Routing::Residual {
            local,
            capacities: capacities.to_vec(),
        }
    }

    #[rstest]
    #[case::equal("ahhh bhhh", "ahh bhh", Routing::Direct)]
    #[case::more_than_needed("ahhhhh bh", "ahh bhh", Routing::Direct)]
    #[case::less("ahh bhhhh", "ahh bhh", residual(6_666, &[0, 1_666]))]
    #[case::none_here("bhhh chhh", "ahh bh", residual(0, &[1_667, 6_667]))]
    #[case::unhealthy_here("auu bhhh chhh", "ahh bh", residual(0, &[0, 1_667, 6_667]))]
    #[case::small("ahh bhh", "ahh bhh", Routing::Everywhere)]
    #[case::one_locality("ahhhhhh", "ahh bhh", Routing::Everywhere)]
    #[case::one_local("ahhh bhhh", "ahh", Routing::Everywhere)]
    #[case::not_among_the_locals("ahhh bhhh", "bh ch", Routing::Everywhere)]
    fn routings(#[case] upstream: &str, #[case] local: &str, #[case] expected: Routing) {
        let own = ["r".to_owned(), "a".to_owned(), String::new()];
        let options = Options::default();
        let found = Routing::new(&counts(upstream), &counts(local), Some(&own), options);
        assert_eq!(found, expected);
    }

    #[test]
    fn shares_of_what_is_left() {
        let routing = residual(2_500, &[0, 1_000, 4_000]);
        let mut counts = [0; 3];
        for random in 0..10_000 {
            let picked = routing.pick(random);
            counts[picked.expect("a locality")] += 1;
        }
        for (count, expected) in counts.into_iter().zip([2_500, 1_875, 5_625]) {
            assert!(
                (expected - 200..expected + 200).contains(&count),
                "{counts:?}"
            );
        }
    }

    #[test]
    fn a_share_is_not_routed_by_zone() {
        let options = Options {
            routing_enabled: 30,
            ..Options::default()
        };
        let routed = (0..10_000).filter(|&random| options.includes(random));
        assert!((2_800..3_200).contains(&routed.count()));
    }
}
