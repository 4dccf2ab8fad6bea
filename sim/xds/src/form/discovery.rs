//! DiscoveryResponses, one or a stream of them.
//!
//! As Envoy takes them: a response with listeners or with clusters is the whole set and replaces
//! the one before; route configurations and load assignments replace those of their name.

use super::{CLUSTER, LISTENER, LOAD_ASSIGNMENT, ROUTE_CONFIGURATION, Resources};
use crate::{error::ReadError, schema::type_name, source::Source, view::View};

pub(super) fn collect<'a>(
    responses: &[View<'a>],
    source: &Source<'_>,
    resources: &mut Resources<'a>,
) -> Result<(), ReadError> {
    for response in responses {
        resources.wrappers.push(response.clone());
        collect_one(response, source, resources)?;
    }
    Ok(())
}

fn collect_one<'a>(
    response: &View<'a>,
    source: &Source<'_>,
    resources: &mut Resources<'a>,
) -> Result<(), ReadError> {
    let declared = type_name(response.text("type_url"));
    let mut views = Vec::new();
    let mut kind = declared;
    for resource in response.children("resources") {
        let mut any = resource.as_any();
        // ADS servers may wrap a resource with its name and version.
        if any.type_name() == "envoy.service.discovery.v3.Resource" {
            match any.content().and_then(|wrapper| wrapper.any("resource")) {
                Some(inner) => any = inner,
                None => continue,
            }
        }
        if kind.is_empty() {
            kind = any.type_name();
        }
        if any.type_name() != kind {
            return Err(source.mismatch(
                &any.path,
                format!("a resource of the response's type {kind:?}"),
                format!("one of type {:?}", any.type_name()),
            ));
        }
        views.extend(any.content());
    }
    match kind {
        LISTENER => resources.listeners = views,
        CLUSTER => {
            resources.clusters_known = true;
            resources.clusters = views;
        }
        ROUTE_CONFIGURATION => replace(&mut resources.route_configurations, views, "name"),
        LOAD_ASSIGNMENT => replace(&mut resources.load_assignments, views, "cluster_name"),
        kind if kind.starts_with("envoy.api.v2.") => {
            return Err(source.mismatch(
                &response.path,
                "resources of xDS v3",
                format!("{kind}, of xDS v2, which Envoy 1.40 does not have"),
            ));
        }
        _ => {}
    }
    Ok(())
}

/// Puts in what is new; names inside one response stay as they are, so that two of one name are
/// found later.
fn replace<'a>(held: &mut Vec<View<'a>>, new: Vec<View<'a>>, name: &str) {
    held.retain(|old| !new.iter().any(|view| view.text(name) == old.text(name)));
    held.extend(new);
}
