//! Subsets of a cluster: which endpoints each has, and which of them a request tries.

use std::collections::{BTreeSet, HashMap};

use envoy_types::pb::envoy::config::cluster::v3::cluster::lb_subset_config::{
    LbSubsetFallbackPolicy, LbSubsetMetadataFallbackPolicy,
    lb_subset_selector::LbSubsetSelectorFallbackPolicy as SelectorPolicy,
};
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, LbEndpoint};
use envoy_types::pb::google::protobuf::{Value, value::Kind};
use twinmesh_xds::Subsets;

use crate::criteria::{BALANCER, Criteria, Labels, canonical, labels, overlay};

/// The key whose value lists further criteria.
const FALLBACKS: &str = "fallback_list";

/// Endpoints that are balanced by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pool {
    /// All of a cluster without subsets.
    Whole,
    /// All of a cluster with subsets.
    Any,
    /// Those of `default_subset`.
    Default,
    /// Those of a selector's subset.
    Subset(Labels),
}

/// What a request tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// To have an endpoint of these.
    Pool(Pool),
    /// The endpoint of this locality and place there, whatever its health.
    Single(usize, usize),
}

/// The endpoints of a subset.
#[derive(Debug, Clone, Default)]
struct Members {
    /// By locality and place there.
    places: Vec<(usize, usize)>,
    /// `single_host_per_subset`: only the first counts.
    single: bool,
}

/// A cluster's subsets.
#[derive(Debug, Clone)]
pub struct Index {
    config: Subsets,
    keys: Vec<Vec<String>>,
    members: HashMap<Labels, Members>,
    /// Those of `default_subset`.
    default: Vec<(usize, usize)>,
}

/// The value of a key in the endpoint's metadata.
fn label<'e>(endpoint: &'e LbEndpoint, key: &str) -> Option<&'e Value> {
    let metadata = endpoint.metadata.as_ref()?;
    let own = metadata.filter_metadata.get(BALANCER)?;
    own.fields.get(key)
}

impl Index {
    /// The subsets that the endpoints make.
    pub fn new(config: &Subsets, assignment: Option<&ClusterLoadAssignment>) -> Self {
        let sorted = |keys: &[String]| -> Vec<String> {
            let keys: BTreeSet<String> = keys.iter().cloned().collect();
            keys.into_iter().collect()
        };
        let mut index = Self {
            keys: config
                .config
                .subset_selectors
                .iter()
                .map(|selector| sorted(&selector.keys))
                .collect(),
            config: config.clone(),
            members: HashMap::new(),
            default: Vec::new(),
        };
        let groups = assignment.map_or(&[][..], |assignment| &assignment.endpoints);
        // Envoy goes through one priority after the other.
        let mut order: Vec<usize> = (0..groups.len()).collect();
        order.sort_by_key(|&at| groups.get(at).map(|group| group.priority));
        for locality in order {
            let Some(group) = groups.get(locality) else {
                continue;
            };
            for (position, endpoint) in group.lb_endpoints.iter().enumerate() {
                index.add(endpoint, (locality, position));
            }
        }
        index
    }

    fn add(&mut self, endpoint: &LbEndpoint, place: (usize, usize)) {
        if self.in_default(endpoint) {
            self.default.push(place);
        }
        let selectors = self.config.config.subset_selectors.iter();
        for (selector, keys) in selectors.zip(&self.keys) {
            for labels in self.given(keys, endpoint) {
                let members = self.members.entry(labels).or_insert_with(|| Members {
                    places: Vec::new(),
                    single: selector.single_host_per_subset,
                });
                if members.places.last() != Some(&place) {
                    members.places.push(place);
                }
            }
        }
    }

    /// Whether a list of an endpoint stands for each of its values.
    fn values(&self, value: &Value) -> Vec<String> {
        match &value.kind {
            Some(Kind::ListValue(list)) if self.config.config.list_as_any => {
                list.values.iter().map(canonical).collect()
            }
            _ => vec![canonical(value)],
        }
    }

    fn in_default(&self, endpoint: &LbEndpoint) -> bool {
        let wanted = self.config.config.default_subset.iter();
        let mut wanted = wanted.flat_map(|wanted| &wanted.fields);
        wanted.all(|(key, value)| {
            let wanted = canonical(value);
            label(endpoint, key).is_some_and(|value| self.values(value).contains(&wanted))
        })
    }

    /// The labels that a selector of these keys gives an endpoint; several where values are lists.
    /// As in Envoy an empty list takes the labels before it away, and what follows starts over.
    fn given(&self, keys: &[String], endpoint: &LbEndpoint) -> Vec<Labels> {
        let mut all: Vec<Labels> = Vec::new();
        for key in keys {
            let Some(value) = label(endpoint, key) else {
                return Vec::new();
            };
            let values = self.values(value);
            let before = if all.is_empty() {
                vec![Labels::new()]
            } else {
                all
            };
            all = Vec::with_capacity(before.len() * values.len());
            for labels in &before {
                for value in &values {
                    let mut longer = labels.clone();
                    longer.push((key.clone(), value.clone()));
                    all.push(longer);
                }
            }
        }
        all
    }

