//! A static bootstrap.

use super::{Remark, Resources};
use crate::view::View;

pub(super) fn collect<'a>(bootstrap: &View<'a>, resources: &mut Resources<'a>) {
    resources.clusters_known = true;
    resources.wrappers.push(bootstrap.clone());
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
