//! Envoy's `/config_dump`.

use super::{CLUSTER, LISTENER, LOAD_ASSIGNMENT, ROUTE_CONFIGURATION, Remark, Resources};
use crate::{
    error::ReadError,
    source::Source,
    view::{AnyView, View},
};

pub(super) fn collect<'a>(
    dump: &View<'a>,
    source: &Source<'_>,
    resources: &mut Resources<'a>,
) -> Result<(), ReadError> {
    resources.dumped_endpoints = true;
    resources.wrappers.push(dump.clone());
    for config in dump.children("configs") {
        let config = config.as_any();
        section(&config, source, resources)?;
    }
    Ok(())
}

fn section<'a>(
    config: &AnyView<'a>,
    source: &Source<'_>,
    resources: &mut Resources<'a>,
) -> Result<(), ReadError> {
    let name = config.type_name();
    if name.starts_with("envoy.admin.v2") || name.starts_with("envoy.api.v2") {
        return Err(source.mismatch(
            &config.path,
            "a dump of xDS v3",
            format!("{name}, of xDS v2, which Envoy 1.40 does not have"),
        ));
    }
    let Some(section) = config.content() else {
        return Ok(());
    };
    match name {
        "envoy.admin.v3.ListenersConfigDump" => listeners(&section, source, resources),
        "envoy.admin.v3.ClustersConfigDump" => clusters(&section, source, resources),
        "envoy.admin.v3.RoutesConfigDump" => routes(&section, source, resources),
        "envoy.admin.v3.EndpointsConfigDump" => endpoints(&section, source, resources),
        // `/config_dump?resource=…` lists the elements of a section without the section.
        "envoy.admin.v3.ListenersConfigDump.StaticListener" => {
            let view = resource(&section, "listener", LISTENER, source)?;
            resources.listeners.extend(view);
            Ok(())
        }
        "envoy.admin.v3.ListenersConfigDump.DynamicListener" => {
            dynamic_listener(&section, source, resources)
        }
        "envoy.admin.v3.ClustersConfigDump.StaticCluster"
        | "envoy.admin.v3.ClustersConfigDump.DynamicCluster" => {
            resources.clusters_known = true;
            dynamic(&section, "cluster", CLUSTER, source, resources)
        }
        "envoy.admin.v3.RoutesConfigDump.StaticRouteConfig" => {
            let view = resource(&section, "route_config", ROUTE_CONFIGURATION, source)?;
            resources.static_route_configurations.extend(view);
            Ok(())
        }
        "envoy.admin.v3.RoutesConfigDump.DynamicRouteConfig" => dynamic(
            &section,
            "route_config",
            ROUTE_CONFIGURATION,
            source,
            resources,
        ),
        "envoy.admin.v3.EndpointsConfigDump.StaticEndpointConfig"
        | "envoy.admin.v3.EndpointsConfigDump.DynamicEndpointConfig" => dynamic(
            &section,
            "endpoint_config",
            LOAD_ASSIGNMENT,
            source,
            resources,
        ),
        "envoy.admin.v3.BootstrapConfigDump" => {
            if let Some(bootstrap) = section.child("bootstrap") {
                super::bootstrap::around(&bootstrap, resources);
            }
            Ok(())
        }
        // Secrets and scoped routes: connection managers with scoped routes are not decided.
        _ => Ok(()),
    }
}

/// The resource in an Any field, which must be of this type.
fn resource<'a>(
    parent: &View<'a>,
    field: &str,
    expected: &str,
    source: &Source<'_>,
) -> Result<Option<View<'a>>, ReadError> {
    let Some(any) = parent.any(field) else {
        return Ok(None);
    };
    if any.type_name() != expected {
        return Err(source.mismatch(
            &any.path,
            format!("an Any of type {expected}"),
            format!("one of type {:?}", any.type_name()),
        ));
    }
    Ok(any.content())
}

