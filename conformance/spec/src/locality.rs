//! `locality_weighted_lb_config`: which locality of a priority is next.

use envoy_types::pb::envoy::config::core::v3::Locality as LocalityConfig;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, LocalityLbEndpoints};

use crate::cluster::{Health, Host};
use crate::edf::Edf;

/// Region, zone and sub-zone.
pub(crate) type Name = [String; 3];

/// A locality of a priority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Locality {
    pub(crate) name: Name,
    /// `load_balancing_weight`; 0 where it has none.
    pub(crate) weight: u32,
}

/// The name of a group of endpoints' locality.
pub(crate) fn name(group: &LocalityLbEndpoints) -> Name {
    name_of(&group.locality.clone().unwrap_or_default())
}

pub(crate) fn name_of(locality: &LocalityConfig) -> Name {
    [
        locality.region.clone(),
        locality.zone.clone(),
        locality.sub_zone.clone(),
    ]
}

/// The localities of a priority that have endpoints, in Envoy's order: its own first, the others by
/// name. Groups of one name are one locality, which has the last one's weight.
pub(crate) fn of_priority(
    assignment: &ClusterLoadAssignment,
    priority: usize,
    own: Option<&LocalityConfig>,
) -> Vec<Locality> {
    let groups = || {
        let groups = assignment.endpoints.iter();
        groups.filter(|group| usize::try_from(group.priority) == Ok(priority))
    };
    let with_endpoints = groups().filter(|group| !group.lb_endpoints.is_empty());
    let mut names: Vec<Name> = with_endpoints.map(name).collect();
    let own = own.map(name_of);
    names.sort_by_key(|name| (Some(name) != own.as_ref(), name.clone()));
    names.dedup();
    let weight = |locality: &Name| {
        let mut weights = groups()
            .filter(|group| group.locality.is_some() && name(group) == *locality)
            .filter_map(|group| group.load_balancing_weight);
        weights.next_back().map_or(0, |weight| weight.value)
    };
    let localities = names.into_iter();
    localities
        .map(|name| Locality {
            weight: weight(&name),
            name,
        })
        .collect()
}

/// A weight as the fraction `number / of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Effective {
    pub(crate) number: u64,
    pub(crate) of: u64,
}

impl Effective {
    /// The weight of a locality, cut down where it lacks endpoints of this health: by the share that
    /// it has of them, raised by the overprovisioning factor (in percent).
    pub(crate) fn new<'h>(
        weight: u32,
        hosts: impl Iterator<Item = &'h Host>,
        health: Health,
        overprovisioning_factor: u32,
    ) -> Self {
        let (mut counted, mut eligible) = (0, 0);
        for host in hosts.filter(|host| host.health != Health::Draining) {
            counted += 1;
            eligible += u64::from(host.health == health);
        }
        let whole = 100 * counted;
        let available = (u64::from(overprovisioning_factor) * eligible).min(whole);
        Self {
            number: u64::from(weight) * available,
            of: whole.max(1),
        }
    }
}

/// The order of localities; one that was picked k times has the deadline (k + 1) / weight.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    /// Indices of the localities that have a weight.
    localities: Vec<usize>,
    edf: Edf<Deadline>,
}

#[derive(Debug, Clone, Copy)]
struct Deadline {
    turn: u64,
    weight: Effective,
}

impl Deadline {
    fn earlier(&self, other: &Self) -> bool {
        let side = |one: &Self, other: &Self| {
            u128::from(one.turn) * u128::from(one.weight.of) * u128::from(other.weight.number)
        };
        side(self, other) < side(other, self)
    }
}

impl Schedule {
    /// Over the localities of a priority; `None` where none has a weight.
    pub(crate) fn new(weights: &[Effective]) -> Option<Self> {
        let weighted = weights.iter().enumerate().filter(|(_, it)| it.number > 0);
        let (localities, weights): (Vec<usize>, Vec<Effective>) = weighted.unzip();
        let edf = Edf::new(weights.iter().map(|&weight| Deadline { turn: 1, weight }));
        (!localities.is_empty()).then_some(Self { localities, edf })
    }

