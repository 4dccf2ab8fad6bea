//! The localities of a priority, and the schedule in which they are chosen by weight.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::Locality as LocalityConfig;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, LocalityLbEndpoints};

use crate::cluster::{Endpoint, Health};
use crate::{CapacityError, capacity, schedule};

/// A locality's name, behind whether it is another one than Envoy's own: the order of localities.
pub type Name = (bool, String, String, String);

/// A locality of a priority.
#[derive(Debug, Clone)]
pub struct Locality {
    /// Its name.
    pub name: Name,
    /// `load_balancing_weight`, or 0.
    pub weight: u32,
}

/// The name of a group's locality.
pub fn name(group: &LocalityLbEndpoints, own: Option<&LocalityConfig>) -> Name {
    let LocalityConfig {
        region,
        zone,
        sub_zone,
    } = group.locality.clone().unwrap_or_default();
    let is_own = own
        .is_some_and(|own| (&own.region, &own.zone, &own.sub_zone) == (&region, &zone, &sub_zone));
    (!is_own, region, zone, sub_zone)
}

/// The localities of a priority that have endpoints, in order.
pub fn localities(
    assignment: &ClusterLoadAssignment,
    priority: usize,
    own: Option<&LocalityConfig>,
) -> Vec<Locality> {
    let groups = assignment.endpoints.iter();
    let groups: Vec<_> = groups
        .filter(|group| group.priority as usize == priority)
        .collect();
    let mut weights = BTreeMap::new();
    for group in groups.iter().filter(|it| !it.lb_endpoints.is_empty()) {
        weights.entry(name(group, own)).or_insert(0);
    }
    // Of several groups of one locality the last one's weight counts.
    for group in groups {
        if let (Some(weight), Some(_)) = (&group.load_balancing_weight, &group.locality)
            && let Some(known) = weights.get_mut(&name(group, own))
        {
            *known = weight.value;
        }
    }
    let weights = weights.into_iter();
    weights
        .map(|(name, weight)| Locality { name, weight })
        .collect()
}

/// The index of each group's locality among those of its priority.
pub fn indices(
    assignment: &ClusterLoadAssignment,
    localities: &[Locality],
    own: Option<&LocalityConfig>,
) -> Vec<Option<usize>> {
    let groups = assignment.endpoints.iter();
    groups
        .map(|group| {
            let name = name(group, own);
            localities.iter().position(|locality| locality.name == name)
        })
        .collect()
}

/// A weight that endpoints' health has cut down: `number / of`.
#[derive(Debug, Clone, Copy)]
pub struct Effective {
    number: u64,
    of: u64,
}

impl Effective {
    /// Of a locality with these endpoints, for those of one health.
    pub fn new<'e>(
        weight: u32,
        endpoints: impl Iterator<Item = &'e Endpoint>,
        health: Health,
        overprovisioning: u64,
    ) -> Self {
        let mut counts = [0_u64; 2];
        for endpoint in endpoints {
            let [counted, eligible] = &mut counts;
            *counted += u64::from(endpoint.health != Health::Draining);
            *eligible += u64::from(endpoint.health == health);
        }
        let [counted, eligible] = counts;
        if counted == 0 {
            return Self { number: 0, of: 1 };
        }
        let available = overprovisioning.saturating_mul(eligible);
        let number = u64::from(weight) * available.min(100 * counted);
        let divisor = schedule::greatest_common_divisor(number, 100 * counted).max(1);
        Self {
            number: number / divisor,
            of: 100 * counted / divisor,
        }
    }

    /// Whether the locality gets anything.
    pub fn is_some(self) -> bool {
        self.number > 0
    }
}

/// One period of picks of localities with these weights, none of which is 0.
///
/// # Errors
/// The period does not fit.
pub fn picks(weights: &[Effective]) -> Result<Vec<u16>, CapacityError> {
    let too_long = || CapacityError {
        resource: "turns in one choice among weighted localities",
        count: u64::MAX,
        limit: capacity::SCHEDULE,
    };
    let mut common = 1_u64;
    for weight in weights {
        let divisor = schedule::greatest_common_divisor(common, weight.of).max(1);
        common = common
            .checked_mul(weight.of / divisor)
            .ok_or_else(too_long)?;
    }
    let mut whole = Vec::with_capacity(weights.len());
    for weight in weights {
        let scaled = weight.number.checked_mul(common / weight.of.max(1));
        whole.push(scaled.filter(|it| *it < 1 << 48).ok_or_else(too_long)?);
    }
    schedule::picks(&whole)
}
