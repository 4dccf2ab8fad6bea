//! Values that the bootstrap's runtime layers set (`Bootstrap.layered_runtime`). None is taken for a
//! decision: what is known to go by one is undecided, and of the others a finding says so.

use super::Assembly;
use crate::{
    form::{Remark, Resources, RuntimeKey},
    profile::Profile,
    snapshot::{Snapshot, Unsupported},
    view::View,
};

/// Whether header matchers see the lines of a repeated header one by one, as Envoy 1.39 and later do.
const INDIVIDUALLY: &str = "envoy.reloadable_features.match_headers_individually";

/// What a key of Envoy's own has a say over.
enum Concerns {
    Nothing,
    /// Every listener.
    Listeners,
    /// Listeners with a fault filter.
    Faults,
    /// Every cluster.
    Clusters,
    /// The cluster of this name.
    Cluster(String),
    /// It is not known here.
    Unknown,
}

fn concerns(key: &str, is_zero: bool) -> Concerns {
    const LIMIT: &str = "overload.global_downstream_max_connections";
    const DEPRECATED: &str = "envoy.deprecated_features";
    const NOTHING: [&str; 4] = [
        "re2.max_program_size",
        "envoy.features",
        "tracing",
        "upstream.use_retry",
    ];
    let within = |group: &str| is_at(key, group);
    if key.starts_with(DEPRECATED) || NOTHING.iter().any(|group| within(group)) {
        return Concerns::Nothing;
    }
    if key == LIMIT {
        return if is_zero {
            Concerns::Listeners
        } else {
            Concerns::Nothing
        };
    }
    const FEATURES: [&str; 4] = [
        INDIVIDUALLY,
        "envoy.reloadable_features.strip_dotdot_segments_with_parameters",
        "envoy.reloadable_features.max_request_headers_count",
        "envoy.reloadable_features.max_request_headers_size_kb",
    ];
    if within("http_connection_manager") || FEATURES.contains(&key) {
        return Concerns::Listeners;
    }
    if within("fault.http") {
        return Concerns::Faults;
    }
    if let Some(name) = key.strip_prefix("upstream.maintenance_mode.") {
        return Concerns::Cluster(name.to_owned());
    }
    if let Some(rest) = key.strip_prefix("circuit_breakers.") {
        // NAME.PRIORITY.THRESHOLD, and names may have dots.
        let name = rest.rsplitn(3, '.').nth(2).unwrap_or(rest);
        return Concerns::Cluster(name.to_owned());
    }
    if within("upstream") {
        return Concerns::Clusters;
    }
    Concerns::Unknown
}

/// Whether the value is the one by which the profile's rules go.
fn is_of_the_profile(of: &RuntimeKey, profile: Profile) -> bool {
    of.key == INDIVIDUALLY && of.flag == Some(profile != Profile::Envoy138)
}

/// A resource that a key may concern.
struct Held<'h> {
    view: Option<&'h View<'h>>,
    cluster: Option<String>,
    is_listener: bool,
    unsupported: &'h mut Option<Unsupported>,
}

impl Held<'_> {
    fn is_concerned(&self, by: &Concerns) -> bool {
        const FAULT: &[u8] = b"envoy.extensions.filters.http.fault.v3.HTTPFault";
        match by {
            Concerns::Nothing | Concerns::Unknown => false,
            Concerns::Listeners => self.is_listener,
            Concerns::Faults => {
                let bytes = self.view.map_or(&[][..], |view| view.bytes);
                self.is_listener && bytes.windows(FAULT.len()).any(|window| window == FAULT)
            }
            Concerns::Clusters => self.cluster.is_some(),
            Concerns::Cluster(name) => self.cluster.as_ref() == Some(name),
        }
    }
}

impl Assembly<'_> {
    /// Marks what is undecided by the runtime, and says of every other key that it is not looked at.
    pub(super) fn leave_runtime(&mut self, resources: &Resources<'_>, snapshot: &mut Snapshot) {
        let keys: Vec<(&RuntimeKey, Concerns)> = resources
            .runtime
            .iter()
            .filter(|it| !is_of_the_profile(it, resources.profile))
            .map(|it| (it, concerns(&it.key, it.is_zero)))
            .filter(|(_, by)| !matches!(by, Concerns::Nothing))
            .collect();
        if keys.is_empty() {
            return;
        }
        let reason = |key: &str| format!("the runtime value {key} has a say, and is not looked at");
        let mut marked = vec![false; keys.len()];
        for held in held(resources, snapshot) {
            let names = held.view.map(View::runtime_keys).unwrap_or_default();
            for ((RuntimeKey { key, .. }, by), marked) in keys.iter().zip(&mut marked) {
                if held.is_concerned(by) || names.iter().any(|name| is_at(key, name)) {
                    *marked = true;
                    held.unsupported.get_or_insert_with(|| Unsupported {
                        path: String::new(),
                        reason: reason(key),
                    });
                }
            }
        }
        for ((RuntimeKey { key, path, .. }, by), marked) in keys.into_iter().zip(marked) {
            if marked {
                self.unsupported("bootstrap", path.to_string(), reason(key));
            } else if matches!(by, Concerns::Unknown) {
                self.remark(Remark {
                    resource: "bootstrap".to_owned(),
                    path: path.clone(),
                    message: format!(
                        "the runtime value {key} is not looked at; an Envoy that does may decide otherwise"
                    ),
                });
            }
        }
    }
}

/// Whether a key is of this name, or of a group of this name.
fn is_at(key: &str, name: &str) -> bool {
    let rest = key.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The resources of a snapshot beside what they were read from. What stands inline in a connection manager
/// is part of its listener.
fn held<'h>(
    resources: &'h Resources<'h>,
    snapshot: &'h mut Snapshot,
) -> impl Iterator<Item = Held<'h>> {
    let listeners = snapshot.listeners.iter_mut().zip(&resources.listeners);
    let listeners = listeners.map(|(listener, view)| Held {
        view: Some(view),
        cluster: None,
        is_listener: true,
        unsupported: &mut listener.unsupported,
    });
    let configurations = snapshot.route_configurations.iter_mut();
    let configurations = configurations.zip(&resources.route_configurations);
    let configurations = configurations.map(|(configuration, view)| Held {
        view: Some(view),
        cluster: None,
        is_listener: false,
        unsupported: &mut configuration.unsupported,
    });
    let clusters = snapshot.clusters.iter_mut().enumerate();
    let clusters = clusters.map(|(index, cluster)| Held {
        view: resources.clusters.get(index),
        cluster: Some(cluster.name.clone()),
        is_listener: false,
        unsupported: &mut cluster.unsupported,
    });
    listeners.chain(configurations).chain(clusters)
}
