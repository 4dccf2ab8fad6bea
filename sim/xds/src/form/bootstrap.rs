//! A static bootstrap.

use envoy_types::pb::envoy::config::core::v3::Locality;

use super::{Remark, Resources};
use crate::view::View;

pub(super) fn collect<'a>(bootstrap: &View<'a>, resources: &mut Resources<'a>) {
    resources.clusters_known = true;
    resources.is_bootstrap = true;
    resources.wrappers.push(bootstrap.clone());
    around(bootstrap, resources);
    if let Some(held) = bootstrap.child("static_resources") {
        resources.listeners.extend(held.children("listeners"));
        resources.clusters.extend(held.children("clusters"));
    }
    let Some(dynamic) = bootstrap.child("dynamic_resources") else {
        return;
    };
    for (field, kind) in [("lds_config", "listeners"), ("cds_config", "clusters")] {
        if let Some(config) = dynamic.child(field) {
            resources.more_clusters |= field == "cds_config";
            resources.remarks.push(Remark {
                resource: "bootstrap".to_owned(),
                path: config.path,
                message: format!("{kind} that come this way are not in the snapshot"),
            });
        }
    }
}

/// What a bootstrap says besides its resources, also in a dump.
pub(super) fn around<'a>(bootstrap: &View<'a>, resources: &mut Resources<'a>) {
    let manager = bootstrap.child("cluster_manager");
    let local = manager.map(|manager| manager.text("local_cluster_name"));
    if let Some(name) = local.filter(|name| !name.is_empty()) {
        resources.local_cluster = Some(name.to_owned());
    }
    let node = bootstrap.child("node");
    if let Some(locality) = node.and_then(|node| node.child("locality")) {
        resources.node_locality = Some(Locality {
            region: locality.text("region").to_owned(),
            zone: locality.text("zone").to_owned(),
            sub_zone: locality.text("sub_zone").to_owned(),
        });
    }
    let Some(runtime) = bootstrap.child("layered_runtime") else {
        return;
    };
    for layer in runtime.children("layers") {
        let is_empty = layer
            .child("static_layer")
            .is_some_and(|layer| !layer.has("fields"));
        if !is_empty {
            resources.remarks.push(Remark {
                resource: "bootstrap".to_owned(),
                path: layer.path,
                message: "runtime values are not looked at: defaults decide".to_owned(),
            });
        }
    }
}
