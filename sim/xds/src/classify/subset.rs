//! Subsets of a cluster's endpoints.

use super::{
    Judged, OVERRIDE_HOST,
    Rule::{Decided, Judge},
    SUBSET, Table, Verdict,
    balancer::kind,
    is_known_balancer,
};
use crate::view::View;

pub(super) const TABLES: &[Table] = &[
    Table {
        message: SUBSET,
        fields: &[
            ("fallback_policy", Decided),
            ("default_subset", Decided),
            ("subset_selectors", Decided),
            ("allow_redundant_keys", Decided),
            ("locality_weight_aware", Decided),
            ("scale_locality_weight", Decided),
            ("panic_mode_any", Decided),
            ("list_as_any", Decided),
            ("metadata_fallback_policy", Decided),
            ("subset_lb_policy", Judge(within_subsets)),
        ],
    },
    Table {
        message: "envoy.extensions.load_balancing_policies.subset.v3.Subset.LbSubsetSelector",
        fields: SELECTOR,
    },
    Table {
        message: "envoy.config.cluster.v3.Cluster.LbSubsetConfig",
        fields: &[
            ("fallback_policy", Decided),
            ("default_subset", Decided),
            ("subset_selectors", Decided),
            ("locality_weight_aware", Decided),
            ("scale_locality_weight", Decided),
            ("panic_mode_any", Decided),
            ("list_as_any", Decided),
            ("metadata_fallback_policy", Decided),
        ],
    },
    Table {
        message: "envoy.config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetSelector",
        fields: SELECTOR,
    },
];

const SELECTOR: &[(&str, super::Rule)] = &[
    ("keys", Decided),
    ("single_host_per_subset", Decided),
    ("fallback_policy", Decided),
    ("fallback_keys_subset", Decided),
];

/// Without selectors there are no subsets.
pub(super) fn subsets(judged: &Judged<'_>) -> Verdict {
    match judged.child {
        Some(config) if config.has("subset_selectors") => Verdict::Decided,
        _ => Verdict::Inert,
    }
}

/// The policy that chooses within a subset.
fn within_subsets(judged: &Judged<'_>) -> Verdict {
    if judged.child.is_some_and(has_subsets) {
        Verdict::Unsupported("subsets of subsets are not decided".into())
    } else {
        Verdict::Decided
    }
}

/// Whether the policy that Envoy takes of a list has subsets, or leaves the choice to one that has.
fn has_subsets(list: &View<'_>) -> bool {
    let policies = list.children("policies");
    let Some(taken) = policies
        .iter()
        .find(|policy| is_known_balancer(&kind(policy)))
    else {
        return false;
    };
    let extension = taken.child("typed_extension_config");
    let any = extension.and_then(|extension| extension.any("typed_config"));
    match kind(taken).as_str() {
        SUBSET => true,
        OVERRIDE_HOST => any
            .and_then(|any| any.content()?.child("fallback_policy"))
            .is_some_and(|fallback| has_subsets(&fallback)),
        _ => false,
    }
}
