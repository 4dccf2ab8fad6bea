//! Whose rules decide, where Envoy's versions and other readers of the same resources differ.

mod envoy_138;
mod grpc;

use std::fmt;
use std::str::FromStr;

use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use envoy_types::pb::envoy::config::route::v3::Route;

use crate::report::{Effect, Finding, FindingKind};
use crate::snapshot::{Snapshot, Unsupported};

/// Whose rules decide. It is an input of a snapshot's reading, so that every engine goes by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Profile {
    /// Envoy 1.40: a header matcher tries the lines of a repeated header one by one.
    #[default]
    Envoy140,
    /// Envoy 1.38, and later ones whose runtime feature
    /// `envoy.reloadable_features.match_headers_individually` is off: a header matcher sees the
    /// lines of a repeated header as one value, joined by commas.
    Envoy138,
    /// The xDS client of gRPC: a snapshot is narrowed to what it reads, and what of its rules is not
    /// decided becomes unsupported.
    Grpc,
}

impl Profile {
    /// All of them, the default first.
    pub const ALL: [Self; 3] = [Self::Envoy140, Self::Envoy138, Self::Grpc];

    /// As it is called in commands and cases.
    pub fn name(self) -> &'static str {
        match self {
            Self::Envoy140 => "envoy-1.40",
            Self::Envoy138 => "envoy-1.38",
            Self::Grpc => "grpc",
        }
    }

    /// Whether a header matcher sees the lines of a repeated header as one value, joined by commas.
    pub fn joins_lines(self) -> bool {
        match self {
            Self::Envoy140 => false,
            Self::Envoy138 | Self::Grpc => true,
        }
    }
}

impl Profile {
    /// The health of an endpoint, in Envoy's terms: to gRPC one is healthy or it is not there.
    pub fn health(self, health: HealthStatus) -> HealthStatus {
        match (self, health) {
            (Self::Grpc, HealthStatus::Unknown | HealthStatus::Healthy) => health,
            (Self::Grpc, _) => HealthStatus::Unhealthy,
            (Self::Envoy140 | Self::Envoy138, _) => health,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// No profile is called so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no profile is called `{0}`: expected one of envoy-1.40, envoy-1.38, grpc")]
pub struct UnknownProfile(String);

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        let found = Self::ALL.into_iter().find(|it| it.name() == text);
        found.ok_or_else(|| UnknownProfile(text.to_owned()))
    }
}

impl Snapshot {
    /// Has a profile's rules decide, and leaves undecided what they do not say.
    pub(crate) fn take_profile(&mut self, profile: Profile) {
        self.profile = profile;
        match profile {
            Profile::Envoy140 => {}
            Profile::Envoy138 => envoy_138::narrow(self),
            Profile::Grpc => grpc::narrow(self),
        }
    }

    /// Reports that something is not decided, and gives what says so in its place.
    fn leave(&mut self, resource: String, path: String, reason: String) -> Unsupported {
        self.report.findings.push(Finding {
            resource,
            path: path.clone(),
            kind: FindingKind::NotDecided,
            effect: Effect::Unsupported,
            message: reason.clone(),
        });
        Unsupported { path, reason }
    }
}

/// Leaves the routes of a route configuration undecided for which `why` has a field and a reason.
fn leave_route(
    snapshot: &mut Snapshot,
    configuration: usize,
    why: &mut dyn FnMut(&Route) -> Option<(String, String)>,
) {
    let Some(found) = snapshot.route_configurations.get(configuration) else {
        return;
    };
    let resource = format!("route configuration {:?}", found.name);
    let hosts = found.config.virtual_hosts.iter().enumerate();
    let routes = hosts.flat_map(|(host, config)| {
        let routes = config.routes.iter().enumerate();
        routes.map(move |(index, route)| ((host, index), route))
    });
    let left: Vec<_> = routes
        .filter_map(|((host, index), route)| {
            let (field, reason) = why(route)?;
            let path = format!("{}.{field}", found.route_path(host, index));
            Some(((host, index), path, reason))
        })
        .collect();
    for ((host, index), path, reason) in left {
        let unsupported = snapshot.leave(resource.clone(), path, reason);
        let found = snapshot.route_configurations.get_mut(configuration);
        let host = found.and_then(|it| it.virtual_hosts.get_mut(host));
        if let Some(mark) = host.and_then(|host| host.routes.get_mut(index)) {
            mark.get_or_insert(unsupported);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_goes_by_its_name() {
        for profile in Profile::ALL {
            assert_eq!(profile.to_string().parse(), Ok(profile));
        }
        let unknown = "envoy-1.39".parse::<Profile>().expect_err("there is none");
        for profile in Profile::ALL {
            assert!(unknown.to_string().contains(profile.name()), "{unknown}");
        }
    }
}