    /// Index of the next locality.
    pub(crate) fn pick(&mut self) -> Option<usize> {
        let picked = self.edf.pick(Deadline::earlier, |_, deadline| Deadline {
            turn: deadline.turn + 1,
            ..*deadline
        })?;
        self.localities.get(picked).copied()
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::google::protobuf::UInt32Value;
    use rstest::rstest;

    use super::*;

    fn hosts(text: &str) -> Vec<Host> {
        let host = |letter| Host {
            locality: 0,
            endpoint: 0,
            weight: 1,
            health: match letter {
                'h' => Health::Healthy,
                'g' => Health::Degraded,
                'd' => Health::Draining,
                _ => Health::Unhealthy,
            },
        };
        text.chars().map(host).collect()
    }

    /// Envoy 1.40's order, `fixtures/locality-weights`, from the first pick of a fresh scheduler.
    #[rstest]
    #[case::ones(&[(3, "h"), (1, "h"), (2, "h")], &[0, 2, 0, 1, 2, 0, 0, 2, 0])]
    #[case::order(&[(1, "h"), (1, "h"), (2, "h")], &[2, 0, 1, 2, 2, 0, 1, 2])]
    #[case::some(&[(2, "h"), (0, "h"), (1, "h")], &[0, 2, 0, 0, 2, 0])]
    #[case::unhealthy(&[(3, "huu"), (1, "h")], &[0, 1, 0, 1, 0, 0, 1])]
    #[case::overprovisioned(&[(10, "hu"), (7, "h")], &[0, 1, 0, 1])]
    #[case::draining(&[(2, "dh"), (1, "h")], &[0, 1, 0, 0, 1])]
    #[case::gone(&[(5, "u"), (2, "h"), (1, "h")], &[1, 2, 1, 1, 2])]
    fn sequences(#[case] localities: &[(u32, &str)], #[case] expected: &[usize]) {
        let weight = |(weight, text): &(u32, &str)| {
            Effective::new(*weight, hosts(text).iter(), Health::Healthy, 140)
        };
        let weights: Vec<Effective> = localities.iter().map(weight).collect();
        let mut schedule = Schedule::new(&weights).expect("some locality has a weight");
        let picks: Vec<usize> = (0..expected.len())
            .filter_map(|_| schedule.pick())
            .collect();
        assert_eq!(picks, expected);
    }

    #[rstest]
    #[case("hhhh", Health::Healthy, 800, 400)]
    #[case("huuu", Health::Healthy, 280, 400)]
    #[case("hgdd", Health::Degraded, 280, 200)]
    #[case("dd", Health::Healthy, 0, 1)]
    #[case("", Health::Healthy, 0, 1)]
    fn effective(#[case] text: &str, #[case] health: Health, #[case] number: u64, #[case] of: u64) {
        let found = Effective::new(2, hosts(text).iter(), health, 140);
        assert_eq!(found, Effective { number, of });
    }

    #[test]
    fn without_weights_there_is_no_schedule() {
        let nothing = Effective { number: 0, of: 100 };
        assert!(Schedule::new(&[nothing, nothing]).is_none());
    }

    #[test]
    fn the_own_locality_goes_first() {
        let group = |zone: &str, weight: Option<u32>, count| LocalityLbEndpoints {
            locality: Some(locality(zone)),
            load_balancing_weight: weight.map(|value| UInt32Value { value }),
            lb_endpoints: vec![Default::default(); count],
            ..LocalityLbEndpoints::default()
        };
        let assignment = ClusterLoadAssignment {
            endpoints: vec![
                group("b", Some(1), 1),
                group("c", None, 1),
                group("a", Some(2), 1),
                group("b", Some(5), 0),
                group("d", Some(5), 0),
            ],
            ..ClusterLoadAssignment::default()
        };
        let found = |own: Option<&LocalityConfig>| -> Vec<(String, u32)> {
            let localities = of_priority(&assignment, 0, own).into_iter();
            localities
                .map(|it| (it.name[1].clone(), it.weight))
                .collect()
        };
        let named = |list: &[(&str, u32)]| -> Vec<(String, u32)> {
            list.iter()
                .map(|(zone, weight)| ((*zone).to_owned(), *weight))
                .collect()
        };
        assert_eq!(found(None), named(&[("a", 2), ("b", 5), ("c", 0)]));
        let own = locality("c");
        assert_eq!(found(Some(&own)), named(&[("c", 0), ("a", 2), ("b", 5)]));
    }

    fn locality(zone: &str) -> LocalityConfig {
        LocalityConfig {
            zone: zone.to_owned(),
            ..LocalityConfig::default()
        }
    }
}
