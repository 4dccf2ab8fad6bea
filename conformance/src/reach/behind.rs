//! Filter chains of which no request is decided, and what that leaves unsaid.

use twinmesh_xds::{FilterChain, Snapshot, Terminal, Unsupported};

use crate::output::Style;

/// How many are shown.
const SHOWN: usize = 10;

/// A filter chain, or a listener as a whole, of which no request is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Behind<'a> {
    /// The name of the listener.
    pub(crate) listener: &'a str,
    /// The field, and why it is not decided.
    pub(crate) why: &'a Unsupported,
    /// The route configuration behind, and whether another filter chain, which is decided, leads to it.
    pub(crate) routes: Option<(usize, bool)>,
}

/// All of them.
pub(crate) fn of(snapshot: &Snapshot) -> Vec<Behind<'_>> {
    let leads_to = |chain: &FilterChain| match chain.terminal {
        Terminal::Http {
            route_configuration,
            ..
        } => route_configuration,
        _ => None,
    };
    let mut decided = Vec::new();
    let mut all = Vec::new();
    for listener in &snapshot.listeners {
        for chain in listener.all_filter_chains() {
            let why = listener.unsupported.as_ref();
            match why.or(chain.unsupported.as_ref()) {
                Some(why) => all.push((listener, why, leads_to(chain))),
                None => decided.extend(leads_to(chain)),
            }
        }
    }
    let behind = all.into_iter().map(|(listener, why, routes)| Behind {
        listener: &listener.name,
        why,
        routes: routes.map(|index| (index, decided.contains(&index))),
    });
    let mut behind: Vec<_> = behind.collect();
    behind.dedup();
    behind
}

/// What is told of them, line by line. `unsaid` says what that means for the route configuration of this name
/// behind, by whether another filter chain, which is decided, leads to it.
pub(crate) fn lines(
    snapshot: &Snapshot,
    style: Style,
    unsaid: impl Fn(&str, bool) -> String,
) -> Vec<String> {
    let all = of(snapshot);
    if all.is_empty() {
        return Vec::new();
    }
    let title = format!(
        "filter chains of which no request is decided: {}",
        all.len()
    );
    let mut lines = vec![style.bold(&title)];
    for one in all.iter().take(SHOWN) {
        let colon = if one.why.path.is_empty() { ":" } else { "" };
        lines.push(format!("  listener {}{colon} {}", one.listener, one.why));
        let Some((index, is_decided)) = one.routes else {
            continue;
        };
        let name = named(snapshot, index);
        lines.push(style.dim(&format!("    {}", unsaid(&name, is_decided))));
    }
    if all.len() > SHOWN {
        lines.push(style.dim(&format!("  and {} more", all.len() - SHOWN)));
    }
    lines
}

/// How a route configuration is called.
pub(crate) fn named(snapshot: &Snapshot, index: usize) -> String {
    let found = snapshot.route_configurations.get(index);
    match found.map_or("", |it| it.name.as_str()) {
        "" => format!("#{index}"),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A filter chain with a connection manager of this filter and route configuration.
    fn chain(name: &str, port: u32, filter: &str, routes: &str) -> serde_json::Value {
        let kind = "type.googleapis.com/envoy.extensions.filters";
        let mut filters = vec![json!({"name": "router",
            "typed_config": {"@type": format!("{kind}.http.router.v3.Router")}})];
        if !filter.is_empty() {
            let config = json!({"@type": format!("{kind}.http.lua.v3.Lua"),
                "default_source_code": {"inline_string": "function envoy_on_request(h) end"}});
            filters.insert(0, json!({"name": filter, "typed_config": config}));
        }
        let manager = json!({
            "@type": format!("{kind}.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "x", "http_filters": filters,
            "route_config": {"name": routes, "virtual_hosts": [{"name": "v", "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]}]}});
        json!({"name": name, "address": {"socket_address": {"address": "10.0.0.1", "port_value": port}},
            "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}]})
    }

    #[test]
    fn a_filter_that_leaves_all_undecided_is_named() {
        let listeners = [chain("one", 80, "f.lua", "r"), chain("other", 81, "", "s")];
        let text = json!({"static_resources": {"listeners": listeners}}).to_string();
        let options = twinmesh_xds::ReadOptions::default();
        let snapshot =
            twinmesh_xds::read_bytes("s.json", text.as_bytes(), &options).expect("Envoy takes it");
        let unsaid = |name: &str, is_decided| format!("route_config {name}: {is_decided}");
        let lines = lines(&snapshot, Style { enabled: false }, unsaid).join("\n");
        for expected in [
            "no request is decided: 1",
            "listener one filter_chains[0].filters[0].typed_config.http_filters[0]: ",
            "f.lua",
            "route_config r: false",
        ] {
            assert!(lines.contains(expected), "{lines}");
        }
        assert!(!lines.contains("other"), "{lines}");
    }
}
