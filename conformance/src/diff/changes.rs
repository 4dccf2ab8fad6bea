//! What was changed between two snapshots, field by field, and which part of either it belongs to.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use prost::Message as _;
use serde_json::Value;
use twinmesh_xds::{Cluster, FilterChain, Listener, RouteConfiguration, Snapshot};

use super::pairs::{Pairs, pair};
use super::values::{self, Difference};

/// A part of a snapshot, in indices into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    /// What the bootstrap says besides its resources.
    Bootstrap,
    /// A listener, its filter chains aside.
    Listener(usize),
    /// A filter chain; `None`: the default one.
    FilterChain(usize, Option<usize>),
    /// A route configuration, its virtual hosts aside.
    Configuration(usize),
    /// A virtual host, its routes aside.
    VirtualHost(usize, usize),
    /// A route.
    Route(usize, usize, usize),
    /// A cluster with its endpoints.
    Cluster(usize),
}

/// Which of the two snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Side {
    First,
    Second,
}

/// What became of a field or a part.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    /// Before and after; `None` where it was not, or is not there.
    Field(Option<Value>, Option<Value>),
    /// The part has come.
    Added,
    /// The part has gone.
    Removed,
    /// The part, or an element of one of its lists, stands elsewhere among its neighbours; the path
    /// that it has in the second.
    Moved(String),
}

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    /// The resource: its kind and its name.
    pub(crate) resource: String,
    /// The field's path in the resource, in the first snapshot where it is there.
    pub(crate) path: String,
    /// The field's path below its part.
    pub(crate) field: String,
    pub(crate) what: What,
    /// The part that it belongs to, in each of the snapshots that has it.
    pub(crate) parts: Vec<(Side, Part)>,
}

impl Change {
    /// Whether a decision may depend on it at all; false for timeouts, access logs and the like.
    pub(crate) fn may_decide(&self) -> bool {
        if !matches!(self.what, What::Field(..) | What::Moved(_)) || self.field.is_empty() {
            return true;
        }
        let message = match self.parts.first() {
            Some((_, Part::Listener(_))) => "envoy.config.listener.v3.Listener",
            Some((_, Part::FilterChain(..))) => "envoy.config.listener.v3.FilterChain",
            Some((_, Part::Configuration(_))) => "envoy.config.route.v3.RouteConfiguration",
            Some((_, Part::VirtualHost(..))) => "envoy.config.route.v3.VirtualHost",
            Some((_, Part::Route(..))) => "envoy.config.route.v3.Route",
            Some((_, Part::Cluster(_))) => "envoy.config.cluster.v3.Cluster",
            Some((_, Part::Bootstrap)) | None => return true,
        };
        twinmesh_xds::may_decide(message, &self.field)
    }
}

/// All changes, and how the parts of the two snapshots belong together.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) all: Vec<Change>,
    /// The files differ, so that something may have changed which none of these tells of: values of the
    /// bootstrap's runtime.
    pub(crate) may_be_more: bool,
    of: HashMap<(Side, Part), Vec<usize>>,
    /// From parts of the first to the same parts of the second.
    same: HashMap<Part, Part>,
    /// The changes of fields of a part of the first, in the order of [`values::differences`].
    fields: HashMap<Part, Range<usize>>,
    /// The change that a part has come or gone.
    whole: HashMap<(Side, Part), usize>,
    /// The change that a part of the first stands elsewhere.
    moved: HashMap<Part, usize>,
}

impl Changes {
    /// Those between two snapshots.
    pub(crate) fn between(first: &Snapshot, second: &Snapshot) -> Self {
        let mut changes = Self::default();
        changes.same.insert(Part::Bootstrap, Part::Bootstrap);
        let found = values::differences(&values::bootstrap(first), &values::bootstrap(second));
        changes.fields((Part::Bootstrap, Part::Bootstrap), "bootstrap", "", found);
        changes.listeners(first, second);
        changes.configurations(first, second);
        changes.clusters(first, second);
        changes
    }

