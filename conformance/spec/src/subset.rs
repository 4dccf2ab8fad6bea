//! `lb_subset_config`, and the extension of the same: the parts of a cluster that its endpoints'
//! metadata make, and which of them a request goes to.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::config::cluster::v3::cluster::LbSubsetConfig;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, LbEndpoint};
use envoy_types::pb::envoy::extensions::load_balancing_policies::subset::v3::Subset;
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};

use crate::cluster::{self, Host};
use crate::criteria::{Criteria, FILTER, Labels, text};

/// The criterion that holds a list of further ones.
const FALLBACK_LIST: &str = "fallback_list";

/// What a request falls back on.
#[derive(Debug, Clone, PartialEq)]
enum Fallback {
    /// Only of a selector: what the cluster says counts.
    NotDefined,
    No,
    AnyEndpoint,
    DefaultSubset,
    /// Only of a selector: the criteria of these keys.
    Keys(BTreeSet<String>),
}

#[derive(Debug, Clone, PartialEq)]
struct Selector {
    keys: BTreeSet<String>,
    fallback: Fallback,
    single_host: bool,
}

/// What a cluster says of its subsets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Subsets {
    selectors: Vec<Selector>,
    fallback: Fallback,
    default_subset: Vec<(String, Value)>,
    locality_weight_aware: bool,
    scale_locality_weight: bool,
    panic_mode_any: bool,
    list_as_any: bool,
    allow_redundant_keys: bool,
    /// `metadata_fallback_policy: FALLBACK_LIST`.
    fallback_list: bool,
}

/// A part of a cluster whose endpoints are balanced among themselves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pool {
    /// A cluster without subsets.
    Whole,
    /// `ANY_ENDPOINT`, and `panic_mode_any`.
    Any,
    /// `DEFAULT_SUBSET`.
    Default,
    /// The endpoints that a selector gives these labels.
    Labelled(Labels),
}

/// What a request tries: the next where one has no endpoint for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Attempt {
    Pool(Pool),
    /// The one endpoint of a subset of single ones: index of its locality, and in that.
    Single(usize, usize),
}

impl Subsets {
    pub(crate) fn new(config: &LbSubsetConfig) -> Self {
        let selectors = config.subset_selectors.iter().map(|selector| {
            let keys = &selector.fallback_keys_subset;
            Selector {
                keys: selector.keys.iter().cloned().collect(),
                fallback: of_selector(selector.fallback_policy, keys),
                single_host: selector.single_host_per_subset,
            }
        });
        Self {
            selectors: selectors.filter(|it| !it.keys.is_empty()).collect(),
            fallback: of_cluster(config.fallback_policy),
            default_subset: fields(config.default_subset.as_ref()),
            locality_weight_aware: config.locality_weight_aware,
            scale_locality_weight: config.scale_locality_weight,
            panic_mode_any: config.panic_mode_any,
            list_as_any: config.list_as_any,
            allow_redundant_keys: false,
            fallback_list: config.metadata_fallback_policy == 1,
        }
    }

    pub(crate) fn of_extension(config: &Subset) -> Self {
        let selectors = config.subset_selectors.iter().map(|selector| {
            let keys = &selector.fallback_keys_subset;
            Selector {
                keys: selector.keys.iter().cloned().collect(),
                fallback: of_selector(selector.fallback_policy, keys),
                single_host: selector.single_host_per_subset,
            }
        });
        let mut selectors: Vec<Selector> = selectors.filter(|it| !it.keys.is_empty()).collect();
        if config.allow_redundant_keys {
            // The longest is tried first.
            selectors.sort_by_key(|selector| std::cmp::Reverse(selector.keys.len()));
        }
        Self {
            selectors,
            fallback: of_cluster(config.fallback_policy),
            default_subset: fields(config.default_subset.as_ref()),
            locality_weight_aware: config.locality_weight_aware,
            scale_locality_weight: config.scale_locality_weight,
            panic_mode_any: config.panic_mode_any,
            list_as_any: config.list_as_any,
            allow_redundant_keys: config.allow_redundant_keys,
            fallback_list: config.metadata_fallback_policy == 1,
        }
    }

