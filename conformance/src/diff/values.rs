//! Messages as JSON, and the fields in which two of them differ.

use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteConfiguration as RouteConfigurationConfig, VirtualHost,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use serde_json::Value;
use twinmesh_xds::{Cluster, FilterChain, Listener, RouteConfiguration, Snapshot, Terminal};

use super::pairs::{Choice, Pairs, pair};

/// A field that differs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Difference {
    /// Its path below what was compared; empty: all of it.
    pub(crate) path: String,
    /// `None`: it is not there.
    pub(crate) before: Option<Value>,
    /// `None`: it is not there.
    pub(crate) after: Option<Value>,
    /// It is an element of a list that stands elsewhere in its order: the path that it has then.
    pub(crate) moved: Option<String>,
}

/// A route configuration without its virtual hosts.
pub(crate) fn configuration(config: &RouteConfigurationConfig) -> Value {
    let config = RouteConfigurationConfig {
        virtual_hosts: Vec::new(),
        ..config.clone()
    };
    of_configuration(config)
}

/// A virtual host without its routes.
pub(crate) fn virtual_host(host: &VirtualHost) -> Value {
    let host = VirtualHost {
        routes: Vec::new(),
        ..host.clone()
    };
    taken(of_configuration(holding(host)), "/virtual_hosts/0")
}

/// A route.
pub(crate) fn route(route: &Route) -> Value {
    let host = VirtualHost {
        routes: vec![route.clone()],
        ..VirtualHost::default()
    };
    taken(of_configuration(holding(host)), "/virtual_hosts/0/routes/0")
}

fn holding(host: VirtualHost) -> RouteConfigurationConfig {
    RouteConfigurationConfig {
        virtual_hosts: vec![host],
        ..RouteConfigurationConfig::default()
    }
}

fn of_configuration(config: RouteConfigurationConfig) -> Value {
    let snapshot = Snapshot {
        route_configurations: vec![RouteConfiguration {
            name: config.name.clone(),
            config,
            ..RouteConfiguration::default()
        }],
        ..Snapshot::default()
    };
    let value = written(&snapshot);
    without_type(taken(
        value,
        "/configs/1/dynamic_route_configs/0/route_config",
    ))
}

/// A listener without its filter chains.
pub(crate) fn listener(listener: &Listener) -> Value {
    let mut bare = listener.clone();
    bare.filter_chains.clear();
    bare.config.filter_chains.clear();
    bare.default_filter_chain = None;
    bare.config.default_filter_chain = None;
    of_listener(bare)
}

/// A filter chain, without a route configuration that stands in it.
pub(crate) fn filter_chain(chain: &FilterChain) -> Value {
    let mut chain = chain.clone();
    chain.unsupported = None;
    if let Terminal::Http {
        manager,
        route_configuration,
    } = &mut chain.terminal
    {
        *route_configuration = None;
        if let Some(RouteSpecifier::RouteConfig(inline)) = &mut manager.route_specifier {
            *inline = RouteConfigurationConfig {
                name: inline.name.clone(),
                ..RouteConfigurationConfig::default()
            };
        }
    }
    let listener = Listener {
        filter_chains: vec![chain],
        ..Listener::default()
    };
    taken(of_listener(listener), "/filter_chains/0")
}

fn of_listener(mut listener: Listener) -> Value {
    listener.unsupported = None;
    let snapshot = Snapshot {
        listeners: vec![listener],
        ..Snapshot::default()
    };
    let value = written(&snapshot);
    without_type(taken(value, "/configs/0/static_listeners/0/listener"))
}

/// A cluster with its endpoints, wherever those come from, in its `load_assignment`.
pub(crate) fn cluster(cluster: &Cluster) -> Value {
    let mut bare = cluster.clone();
    bare.unsupported = None;
    bare.config
        .load_assignment
        .clone_from(&cluster.load_assignment);
    let snapshot = Snapshot {
        clusters: vec![bare],
        ..Snapshot::default()
    };
    let value = written(&snapshot);
    without_type(taken(value, "/configs/2/static_clusters/0/cluster"))
}

/// What the bootstrap says besides its resources.
pub(crate) fn bootstrap(snapshot: &Snapshot) -> Value {
    let bare = Snapshot {
        node_locality: snapshot.node_locality.clone(),
        local_cluster: snapshot.local_cluster.clone(),
        ..Snapshot::default()
    };
    let value = taken(written(&bare), "/configs/4/bootstrap");
    if value.is_null() {
        Value::Object(serde_json::Map::new())
    } else {
        value
    }
}