    /// Whether there is nothing that could have changed.
    pub(crate) fn are_none(&self) -> bool {
        self.all.is_empty() && !self.may_be_more
    }

    /// Indices of the changes of a part.
    pub(crate) fn of(&self, side: Side, part: Part) -> &[usize] {
        self.of.get(&(side, part)).map_or(&[], Vec::as_slice)
    }

    /// Whether the two are one part.
    pub(crate) fn are_same(&self, first: Part, second: Part) -> bool {
        self.same.get(&first) == Some(&second)
    }

    /// The part of the second that is this part of the first.
    pub(crate) fn second(&self, first: Part) -> Option<Part> {
        self.same.get(&first).copied()
    }

    /// Indices of the changes of fields of a part of the first, in the order of
    /// [`values::differences`].
    pub(crate) fn fields_of(&self, first: Part) -> Range<usize> {
        self.fields.get(&first).cloned().unwrap_or(0..0)
    }

    /// Index of the change that the part has come or gone.
    pub(crate) fn whole_of(&self, side: Side, part: Part) -> Option<usize> {
        self.whole.get(&(side, part)).copied()
    }

    /// Index of the change that the part of the first stands elsewhere.
    pub(crate) fn moved_of(&self, first: Part) -> Option<usize> {
        self.moved.get(&first).copied()
    }

    /// The virtual hosts of the second, by route configuration, for which other requests may be needed
    /// than for the first; `None`: of all, as more was changed than their routes and clusters.
    pub(crate) fn changed_hosts(&self) -> Option<HashSet<(usize, usize)>> {
        let mut hosts = HashSet::new();
        for change in &self.all {
            for (side, part) in &change.parts {
                let (configuration, host) = match part {
                    Part::Cluster(_) => continue,
                    Part::Route(configuration, host, _) => (*configuration, *host),
                    // Which requests get to a virtual host may rest on the domains of others.
                    Part::VirtualHost(configuration, host)
                        if !["", "name", "domains"]
                            .iter()
                            .any(|name| change.field.split(['.', '[']).next() == Some(*name)) =>
                    {
                        (*configuration, *host)
                    }
                    _ => return None,
                };
                let part = Part::VirtualHost(configuration, host);
                let second = match side {
                    Side::First => self.second(part),
                    Side::Second => Some(part),
                };
                if let Some(Part::VirtualHost(configuration, host)) = second {
                    hosts.insert((configuration, host));
                }
            }
        }
        Some(hosts)
    }

    fn add(&mut self, change: Change) -> usize {
        let index = self.all.len();
        for part in &change.parts {
            self.of.entry(*part).or_default().push(index);
        }
        self.all.push(change);
        index
    }

    fn whole(&mut self, side: Side, part: Part, resource: &str, path: &str) {
        let what = match side {
            Side::First => What::Removed,
            Side::Second => What::Added,
        };
        let change = Change {
            resource: resource.to_owned(),
            path: path.to_owned(),
            field: String::new(),
            what,
            parts: vec![(side, part)],
        };
        let index = self.add(change);
        self.whole.insert((side, part), index);
    }

    fn fields(
        &mut self,
        (one, other): (Part, Part),
        resource: &str,
        path: &str,
        differences: Vec<Difference>,
    ) {
        let start = self.all.len();
        for Difference {
            path: field,
            before,
            after,
            moved,
        } in differences
        {
            self.add(Change {
                resource: resource.to_owned(),
                path: joined(path, &field),
                field,
                what: match moved {
                    Some(to) => What::Moved(joined(path, &to)),
                    None => What::Field(before, after),
                },
                parts: vec![(Side::First, one), (Side::Second, other)],
            });
        }
        self.fields.insert(one, start..self.all.len());
    }

    fn moved(&mut self, (one, other): (Part, Part), resource: &str, path: &str, to: String) {
        let change = Change {
            resource: resource.to_owned(),
            path: path.to_owned(),
            field: String::new(),
            what: What::Moved(to),
            parts: vec![(Side::First, one), (Side::Second, other)],
        };
        let index = self.add(change);
        self.moved.insert(one, index);
    }