fn listeners<'a>(
    section: &View<'a>,
    source: &Source<'_>,
    resources: &mut Resources<'a>,
) -> Result<(), ReadError> {
    for listener in section.children("static_listeners") {
        let view = resource(&listener, "listener", LISTENER, source)?;
        resources.listeners.extend(view);
    }
    for listener in section.children("dynamic_listeners") {
        dynamic_listener(&listener, source, resources)?;
    }
    Ok(())
}

fn dynamic_listener<'a>(
    listener: &View<'a>,
    source: &Source<'_>,
    resources: &mut Resources<'a>,
) -> Result<(), ReadError> {
    let name = format!("listener {:?}", listener.text("name"));
    if let Some(state) = listener.child("active_state") {
        let view = resource(&state, "listener", LISTENER, source)?;
        resources.listeners.extend(view);
    }
    for (field, message) in [
        ("warming_state", "is warming and takes no connections yet"),
        (
            "draining_state",
            "is draining and takes no new connections; what replaces it stands beside it",
        ),
        (
            "error_state",
            "is an update that Envoy refused; the state before it is in force",
        ),
    ] {
        if let Some(state) = listener.child(field) {
            resources.remarks.push(Remark {
                resource: name.clone(),
                path: state.path,
                message: message.to_owned(),
            });
        }
    }
    Ok(())
}

/// A resource with a version and, perhaps, an update that was refused.
fn dynamic<'a>(
    parent: &View<'a>,
    field: &str,
    expected: &str,
    source: &Source<'_>,
    resources: &mut Resources<'a>,
) -> Result<(), ReadError> {
    let view = resource(parent, field, expected, source)?;
    if let Some(state) = parent.child("error_state") {
        resources.remarks.push(Remark {
            resource: expected.to_owned(),
            path: state.path,
            message: "is an update that Envoy refused; the state before it is in force".to_owned(),
        });
    }
    match expected {
        CLUSTER => resources.clusters.extend(view),
        ROUTE_CONFIGURATION => resources.route_configurations.extend(view),
        _ => resources.load_assignments.extend(view),
    }
    Ok(())
}

fn clusters<'a>(
    section: &View<'a>,
    source: &Source<'_>,
    resources: &mut Resources<'a>,
) -> Result<(), ReadError> {
    resources.clusters_known = true;
    for field in ["static_clusters", "dynamic_active_clusters"] {
        for cluster in section.children(field) {
            dynamic(&cluster, "cluster", CLUSTER, source, resources)?;
        }
    }
    for cluster in section.children("dynamic_warming_clusters") {
        let view = resource(&cluster, "cluster", CLUSTER, source)?;
        let name = view
            .as_ref()
            .map_or("", |view| view.text("name"))
            .to_owned();
        let in_use = resources.clusters.iter();
        let replaced = in_use.clone().any(|view| view.text("name") == name);
        let message = match replaced {
            true => "is warming: the one that it is to replace is in force",
            false => {
                "is warming: until it has its endpoints, requests for it are answered as if it were missing"
            }
        };
        resources.remarks.push(Remark {
            resource: format!("cluster {name:?}"),
            path: cluster.path,
            message: message.to_owned(),
        });
        if !replaced {
            resources.warming_clusters.insert(name);
        }
    }
    Ok(())
}

fn routes<'a>(
    section: &View<'a>,
    source: &Source<'_>,
    resources: &mut Resources<'a>,
) -> Result<(), ReadError> {
    for configuration in section.children("static_route_configs") {
        let view = resource(&configuration, "route_config", ROUTE_CONFIGURATION, source)?;
        resources.static_route_configurations.extend(view);
    }
    for configuration in section.children("dynamic_route_configs") {
        dynamic(
            &configuration,
            "route_config",
            ROUTE_CONFIGURATION,
            source,
            resources,
        )?;
    }
    Ok(())
}

fn endpoints<'a>(
    section: &View<'a>,
    source: &Source<'_>,
    resources: &mut Resources<'a>,
) -> Result<(), ReadError> {
    for field in ["static_endpoint_configs", "dynamic_endpoint_configs"] {
        for configuration in section.children(field) {
            dynamic(
                &configuration,
                "endpoint_config",
                LOAD_ASSIGNMENT,
                source,
                resources,
            )?;
        }
    }
    Ok(())
}