    /// What a request with these criteria tries, in order.
    pub(crate) fn attempts(
        &self,
        criteria: &Criteria,
        assignment: &ClusterLoadAssignment,
    ) -> Vec<Attempt> {
        let Some(list) = criteria.0.get(FALLBACK_LIST).filter(|_| self.fallback_list) else {
            return self.iteration(criteria, assignment);
        };
        let others = criteria.only(|key| key != FALLBACK_LIST);
        let list = match &list.kind {
            Some(Kind::ListValue(list)) => list.values.as_slice(),
            _ => &[],
        };
        if list.is_empty() {
            return self.iteration(&others, assignment);
        }
        let merged = list.iter().map(|value| match &value.kind {
            Some(Kind::StructValue(further)) => others.merged(further),
            _ => others.clone(),
        });
        merged
            .flat_map(|criteria| self.iteration(&criteria, assignment))
            .collect()
    }

    fn iteration(&self, criteria: &Criteria, assignment: &ClusterLoadAssignment) -> Vec<Attempt> {
        let reduced = self.without_redundant(criteria);
        let labels = reduced.labels();
        if let Some(found) = self.find(&labels, assignment) {
            return vec![found];
        }
        match self.selector_fallback(&labels) {
            Fallback::No => Vec::new(),
            Fallback::AnyEndpoint => vec![Attempt::Pool(Pool::Any)],
            Fallback::DefaultSubset => vec![Attempt::Pool(Pool::Default)],
            Fallback::Keys(keys) => {
                self.iteration(&reduced.only(|key| keys.contains(key)), assignment)
            }
            Fallback::NotDefined => match &self.fallback {
                Fallback::AnyEndpoint => vec![Attempt::Pool(Pool::Any)],
                Fallback::DefaultSubset if self.panic_mode_any => {
                    vec![Attempt::Pool(Pool::Default), Attempt::Pool(Pool::Any)]
                }
                Fallback::DefaultSubset => vec![Attempt::Pool(Pool::Default)],
                _ => Vec::new(),
            },
        }
    }

    /// The criteria of the first selector all of whose keys are there, where others may be too.
    fn without_redundant(&self, criteria: &Criteria) -> Criteria {
        let selectors = self.selectors.iter().filter(|_| self.allow_redundant_keys);
        let mut covered = selectors
            .filter(|selector| selector.keys.iter().all(|key| criteria.0.contains_key(key)));
        covered.next().map_or_else(
            || criteria.clone(),
            |selector| criteria.only(|key| selector.keys.contains(key)),
        )
    }

    /// The subset that has exactly these labels and some endpoint, whatever its health.
    fn find(&self, labels: &Labels, assignment: &ClusterLoadAssignment) -> Option<Attempt> {
        let priorities = cluster::hosts_by_priority(assignment);
        for host in priorities.iter().flatten() {
            let endpoint = endpoint(assignment, host)?;
            let selector = self
                .selectors
                .iter()
                .find(|selector| self.gives(selector, endpoint, labels));
            match selector {
                // The first of the first priority that has one.
                Some(selector) if selector.single_host => {
                    return Some(Attempt::Single(host.locality, host.endpoint));
                }
                Some(_) => return Some(Attempt::Pool(Pool::Labelled(labels.clone()))),
                None => {}
            }
        }
        None
    }

    /// What the selector of these keys falls back on. Of one whose keys, in order, another before it
    /// starts with, Envoy has forgotten it.
    fn selector_fallback(&self, labels: &Labels) -> Fallback {
        let starts = |selector: &Selector| {
            selector.keys.len() >= labels.len()
                && selector
                    .keys
                    .iter()
                    .zip(labels)
                    .all(|(key, (label, _))| key == label)
        };
        let first = self.selectors.iter().find(|selector| starts(selector));
        match first {
            Some(selector) if selector.keys.len() == labels.len() => selector.fallback.clone(),
            _ => Fallback::NotDefined,
        }
    }