    fn listeners(&mut self, first: &Snapshot, second: &Snapshot) {
        let content = |it: &Listener| (key(&it.name), it.config.encode_to_vec());
        let pairs = pair(
            &first.listeners.iter().map(content).collect::<Vec<_>>(),
            &second.listeners.iter().map(content).collect::<Vec<_>>(),
        );
        for (index, listener) in first.listeners.iter().enumerate() {
            let resource = resource("listener", index, &listener.name);
            let to = to(&pairs, index);
            let Some((to, other)) = to.and_then(|to| Some((to, second.listeners.get(to)?))) else {
                self.whole(Side::First, Part::Listener(index), &resource, "");
                continue;
            };
            let parts = (Part::Listener(index), Part::Listener(to));
            self.same.insert(parts.0, parts.1);
            self.chains((index, listener), (to, other), &resource);
            if listener.config != other.config {
                let before = values::listener(listener);
                let found = values::differences(&before, &values::listener(other));
                self.fields(parts, &resource, "", found);
            }
        }
        for index in added(&pairs) {
            let name = second
                .listeners
                .get(index)
                .map_or("", |it| it.name.as_str());
            let resource = resource("listener", index, name);
            self.whole(Side::Second, Part::Listener(index), &resource, "");
        }
    }

    fn chains(
        &mut self,
        (index, first): (usize, &Listener),
        (to, second): (usize, &Listener),
        resource: &str,
    ) {
        let content = |it: &FilterChain| {
            let value = it.config.encode_to_vec();
            (key(&it.config.name), value)
        };
        let pairs = pair(
            &first.filter_chains.iter().map(content).collect::<Vec<_>>(),
            &second.filter_chains.iter().map(content).collect::<Vec<_>>(),
        );
        let mut both = Vec::new();
        for (at, chain) in first.filter_chains.iter().enumerate() {
            let other = pairs.to_second.get(at).copied().flatten();
            let other = other.and_then(|it| Some((Some(it), second.filter_chains.get(it)?)));
            both.push((Some(at), Some(chain), other));
        }
        let other = second.default_filter_chain.as_ref().map(|it| (None, it));
        both.push((None, first.default_filter_chain.as_ref(), other));
        for (at, chain, other) in both {
            let path = chain_path(at);
            match (chain, other) {
                (Some(chain), Some((other_at, other))) => {
                    let parts = (
                        Part::FilterChain(index, at),
                        Part::FilterChain(to, other_at),
                    );
                    self.same.insert(parts.0, parts.1);
                    if chain.config != other.config || chain.terminal != other.terminal {
                        let before = values::filter_chain(chain);
                        let after = values::filter_chain(other);
                        let found = values::differences(&before, &after);
                        self.fields(parts, resource, &path, found);
                    }
                }
                (Some(_), None) => {
                    self.whole(Side::First, Part::FilterChain(index, at), resource, &path);
                }
                (None, Some((at, _))) => {
                    self.whole(Side::Second, Part::FilterChain(to, at), resource, &path);
                }
                (None, None) => {}
            }
        }
        for at in added(&pairs) {
            let path = chain_path(Some(at));
            self.whole(
                Side::Second,
                Part::FilterChain(to, Some(at)),
                resource,
                &path,
            );
        }
    }

    fn configurations(&mut self, first: &Snapshot, second: &Snapshot) {
        let content = |it: &RouteConfiguration| (key(&it.name), it.name.clone());
        let (one, other) = (&first.route_configurations, &second.route_configurations);
        let mut pairs = pair(
            &one.iter().map(content).collect::<Vec<_>>(),
            &other.iter().map(content).collect::<Vec<_>>(),
        );
        if one.len() == 1 && other.len() == 1 {
            // The only one, whatever it is called.
            (pairs.to_second, pairs.to_first) = (vec![Some(0)], vec![Some(0)]);
        }
        for (index, configuration) in one.iter().enumerate() {
            let resource = resource("route_config", index, &configuration.name);
            let to = to(&pairs, index).and_then(|to| Some((to, other.get(to)?)));
            let Some((to, other)) = to else {
                self.whole(Side::First, Part::Configuration(index), &resource, "");
                continue;
            };
            let parts = (Part::Configuration(index), Part::Configuration(to));
            self.same.insert(parts.0, parts.1);
            let before = values::configuration(&configuration.config);
            let found = values::differences(&before, &values::configuration(&other.config));
            self.fields(parts, &resource, "", found);
            self.hosts((index, configuration), (to, other), &resource);
        }
        for index in added(&pairs) {
            let name = other.get(index).map_or("", |it| it.name.as_str());
            let resource = resource("route_config", index, name);
            self.whole(Side::Second, Part::Configuration(index), &resource, "");
        }
    }

