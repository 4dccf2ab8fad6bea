//! The network RBAC filters of filter chains, which may close connections.

use envoy_types::pb::envoy::{
    config::rbac::v3::{Rbac as Rules, rbac::Action},
    extensions::filters::network::rbac::v3::Rbac,
};
use prost::Message;

use crate::{error::ReadError, source::Source, view::View};

/// The type of the filter's configuration.
pub(crate) const NETWORK_RBAC: &str = "envoy.extensions.filters.network.rbac.v3.RBAC";

/// A network RBAC filter whose rules may close connections.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkRbac {
    /// Index in `FilterChain.filters`.
    pub index: usize,
    /// `Filter.name`.
    pub name: String,
    /// `RBAC.rules`.
    pub rules: Box<Rules>,
}

impl NetworkRbac {
    /// The filter as it is configured; `None` where it closes nothing: it has no rules, or only logs
    /// what they say.
    pub(crate) fn new(index: usize, name: &str, config: &View<'_>) -> Option<Self> {
        // The walk over the resource has found the bytes whole.
        let rules = Rbac::decode(config.bytes).ok()?.rules?;
        (rules.action != Action::Log as i32).then(|| Self {
            index,
            name: name.to_owned(),
            rules: Box::new(rules),
        })
    }

    /// The names of the policies in the order in which they are asked.
    pub fn policies(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.rules.policies.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

/// Refuses conditions that look at headers, wherever they stand in the rules of the filter.
///
/// # Errors
/// The first of them.
pub(crate) fn check(config: &View<'_>, source: &Source<'_>) -> Result<(), ReadError> {
    for field in ["rules", "shadow_rules"] {
        let rules = config.child(field);
        let policies = rules.map(|rules| rules.entries("policies"));
        for (_, policy) in policies.into_iter().flatten() {
            let parts = ["permissions", "principals"];
            for condition in parts.iter().flat_map(|part| policy.children(part)) {
                check_condition(&condition, source)?;
            }
        }
    }
    Ok(())
}

fn check_condition(condition: &View<'_>, source: &Source<'_>) -> Result<(), ReadError> {
    if let Some(header) = condition.child("header") {
        let problem = "a network filter knows no headers";
        return Err(source.invalid(&header.path, problem));
    }
    for (set, of) in [
        ("and_rules", "rules"),
        ("or_rules", "rules"),
        ("and_ids", "ids"),
        ("or_ids", "ids"),
    ] {
        let set = condition.child(set);
        for inner in set.iter().flat_map(|set| set.children(of)) {
            check_condition(&inner, source)?;
        }
    }
    for not in ["not_rule", "not_id"] {
        if let Some(inner) = condition.child(not) {
            check_condition(&inner, source)?;
        }
    }
    Ok(())
}
