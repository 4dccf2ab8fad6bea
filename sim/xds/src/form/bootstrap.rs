//! A static bootstrap.

use envoy_types::pb::envoy::config::core::v3::Locality;

use super::{Remark, Resources, RuntimeKey};
use crate::{path::Path, view::View};

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
        if let Some(values) = layer.child("static_layer") {
            let path = layer.path.field("static_layer");
            runtime_keys(&values, "", &path, &mut resources.runtime);
        } else if !layer.has("admin_layer") {
            resources.remarks.push(Remark {
                resource: "bootstrap".to_owned(),
                path: layer.path,
                message: "the runtime values that come this way are not in the snapshot".to_owned(),
            });
        }
    }
}

/// The values of a layer. A struct may be a value, a percentage, or hold further ones.
fn runtime_keys(values: &View<'_>, within: &str, path: &Path, found: &mut Vec<RuntimeKey>) {
    const OF_A_PERCENTAGE: [&str; 2] = ["numerator", "denominator"];
    for (name, value) in values.entries("fields") {
        let key = format!("{within}{name}");
        let inner = value.child("struct_value");
        let is_percentage = inner.as_ref().is_some_and(|inner| {
            let mut fields = inner.entries("fields").into_iter();
            fields.any(|(name, _)| OF_A_PERCENTAGE.contains(&name))
        });
        match inner {
            Some(inner) if !is_percentage => {
                runtime_keys(&inner, &format!("{key}."), path, found);
            }
            _ => found.push(RuntimeKey {
                // A double's bits, and those of a string or bool that is not there.
                is_zero: !value.has("string_value")
                    && !value.has("struct_value")
                    && value.number("number_value") == 0,
                flag: value
                    .has("bool_value")
                    .then(|| value.number("bool_value") != 0),
                key,
                path: path.clone(),
            }),
        }
    }
}