    fn hosts(
        &mut self,
        (index, first): (usize, &RouteConfiguration),
        (to, second): (usize, &RouteConfiguration),
        resource: &str,
    ) {
        let hosts = |it: &RouteConfiguration| -> Vec<_> {
            let hosts = it.config.virtual_hosts.iter();
            hosts
                .map(|host| (key(&host.name), host.domains.clone()))
                .collect()
        };
        let pairs = pair(&hosts(first), &hosts(second));
        for (at, host) in first.config.virtual_hosts.iter().enumerate() {
            let path = format!("virtual_hosts[{at}]");
            let other = pairs.to_second.get(at).copied().flatten();
            let other = other.and_then(|it| Some((it, second.config.virtual_hosts.get(it)?)));
            let Some((other_at, other)) = other else {
                self.whole(Side::First, Part::VirtualHost(index, at), resource, &path);
                continue;
            };
            let parts = (
                Part::VirtualHost(index, at),
                Part::VirtualHost(to, other_at),
            );
            self.same.insert(parts.0, parts.1);
            if host != other {
                let before = values::virtual_host(host);
                let found = values::differences(&before, &values::virtual_host(other));
                self.fields(parts, resource, &path, found);
            }
            self.routes(
                (index, at, &host.routes),
                (to, other_at, &other.routes),
                (first, second),
                resource,
            );
        }
        for at in added(&pairs) {
            let path = format!("virtual_hosts[{at}]");
            self.whole(Side::Second, Part::VirtualHost(to, at), resource, &path);
        }
    }

    fn routes(
        &mut self,
        first: (
            usize,
            usize,
            &[envoy_types::pb::envoy::config::route::v3::Route],
        ),
        second: (
            usize,
            usize,
            &[envoy_types::pb::envoy::config::route::v3::Route],
        ),
        configurations: (&RouteConfiguration, &RouteConfiguration),
        resource: &str,
    ) {
        let routes = |routes: &[envoy_types::pb::envoy::config::route::v3::Route]| -> Vec<_> {
            let routes = routes.iter();
            routes
                .map(|route| (key(&route.name), route.encode_to_vec()))
                .collect()
        };
        let pairs = pair(&routes(first.2), &routes(second.2));
        let path = |host, route| configurations.0.route_path(host, route);
        let other_path = |host, route| configurations.1.route_path(host, route);
        for (at, route) in first.2.iter().enumerate() {
            let part = Part::Route(first.0, first.1, at);
            let own = path(first.1, at);
            let other = pairs.to_second.get(at).copied().flatten();
            let Some((other_at, other)) = other.and_then(|it| Some((it, second.2.get(it)?))) else {
                self.whole(Side::First, part, resource, &own);
                continue;
            };
            let parts = (part, Part::Route(second.0, second.1, other_at));
            self.same.insert(parts.0, parts.1);
            if pairs.moved.get(at) == Some(&true) {
                self.moved(parts, resource, &own, other_path(second.1, other_at));
            }
            if route != other {
                let before = values::route(route);
                let found = values::differences(&before, &values::route(other));
                self.fields(parts, resource, &own, found);
            }
        }
        for at in added(&pairs) {
            let own = other_path(second.1, at);
            self.whole(
                Side::Second,
                Part::Route(second.0, second.1, at),
                resource,
                &own,
            );
        }
    }

