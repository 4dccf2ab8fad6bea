//! The route configurations, each with its virtual hosts and routes marked.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use twinmesh_xds::{FilterChain, Snapshot, Terminal};

use super::{MARK, json as steps};

/// By index into `Snapshot::route_configurations`, ready to stand in a connection manager.
pub struct Routes(BTreeMap<usize, Value>);

impl Routes {
    /// Takes them out of the connection managers, and out of the dump's own section.
    pub fn new(snapshot: &Snapshot, listeners: &mut [Value], section: Vec<Value>) -> Self {
        let inline = snapshot.inline_route_configurations();
        let mut all = BTreeMap::new();
        let outside = (0..snapshot.route_configurations.len()).filter(|it| !inline.contains(it));
        all.extend(outside.zip(section));
        for (of, config) in snapshot.listeners.iter().zip(listeners) {
            let chains = of.filter_chains.iter().enumerate();
            for (index, chain) in chains {
                let found = config.pointer_mut(&format!("/filter_chains/{index}"));
                all.extend(table_in(chain, found));
            }
            if let Some(chain) = &of.default_filter_chain {
                all.extend(table_in(chain, config.get_mut("default_filter_chain")));
            }
        }
        for table in all.values_mut() {
            mark(table);
        }
        Self(all)
    }

    /// A route configuration; one without virtual hosts where the snapshot does not hold it.
    pub fn table(&self, index: Option<usize>) -> Value {
        index
            .and_then(|index| self.0.get(&index))
            .cloned()
            .unwrap_or_else(|| json!({"virtual_hosts": []}))
    }
}

/// The table inside a chain's connection manager.
fn table_in(chain: &FilterChain, config: Option<&mut Value>) -> Option<(usize, Value)> {
    let Terminal::Http {
        route_configuration: Some(index),
        ..
    } = &chain.terminal
    else {
        return None;
    };
    let filter = config?.get_mut("filters")?.as_array_mut()?.last_mut()?;
    let table = filter.pointer_mut("/typed_config/route_config")?;
    Some((*index, table.take()))
}

/// Names virtual hosts and routes by index, and takes out what would reach for something else.
fn mark(table: &mut Value) {
    steps::remove(table, &["vhds"]);
    plain(table);
    // A table that came by RDS may name clusters that are not there.
    if table.get("validate_clusters").is_none() {
        steps::set(table, "validate_clusters", Value::Bool(false));
    }
    for (index, host) in steps::elements(table, "virtual_hosts").enumerate() {
        name(host, index);
        plain(host);
        for (index, route) in routes_of(host).into_iter().enumerate() {
            name(route, index);
            plain(route);
            steps::remove(route, &["tracing"]);
            if let Some(action) = route.get_mut("route") {
                steps::remove(action, &["request_mirror_policies"]);
                if let Some(weighted) = action.get_mut("weighted_clusters") {
                    steps::elements(weighted, "clusters").for_each(plain);
                }
            }
        }
    }
}

/// The routes of a virtual host, in the order in which a snapshot has them.
fn routes_of(host: &mut Value) -> Vec<&mut Value> {
    if host.get("matcher").is_some() {
        let mut found = Vec::new();
        if let Some(matcher) = host.get_mut("matcher") {
            in_matcher(matcher, &mut found);
        }
        return found;
    }
    steps::elements(host, "routes").collect()
}

fn in_matcher<'a>(matcher: &'a mut Value, found: &mut Vec<&'a mut Value>) {
    let Some(members) = matcher.as_object_mut() else {
        return;
    };
    let mut last = None;
    for (name, member) in members {
        match name.as_str() {
            "matcher_list" => {
                for field in steps::elements(member, "matchers") {
                    in_on_match(field.get_mut("on_match"), found);
                }
            }
            "matcher_tree" => {
                let maps = ["exact_match_map", "prefix_match_map"];
                let map = maps.into_iter().find(|map| member.get(map).is_some());
                let map = map.and_then(|map| member.get_mut(map)?.get_mut("map")?.as_object_mut());
                let mut entries: Vec<_> = map.into_iter().flatten().collect();
                entries.sort_by_key(|(key, _)| *key);
                for (_, on_match) in entries {
                    in_on_match(Some(on_match), found);
                }
            }
            "on_no_match" => last = Some(member),
            _ => {}
        }
    }
    in_on_match(last, found);
}

fn in_on_match<'a>(on_match: Option<&'a mut Value>, found: &mut Vec<&'a mut Value>) {
    let Some(on_match) = on_match else {
        return;
    };
    if on_match.get("matcher").is_some() {
        if let Some(matcher) = on_match.get_mut("matcher") {
            in_matcher(matcher, found);
        }
        return;
    }
    let Some(action) = on_match.pointer_mut("/action/typed_config") else {
        return;
    };
    let kind = action.get("@type").and_then(Value::as_str);
    if kind.is_some_and(|kind| kind.ends_with(".RouteList")) {
        found.extend(steps::elements(action, "routes"));
    } else {
        found.push(action);
    }
}

/// Drops mirrors, which would move the balancers of other clusters, and the settings of filters
/// that no Envoy has.
fn plain(part: &mut Value) {
    steps::remove(part, &["request_mirror_policies"]);
    if let Some(settings) = part
        .get_mut("typed_per_filter_config")
        .and_then(Value::as_object_mut)
    {
        settings.retain(|_, setting| steps::is_envoys(setting));
    }
}

fn name(part: &mut Value, index: usize) {
    let Some(members) = part.as_object_mut() else {
        return;
    };
    let metadata = members.entry("metadata").or_insert_with(|| json!({}));
    let Some(metadata) = metadata.as_object_mut() else {
        return;
    };
    let filters = metadata
        .entry("filter_metadata")
        .or_insert_with(|| json!({}));
    steps::set(filters, MARK, json!({"index": index.to_string()}));
}
