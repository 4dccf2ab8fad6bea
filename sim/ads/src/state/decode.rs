//! From a response to the change that it asks for.

use std::collections::BTreeSet;

use envoy_types::pb::{
    envoy::service::discovery::v3::{
        DeltaDiscoveryResponse, DiscoveryResponse, Resource as Wrapper,
    },
    google::protobuf::Any,
};
use prost::Message;

use crate::kind::{Kind, message_name};
use crate::resource::Resource;

/// What a response asks for.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) kind: Kind,
    /// `version_info` or `system_version_info`.
    pub(super) version: String,
    pub(super) put: Vec<Resource>,
    /// Names whose resource stays as it is: heartbeats of resources with a TTL.
    pub(super) kept: Vec<String>,
    pub(super) removed: Vec<String>,
    /// Names for which the server tells an error instead of a resource.
    pub(super) failed: Vec<(String, String)>,
    /// What is neither put nor kept goes.
    pub(super) whole: bool,
}

/// Field 1 of all four types, their name.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

/// Reads a response of the state of the world. Listeners and clusters come whole; route
/// configurations and load assignments may come a few at a time.
pub(super) fn state_of_the_world(
    kind: Kind,
    response: DiscoveryResponse,
) -> Result<Change, String> {
    let mut change = Change {
        kind,
        version: response.version_info,
        put: Vec::with_capacity(response.resources.len()),
        kept: Vec::new(),
        removed: Vec::new(),
        failed: failed(response.resource_errors),
        whole: kind.is_wildcard(),
    };
    for (index, any) in response.resources.into_iter().enumerate() {
        let place = format!("DiscoveryResponse.resources[{index}]");
        if message_name(&any.type_url) == "envoy.service.discovery.v3.Resource" {
            let wrapper = Wrapper::decode(any.value.as_slice())
                .map_err(|error| format!("{place}: not a valid Resource: {error}"))?;
            change.wrapped(wrapper, Version::OfResponse, &place)?;
        } else {
            let name = name_of(kind, &any, &place)?;
            let version = change.version.clone();
            change.add(name, version, any.value);
        }
    }
    change.check_names("DiscoveryResponse.resources")?;
    Ok(change)
}

/// Reads a response of the delta protocol.
pub(super) fn delta(kind: Kind, response: DeltaDiscoveryResponse) -> Result<Change, String> {
    let further = response.removed_resource_names;
    let mut change = Change {
        kind,
        version: response.system_version_info,
        put: Vec::with_capacity(response.resources.len()),
        kept: Vec::new(),
        removed: response.removed_resources,
        failed: failed(response.resource_errors),
        whole: false,
    };
    change
        .removed
        .extend(further.into_iter().map(|removed| removed.name));
    for (index, wrapper) in response.resources.into_iter().enumerate() {
        let place = format!("DeltaDiscoveryResponse.resources[{index}]");
        change.wrapped(wrapper, Version::Own, &place)?;
    }
    change.check_names("DeltaDiscoveryResponse.resources")?;
    Ok(change)
}

/// Which version a wrapped resource gets.
enum Version {
    /// The wrapper's.
    Own,
    /// The response's: what the next request names.
    OfResponse,
}

impl Change {
    fn wrapped(&mut self, wrapper: Wrapper, version: Version, place: &str) -> Result<(), String> {
        let told = match wrapper.resource_name {
            Some(name) if wrapper.name.is_empty() => name.name,
            _ => wrapper.name,
        };
        let Some(any) = wrapper.resource else {
            self.kept.push(told);
            return Ok(());
        };
        let place = format!("{place}.resource");
        let name = name_of(self.kind, &any, &place)?;
        if !told.is_empty() && told != name {
            return Err(format!(
                "{place}: expected a resource named {told:?}, as its wrapper says, found {name:?}"
            ));
        }
        let version = match version {
            Version::Own => wrapper.version,
            Version::OfResponse => self.version.clone(),
        };
        self.add(name, version, any.value);
        Ok(())
    }

    fn add(&mut self, name: String, version: String, value: Vec<u8>) {
        self.put.push(Resource {
            kind: self.kind,
            name,
            version,
            value,
        });
    }

    fn check_names(&self, place: &str) -> Result<(), String> {
        let mut names = BTreeSet::new();
        match self.put.iter().find(|one| !names.insert(&one.name)) {
            Some(twice) => Err(format!(
                "{place}: expected resources of different names, found two {} resources named {:?}",
                self.kind, twice.name
            )),
            None => Ok(()),
        }
    }
}

/// The resource's own name.
fn name_of(kind: Kind, any: &Any, place: &str) -> Result<String, String> {
    let expected = message_name(kind.type_url());
    let found = message_name(&any.type_url);
    if found != expected {
        return Err(format!(
            "{place}: expected a resource of type {expected}, as the response says, found {found:?}"
        ));
    }
    let named = Named::decode(any.value.as_slice())
        .map_err(|error| format!("{place}: not a valid {expected}: {error}"))?;
    if named.name.is_empty() {
        return Err(format!(
            "{place}.name: expected a name, by which {kind} tells resources apart, found none"
        ));
    }
    Ok(named.name)
}

fn failed(
    errors: Vec<envoy_types::pb::envoy::service::discovery::v3::ResourceError>,
) -> Vec<(String, String)> {
    errors
        .into_iter()
        .map(|error| {
            let name = error.resource_name.map(|name| name.name);
            let detail = error.error_detail.map(|status| status.message);
            (name.unwrap_or_default(), detail.unwrap_or_default())
        })
        .collect()
}
