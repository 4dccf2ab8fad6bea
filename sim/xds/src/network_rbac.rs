//! The network RBAC filters of filter chains, which may close connections.

use envoy_types::pb::envoy::{
    config::rbac::v3::{Rbac as Rules, rbac::Action},
    extensions::filters::network::rbac::v3::Rbac,
};
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use prost::Message;

use crate::{
    error::ReadError,
    matcher_tree::Found,
    source::Source,
    view::{AnyView, View},
};

/// The type of the filter's configuration.
pub(crate) const NETWORK_RBAC: &str = "envoy.extensions.filters.network.rbac.v3.RBAC";

/// A network RBAC filter that may close connections.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkRbac {
    /// Index in `FilterChain.filters`.
    pub index: usize,
    /// `Filter.name`.
    pub name: String,
    /// By what it decides.
    pub judge: Judge,
    /// The names of the policies in the order in which they are asked; of a matcher tree those of the
    /// actions: depth first, a map's in the order of its keys, and what `on_no_match` leads to last.
    pub policies: Vec<String>,
}

/// By what a filter decides.
#[derive(Debug, Clone, PartialEq)]
pub enum Judge {
    /// `RBAC.rules`.
    Rules(Box<Rules>),
    /// `RBAC.matcher`, beside which rules do not count.
    Matcher(Box<Matcher>),
}

impl NetworkRbac {
    /// The filter as it is configured; `None` where it closes nothing: it has neither rules nor a
    /// matcher, or only logs what the rules say.
    pub(crate) fn new(index: usize, name: &str, config: &View<'_>) -> Option<Self> {
        // The walk over the resource has found the bytes whole.
        let decoded = Rbac::decode(config.bytes).ok()?;
        let (judge, policies) = match (decoded.matcher, decoded.rules) {
            (Some(matcher), _) => {
                let found = config.child("matcher").map(|it| Found::of(&it));
                let actions = found.map(|found| found.actions).unwrap_or_default();
                let name = |action: &AnyView<'_>| {
                    let content = action.content();
                    content.map_or("", |it| it.text("name")).to_owned()
                };
                let names = actions.iter().map(name).collect();
                (Judge::Matcher(Box::new(matcher)), names)
            }
            (None, Some(rules)) if rules.action != Action::Log as i32 => {
                let mut names: Vec<String> = rules.policies.keys().cloned().collect();
                names.sort_unstable();
                (Judge::Rules(Box::new(rules)), names)
            }
            _ => return None,
        };
        Some(Self {
            index,
            name: name.to_owned(),
            judge,
            policies,
        })
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
