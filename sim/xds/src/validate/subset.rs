//! The subsets of clusters.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    CommonLbConfig, LbSubsetConfig,
    common_lb_config::LocalityConfigSpecifier,
    lb_subset_config::{LbSubsetSelector, lb_subset_selector::LbSubsetSelectorFallbackPolicy},
};

use crate::{error::ReadError, path::Path, source::Source};

/// `lb_subset_config`, beside `lb_policy`.
pub(super) fn check(
    config: &LbSubsetConfig,
    common: Option<&CommonLbConfig>,
    path: &Path,
    source: &Source<'_>,
) -> Result<(), ReadError> {
    if config.subset_selectors.is_empty() {
        return Ok(());
    }
    let locality = common.and_then(|common| common.locality_config_specifier.as_ref());
    let weighs = matches!(
        locality,
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_))
    );
    if config.locality_weight_aware && !weighs {
        return Err(source.invalid(
            &path.field("locality_weight_aware"),
            "common_lb_config.locality_weighted_lb_config is required beside it",
        ));
    }
    for (index, selector) in config.subset_selectors.iter().enumerate() {
        check_selector(selector, &path.item("subset_selectors", index), source)?;
    }
    Ok(())
}

/// A selector; without keys none is looked at.
pub(super) fn check_selector(
    selector: &LbSubsetSelector,
    path: &Path,
    source: &Source<'_>,
) -> Result<(), ReadError> {
    let keys: BTreeSet<&String> = selector.keys.iter().collect();
    let fallback: BTreeSet<&String> = selector.fallback_keys_subset.iter().collect();
    if keys.is_empty() {
        return Ok(());
    }
    let to_keys = selector.fallback_policy == LbSubsetSelectorFallbackPolicy::KeysSubset as i32;
    let problem = if !to_keys {
        if fallback.is_empty() {
            return Ok(());
        }
        "it may stand only beside fallback_policy KEYS_SUBSET"
    } else if fallback.is_empty() {
        "with fallback_policy KEYS_SUBSET it needs a key"
    } else if !fallback.is_subset(&keys) {
        "it may have no keys that the selector does not have"
    } else if fallback.len() == keys.len() {
        "it may not have all keys of the selector"
    } else {
        return Ok(());
    };
    Err(source.invalid(&path.field("fallback_keys_subset"), problem))
}
