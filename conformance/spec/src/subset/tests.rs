use envoy_types::pb::envoy::config::cluster::v3::cluster::lb_subset_config::LbSubsetSelector;
use envoy_types::pb::envoy::config::endpoint::v3::LocalityLbEndpoints;
use rstest::rstest;

use super::*;
use crate::criteria::tests::{list, metadata, string};

fn endpoint(labels: &[(&str, Value)]) -> LbEndpoint {
    LbEndpoint {
        metadata: Some(metadata(labels)),
        ..LbEndpoint::default()
    }
}

fn assignment(endpoints: Vec<LbEndpoint>) -> ClusterLoadAssignment {
    ClusterLoadAssignment {
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: endpoints,
            ..LocalityLbEndpoints::default()
        }],
        ..ClusterLoadAssignment::default()
    }
}

fn selector(keys: &str, fallback_policy: i32) -> LbSubsetSelector {
    LbSubsetSelector {
        keys: keys.chars().map(String::from).collect(),
        fallback_policy,
        ..LbSubsetSelector::default()
    }
}

fn subsets(selectors: &[(&str, i32)]) -> LbSubsetConfig {
    LbSubsetConfig {
        subset_selectors: selectors
            .iter()
            .map(|(keys, policy)| selector(keys, *policy))
            .collect(),
        ..LbSubsetConfig::default()
    }
}

fn criteria(labels: &[(&str, Value)]) -> Criteria {
    Criteria::new(Some(&metadata(labels)))
}

fn labelled(labels: &[(&str, &str)]) -> Attempt {
    let labels = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), format!("{value:?}")));
    Attempt::Pool(Pool::Labelled(labels.collect()))
}

const ANY: Attempt = Attempt::Pool(Pool::Any);
const DEFAULT: Attempt = Attempt::Pool(Pool::Default);

/// As Envoy 1.40 was measured: `fixtures/subsets`, prefix-first, prefix-last and twice.
#[rstest]
#[case(&[("ab", 0), ("a", 2)], "a", vec![])]
#[case(&[("a", 2), ("ab", 0)], "a", vec![ANY])]
#[case(&[("ab", 2)], "a", vec![])]
#[case(&[("a", 2), ("a", 1)], "a", vec![ANY])]
#[case(&[("a", 3)], "a", vec![DEFAULT])]
#[case(&[("a", 2)], "b", vec![])]
#[case(&[("a", 2)], "", vec![])]
fn fallbacks_of_selectors(
    #[case] selectors: &[(&str, i32)],
    #[case] asked: &str,
    #[case] expected: Vec<Attempt>,
) {
    let labels: Vec<(String, Value)> = asked
        .chars()
        .map(|key| (key.to_string(), string("9")))
        .collect();
    let labels: Vec<(&str, Value)> = labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.clone()))
        .collect();
    let subsets = Subsets::new(&subsets(selectors));
    let found = subsets.attempts(&criteria(&labels), &assignment(Vec::new()));
    assert_eq!(found, expected);
}

#[test]
fn a_subset_has_exactly_the_keys_of_its_selector() {
    let subsets = Subsets::new(&subsets(&[("ab", 0)]));
    let assignment = assignment(vec![endpoint(&[("a", string("1")), ("b", string("2"))])]);
    let of = |labels: &[(&str, Value)]| subsets.attempts(&criteria(labels), &assignment);
    let both = [("a", string("1")), ("b", string("2"))];
    assert_eq!(of(&both), [labelled(&[("a", "1"), ("b", "2")])]);
    assert_eq!(of(&[("a", string("1"))]), []);
    let more = [&both[..], &[("c", string("3"))]].concat();
    assert_eq!(of(&more), []);
}

#[test]
fn lists_stand_for_their_values() {
    let config = LbSubsetConfig {
        list_as_any: true,
        ..subsets(&[("a", 0)])
    };
    let of_list = endpoint(&[("a", list(vec![string("1"), string("2")]))]);
    let assignment = assignment(vec![of_list]);
    let asked = criteria(&[("a", string("2"))]);
    let found = Subsets::new(&config).attempts(&asked, &assignment);
    assert_eq!(found, [labelled(&[("a", "2")])]);
    let plain = LbSubsetConfig {
        list_as_any: false,
        ..config
    };
    assert_eq!(Subsets::new(&plain).attempts(&asked, &assignment), []);
}

#[test]
fn single_hosts_are_the_first_of_theirs() {
    let mut config = subsets(&[("a", 0)]);
    config.subset_selectors[0].single_host_per_subset = true;
    let assignment = assignment(vec![
        endpoint(&[("a", string("0"))]),
        endpoint(&[("a", string("1"))]),
        endpoint(&[("a", string("1"))]),
    ]);
    let found = Subsets::new(&config).attempts(&criteria(&[("a", string("1"))]), &assignment);
    assert_eq!(found, [Attempt::Single(0, 1)]);
}

#[test]
fn a_list_of_fallbacks_is_tried_in_order() {
    let config = LbSubsetConfig {
        metadata_fallback_policy: 1,
        fallback_policy: 2,
        panic_mode_any: true,
        ..subsets(&[("a", 0)])
    };
    let assignment = assignment(vec![endpoint(&[("a", string("1"))])]);
    let of = |value: &str| {
        let fields = [("a".to_owned(), string(value))].into();
        Value {
            kind: Some(Kind::StructValue(Struct { fields })),
        }
    };
    let asked = criteria(&[
        ("a", string("1")),
        ("fallback_list", list(vec![of("9"), of("1")])),
    ]);
    let found = Subsets::new(&config).attempts(&asked, &assignment);
    assert_eq!(found, [DEFAULT, ANY, labelled(&[("a", "1")])]);
}

#[test]
fn weights_are_scaled_by_the_share_of_endpoints() {
    let counts = [(3, 2, 3), (5, 1, 2), (4, 0, 1), (7, 0, 0)];
    let weights = |aware, scale| {
        let config = LbSubsetConfig {
            locality_weight_aware: aware,
            scale_locality_weight: scale,
            ..LbSubsetConfig::default()
        };
        Subsets::new(&config).weights(counts.into_iter())
    };
    assert_eq!(weights(false, true), None);
    assert_eq!(weights(true, false), Some(vec![3, 5, 4, 7]));
    assert_eq!(weights(true, true), Some(vec![2, 3, 0, 0]));
}