fn written(snapshot: &Snapshot) -> Value {
    serde_json::from_str(&twinmesh_xds::to_json(snapshot)).unwrap_or_default()
}

fn taken(mut value: Value, pointer: &str) -> Value {
    value
        .pointer_mut(pointer)
        .map(Value::take)
        .unwrap_or_default()
}

fn without_type(mut value: Value) -> Value {
    if let Some(members) = value.as_object_mut() {
        members.remove("@type");
    }
    value
}

/// The fields in which two messages differ.
pub(crate) fn differences(before: &Value, after: &Value) -> Vec<Difference> {
    let mut out = Vec::new();
    compare("", before, after, &mut out);
    out
}

fn compare(path: &str, before: &Value, after: &Value, out: &mut Vec<Difference>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Value::Object(one), Value::Object(other)) => {
            let mut names: Vec<&String> = one.keys().chain(other.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                both(&path, one.get(name), other.get(name), out);
            }
        }
        (Value::Array(one), Value::Array(other)) => lists(path, one, other, out),
        _ => both_differ(path, Some(before), Some(after), out),
    }
}

fn both(path: &str, before: Option<&Value>, after: Option<&Value>, out: &mut Vec<Difference>) {
    match (before, after) {
        (Some(before), Some(after)) => compare(path, before, after, out),
        _ => both_differ(path, before, after, out),
    }
}

fn both_differ(
    path: &str,
    before: Option<&Value>,
    after: Option<&Value>,
    out: &mut Vec<Difference>,
) {
    out.push(Difference {
        path: path.to_owned(),
        before: before.cloned(),
        after: after.cloned(),
        moved: None,
    });
}

fn paired(one: &[Value], other: &[Value]) -> Pairs {
    let content = |value: &Value| (key(value), value.to_string());
    let first: Vec<_> = one.iter().map(content).collect();
    let second: Vec<_> = other.iter().map(content).collect();
    let mut pairs = pair(&first, &second);
    let is_endpoint = |value: &Value| value.pointer("/endpoint/address").is_some();
    if one.iter().all(is_endpoint) {
        // Where an endpoint stands among others says nothing: they are compared as a set.
        pairs.moved.fill(false);
    }
    pairs
}

fn lists(path: &str, one: &[Value], other: &[Value], out: &mut Vec<Difference>) {
    let pairs = paired(one, other);
    for (index, value) in one.iter().enumerate() {
        let own = format!("{path}[{index}]");
        let to = pairs.to_second.get(index).copied().flatten();
        if let Some(to) = to
            && pairs.moved.get(index) == Some(&true)
        {
            out.push(Difference {
                path: own.clone(),
                before: None,
                after: None,
                moved: Some(format!("{path}[{to}]")),
            });
        }
        both(&own, Some(value), to.and_then(|to| other.get(to)), out);
    }
    for (index, value) in other.iter().enumerate() {
        if pairs.to_first.get(index) == Some(&None) {
            both(&format!("{path}[{index}]"), None, Some(value), out);
        }
    }
}

/// The first message with some of the [`differences`] to the second: `chosen` is asked of each of
/// them, in their order.
pub(crate) fn merged(before: &Value, after: &Value, chosen: &mut dyn FnMut() -> bool) -> Value {
    if before == after {
        return before.clone();
    }
    match (before, after) {
        (Value::Object(one), Value::Object(other)) => {
            let mut names: Vec<&String> = one.keys().chain(other.keys()).collect();
            names.sort_unstable();
            names.dedup();
            let mut members = serde_json::Map::new();
            for name in names {
                let value = merged_both(one.get(name), other.get(name), chosen);
                if let Some(value) = value {
                    members.insert(name.clone(), value);
                }
            }
            Value::Object(members)
        }
        (Value::Array(one), Value::Array(other)) => merged_lists(one, other, chosen),
        _ if chosen() => after.clone(),
        _ => before.clone(),
    }
}

fn merged_both(
    before: Option<&Value>,
    after: Option<&Value>,
    chosen: &mut dyn FnMut() -> bool,
) -> Option<Value> {
    match (before, after) {
        (Some(before), Some(after)) => Some(merged(before, after, chosen)),
        _ if chosen() => after.cloned(),
        _ => before.cloned(),
    }
}