    fn clusters(&mut self, first: &Snapshot, second: &Snapshot) {
        let content = |it: &Cluster| (key(&it.name), it.name.clone());
        let pairs = pair(
            &first.clusters.iter().map(content).collect::<Vec<_>>(),
            &second.clusters.iter().map(content).collect::<Vec<_>>(),
        );
        for (index, cluster) in first.clusters.iter().enumerate() {
            let resource = resource("cluster", index, &cluster.name);
            let to = to(&pairs, index).and_then(|to| Some((to, second.clusters.get(to)?)));
            let Some((to, other)) = to else {
                self.whole(Side::First, Part::Cluster(index), &resource, "");
                continue;
            };
            let parts = (Part::Cluster(index), Part::Cluster(to));
            self.same.insert(parts.0, parts.1);
            if cluster.config != other.config || cluster.load_assignment != other.load_assignment {
                let before = values::cluster(cluster);
                let found = values::differences(&before, &values::cluster(other));
                self.fields(parts, &resource, "", found);
            }
        }
        for index in added(&pairs) {
            let name = second.clusters.get(index).map_or("", |it| it.name.as_str());
            let resource = resource("cluster", index, name);
            self.whole(Side::Second, Part::Cluster(index), &resource, "");
        }
    }
}

fn to(pairs: &Pairs, index: usize) -> Option<usize> {
    pairs.to_second.get(index).copied().flatten()
}

/// The indices in the second list of what is not in the first.
fn added(pairs: &Pairs) -> Vec<usize> {
    let all = pairs.to_first.iter().enumerate();
    all.filter(|(_, from)| from.is_none())
        .map(|(index, _)| index)
        .collect()
}

fn key(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| name.to_owned())
}

fn joined(path: &str, field: &str) -> String {
    match (path.is_empty(), field.is_empty()) {
        (true, _) => field.to_owned(),
        (_, true) => path.to_owned(),
        _ => format!("{path}.{field}"),
    }
}

fn chain_path(at: Option<usize>) -> String {
    at.map_or_else(
        || "default_filter_chain".to_owned(),
        |at| format!("filter_chains[{at}]"),
    )
}

fn resource(kind: &str, index: usize, name: &str) -> String {
    if name.is_empty() {
        format!("{kind} #{index}")
    } else {
        format!("{kind} {name}")
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use twinmesh_xds::{ReadOptions, read_bytes};

    use super::*;

    const BOTH: &str = "
name: r
virtual_hosts:
- { name: a, domains: [a.test], routes: [{ name: x, match: { prefix: / }, route: { cluster: one } }] }
- { name: b, domains: [b.test], routes: [{ name: second, match: { prefix: / }, route: { cluster: one } }] }
";

    #[rstest]
    #[case::nothing("", "", Some(vec![]))]
    #[case::a_route("name: second", "name: other", Some(vec![1]))]
    #[case::a_field_of_a_route("/ }, route: { cluster: one } }] }\n- ", "/a }, route: { cluster: two } }] }\n- ", Some(vec![0]))]
    #[case::a_field_of_a_host("name: b,", "name: b, require_tls: ALL,", Some(vec![1]))]
    #[case::domains("[b.test]", "[b.test, c.test]", None)]
    #[case::another_host("name: b,", "name: c,", None)]
    #[case::of_the_configuration(
        "name: r\n",
        "name: r\nmax_direct_response_body_size_bytes: 9\n",
        None
    )]
    fn hosts_that_are_not_the_same(
        #[case] from: &str,
        #[case] to: &str,
        #[case] expected: Option<Vec<usize>>,
    ) {
        let read = |text: &str| {
            let options = ReadOptions::default();
            read_bytes("r.yaml", text.as_bytes(), &options).expect("a snapshot")
        };
        let changes = Changes::between(&read(BOTH), &read(&BOTH.replacen(from, to, 1)));
        let expected = expected.map(|all| all.into_iter().map(|host| (0, host)).collect());
        assert_eq!(changes.changed_hosts(), expected);
    }
}