    /// What a request with these criteria tries, one after the other.
    pub fn attempts(&self, criteria: &Criteria) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        let lists = LbSubsetMetadataFallbackPolicy::FallbackList as i32;
        let list = criteria
            .get(FALLBACKS)
            .filter(|_| self.config.config.metadata_fallback_policy == lists);
        let Some(list) = list else {
            self.resolve(criteria.clone(), &mut attempts);
            return attempts;
        };
        let mut rest = criteria.clone();
        rest.remove(FALLBACKS);
        match &list.kind {
            Some(Kind::ListValue(list)) if !list.values.is_empty() => {
                for value in &list.values {
                    let mut criteria = rest.clone();
                    if let Some(Kind::StructValue(wanted)) = &value.kind {
                        overlay(&mut criteria, wanted);
                    }
                    self.resolve(criteria, &mut attempts);
                }
            }
            _ => self.resolve(rest, &mut attempts),
        }
        attempts
    }

    fn resolve(&self, mut criteria: Criteria, attempts: &mut Vec<Attempt>) {
        loop {
            if self.config.allow_redundant_keys {
                let covered = |keys: &&Vec<String>| {
                    !keys.is_empty() && keys.iter().all(|key| criteria.contains_key(key))
                };
                if let Some(keys) = self.keys.iter().find(covered).cloned() {
                    criteria.retain(|key, _| keys.contains(key));
                }
            }
            let wanted = labels(&criteria);
            if let Some(members) = self.members.get(&wanted) {
                attempts.push(match members.places.first() {
                    Some(&(locality, place)) if members.single => Attempt::Single(locality, place),
                    _ => Attempt::Pool(Pool::Subset(wanted)),
                });
                return;
            }
            match self.of_selector(&wanted) {
                SelectorPolicy::NotDefined => break,
                SelectorPolicy::NoFallback => return,
                SelectorPolicy::AnyEndpoint => {
                    attempts.push(Attempt::Pool(Pool::Any));
                    return;
                }
                SelectorPolicy::DefaultSubset => {
                    attempts.push(Attempt::Pool(Pool::Default));
                    return;
                }
                // Fewer keys each time.
                SelectorPolicy::KeysSubset => {
                    let kept = self.kept(&wanted);
                    criteria.retain(|key, _| kept.contains(key));
                }
            }
        }
        match LbSubsetFallbackPolicy::try_from(self.config.config.fallback_policy) {
            Ok(LbSubsetFallbackPolicy::AnyEndpoint) => attempts.push(Attempt::Pool(Pool::Any)),
            Ok(LbSubsetFallbackPolicy::DefaultSubset) => {
                attempts.push(Attempt::Pool(Pool::Default));
                if self.config.config.panic_mode_any {
                    attempts.push(Attempt::Pool(Pool::Any));
                }
            }
            Ok(LbSubsetFallbackPolicy::NoFallback) | Err(_) => {}
        }
    }

    /// The selector whose fallback counts for these keys: the first that has them all at its start,
    /// if it has no others. Envoy keeps a selector's where its keys make a new branch in a tree.
    fn selector(&self, wanted: &Labels) -> Option<usize> {
        let starts = |keys: &Vec<String>| {
            keys.len() >= wanted.len()
                && std::iter::zip(keys, wanted).all(|(key, (name, _))| key == name)
        };
        let first = self
            .keys
            .iter()
            .position(|keys| !keys.is_empty() && starts(keys))?;
        let keys = self.keys.get(first)?;
        (keys.len() == wanted.len()).then_some(first)
    }

    fn of_selector(&self, wanted: &Labels) -> SelectorPolicy {
        let selectors = &self.config.config.subset_selectors;
        self.selector(wanted)
            .and_then(|at| selectors.get(at))
            .and_then(|selector| SelectorPolicy::try_from(selector.fallback_policy).ok())
            .unwrap_or(SelectorPolicy::NotDefined)
    }

    fn kept(&self, wanted: &Labels) -> &[String] {
        let selectors = &self.config.config.subset_selectors;
        self.selector(wanted)
            .and_then(|at| selectors.get(at))
            .map_or(&[], |selector| &selector.fallback_keys_subset)
    }

    /// The places of a pool's endpoints; `None`: all of them.
    pub fn places(&self, pool: &Pool) -> Option<&[(usize, usize)]> {
        match pool {
            Pool::Whole | Pool::Any => None,
            Pool::Default => Some(&self.default),
            Pool::Subset(labels) => {
                let members = self.members.get(labels);
                Some(members.map_or(&[], |members| &members.places))
            }
        }
    }

    /// Whether a pool goes on: a subset without endpoints is forgotten.
    pub fn has(&self, pool: &Pool) -> bool {
        !matches!(pool, Pool::Subset(labels) if !self.members.contains_key(labels))
    }

    /// The weight of a locality for a pool that has `own` of its `all` endpoints; `None` where
    /// localities do not count.
    pub fn weight(&self, weight: u32, own: usize, all: usize) -> Option<u32> {
        let config = &self.config.config;
        if !config.locality_weight_aware {
            return None;
        }
        if !config.scale_locality_weight || all == 0 {
            return Some(if config.scale_locality_weight {
                0
            } else {
                weight
            });
        }
        let product = u64::from(weight).wrapping_mul(own as u64);
        Some((product as f32 / all as f32).round() as u32)
    }
}