fn merged_lists(one: &[Value], other: &[Value], chosen: &mut dyn FnMut() -> bool) -> Value {
    let pairs = paired(one, other);
    let mut choice = Choice::of(&pairs);
    let mut kept = Vec::with_capacity(one.len());
    for (index, value) in one.iter().enumerate() {
        let to = pairs.to_second.get(index).copied().flatten();
        let Some(after) = to.and_then(|to| other.get(to)) else {
            choice.remove(index, chosen());
            kept.push(value.clone());
            continue;
        };
        if pairs.moved.get(index) == Some(&true) {
            choice.move_along(index, chosen());
        }
        kept.push(merged(value, after, chosen));
    }
    for index in 0..other.len() {
        if pairs.to_first.get(index) == Some(&None) {
            choice.add(index, chosen());
        }
    }
    let places = choice.order(&pairs).into_iter();
    let all = places.filter_map(|place| match place.first {
        Some(index) => kept.get(index).cloned(),
        None => other.get(place.second?).cloned(),
    });
    Value::Array(all.collect())
}

/// By what an element of a list is known: its name, or an endpoint's address.
fn key(value: &Value) -> Option<String> {
    let name = value.get("name").and_then(Value::as_str);
    let address = || value.pointer("/endpoint/address").map(Value::to_string);
    name.map(str::to_owned).or_else(address)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(json!({"a": 1}), json!({"a": 1}), &[])]
    #[case(json!({"match": {"prefix": "/a"}}), json!({"match": {"prefix": "/b"}}), &["match.prefix"])]
    #[case(json!({"match": {"prefix": "/a"}}), json!({"match": {"path": "/a"}}), &["match.path", "match.prefix"])]
    #[case(json!({"l": [1, 2, 3]}), json!({"l": [1, 3]}), &["l[1]"])]
    #[case(json!({"l": [{"name": "x", "v": 1}, {"name": "y"}]}), json!({"l": [{"name": "y"}, {"name": "x", "v": 2}]}), &["l[0]", "l[0].v"])]
    #[case(json!({"l": [{"v": 1}]}), json!({"l": [{"v": 1}, {"v": 2}]}), &["l[1]"])]
    #[case(json!({"l": [{"name": "x"}, {"name": "y"}]}), json!({"l": [{"name": "y"}, {"name": "x"}]}), &["l[0]"])]
    #[case(json!({"l": [1, 2, 3, 4]}), json!({"l": [4, 9, 1, 3]}), &["l[1]", "l[3]", "l[1]"])]
    fn fields(#[case] before: Value, #[case] after: Value, #[case] expected: &[&str]) {
        let found = differences(&before, &after);
        let paths: Vec<&str> = found.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(paths, expected);
        assert_eq!(merged(&before, &after, &mut || true), after);
        assert_eq!(merged(&before, &after, &mut || false), before);
        let mut asked = 0;
        merged(&before, &after, &mut || {
            asked += 1;
            true
        });
        assert_eq!(asked, expected.len());
    }

    #[test]
    fn some_of_the_differences() {
        let before = json!({"a": 1, "l": [{"name": "x", "v": 1}, {"name": "y"}]});
        let after = json!({"a": 2, "l": [{"name": "z"}, {"name": "x", "v": 2}]});
        let one = |wanted: usize| {
            let mut at = 0;
            merged(&before, &after, &mut || {
                at += 1;
                at == wanted + 1
            })
        };
        let (x, y, z) = (
            json!({"name": "x", "v": 1}),
            json!({"name": "y"}),
            json!({"name": "z"}),
        );
        assert_eq!(one(0), json!({"a": 2, "l": [x, y]}));
        assert_eq!(one(1), json!({"a": 1, "l": [{"name": "x", "v": 2}, y]}));
        assert_eq!(one(2), json!({"a": 1, "l": [x]}));
        assert_eq!(one(3), json!({"a": 1, "l": [z, x, y]}));
    }

    #[test]
    fn messages_are_written() {
        let message = Route {
            name: "r".to_owned(),
            ..Route::default()
        };
        assert_eq!(route(&message), json!({"name": "r"}));
        let host = VirtualHost {
            name: "v".to_owned(),
            routes: vec![message],
            ..VirtualHost::default()
        };
        assert_eq!(virtual_host(&host), json!({"name": "v"}));
        let mut resource = Cluster::default();
        resource.config.name = "c".to_owned();
        resource.name = "c".to_owned();
        assert_eq!(cluster(&resource), json!({"name": "c"}));
        let mut bound = Listener::default();
        bound.config.name = "l".to_owned();
        assert_eq!(listener(&bound), json!({"name": "l"}));
    }
}