    /// Whether the endpoint is in the pool.
    pub(crate) fn contains(&self, pool: &Pool, endpoint: &LbEndpoint) -> bool {
        match pool {
            Pool::Whole | Pool::Any => true,
            Pool::Default => self.default_subset.iter().all(|(key, wanted)| {
                let value = label(endpoint, key);
                value.is_some_and(|value| self.is(value, wanted))
            }),
            Pool::Labelled(labels) => self
                .selectors
                .iter()
                .any(|selector| self.gives(selector, endpoint, labels)),
        }
    }

    /// Whether a pool has an endpoint.
    pub(crate) fn has(&self, pool: &Pool, assignment: &ClusterLoadAssignment) -> bool {
        let mut endpoints = assignment.endpoints.iter().flat_map(|it| &it.lb_endpoints);
        endpoints.any(|endpoint| self.contains(pool, endpoint))
    }

    fn is(&self, value: &Value, wanted: &Value) -> bool {
        match &value.kind {
            Some(Kind::ListValue(list)) if self.list_as_any => {
                list.values.iter().any(|one| text(one) == text(wanted))
            }
            _ => text(value) == text(wanted),
        }
    }

    /// Whether the selector gives the endpoint these labels. With `list_as_any` a list stands for
    /// each of its values; an empty one takes back the labels before it.
    fn gives(&self, selector: &Selector, endpoint: &LbEndpoint, labels: &Labels) -> bool {
        let mut given: Vec<Labels> = Vec::new();
        for key in &selector.keys {
            let Some(value) = label(endpoint, key) else {
                return false;
            };
            let values = match &value.kind {
                Some(Kind::ListValue(list)) if self.list_as_any => {
                    list.values.iter().map(text).collect()
                }
                _ => vec![text(value)],
            };
            if given.is_empty() {
                given.push(Labels::new());
            }
            given = given
                .iter()
                .flat_map(|before| {
                    values.iter().map(|value| {
                        let mut after = before.clone();
                        after.push((key.clone(), value.clone()));
                        after
                    })
                })
                .collect();
        }
        given.contains(labels)
    }

    /// The weights of localities that balance a pool; `None` where they do not count. `counts` are,
    /// for each locality, its weight, its endpoints in the pool, and all of them.
    pub(crate) fn weights(
        &self,
        counts: impl Iterator<Item = (u32, usize, usize)>,
    ) -> Option<Vec<u32>> {
        let scaled = |(weight, own, all): (u32, usize, usize)| {
            if !self.scale_locality_weight {
                return weight;
            }
            let product = u64::from(weight) * own as u64;
            (product as f32 / all.max(1) as f32).round() as u32
        };
        self.locality_weight_aware
            .then(|| counts.map(scaled).collect())
    }
}

fn of_cluster(policy: i32) -> Fallback {
    match policy {
        1 => Fallback::AnyEndpoint,
        2 => Fallback::DefaultSubset,
        _ => Fallback::No,
    }
}

fn of_selector(policy: i32, keys: &[String]) -> Fallback {
    match policy {
        1 => Fallback::No,
        2 => Fallback::AnyEndpoint,
        3 => Fallback::DefaultSubset,
        4 => Fallback::Keys(keys.iter().cloned().collect()),
        _ => Fallback::NotDefined,
    }
}

fn fields(of: Option<&Struct>) -> Vec<(String, Value)> {
    let sorted: BTreeMap<String, Value> = of
        .map(|of| of.fields.clone().into_iter().collect())
        .unwrap_or_default();
    sorted.into_iter().collect()
}

fn endpoint<'a>(assignment: &'a ClusterLoadAssignment, host: &Host) -> Option<&'a LbEndpoint> {
    let group = assignment.endpoints.get(host.locality)?;
    group.lb_endpoints.get(host.endpoint)
}

fn label<'a>(endpoint: &'a LbEndpoint, key: &str) -> Option<&'a Value> {
    let metadata = endpoint.metadata.as_ref()?;
    metadata.filter_metadata.get(FILTER)?.fields.get(key)
}

#[cfg(test)]
mod tests;
