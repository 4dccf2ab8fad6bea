//! Matcher trees of RBAC filters.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use crate::listener::RANGES;
use crate::matcher::set;
use crate::matcher_tree::{Keyed, by_header, of_header, tree, tree_string};
use crate::rbac::Of;

const ACTION: &str = "type.googleapis.com/envoy.config.rbac.v3.Action";
const COMMON: &str = "type.googleapis.com/envoy.extensions.matching.common_inputs";
const RANGE_LIST: &str = "type.googleapis.com/envoy.extensions.matching.input_matchers.ip.v3.Ip";

/// Inputs of addresses.
pub const ADDRESSES: &[&str] = &[
    "network.v3.DestinationIPInput",
    "network.v3.DirectSourceIPInput",
    "network.v3.DirectSourceIPInput",
    "network.v3.SourceIPInput",
    "network.v3.SourceIPInput",
];
/// Inputs of ports.
pub const PORTS: &[&str] = &[
    "network.v3.DestinationPortInput",
    "network.v3.SourcePortInput",
];
/// The input of the server name.
pub const SERVER_NAMES: &[&str] = &["network.v3.ServerNameInput"];
/// Inputs of certificates.
pub const CERTIFICATES: &[&str] = &[
    "ssl.v3.UriSanInput",
    "ssl.v3.DnsSanInput",
    "ssl.v3.SubjectInput",
];

/// Inputs, and texts that they may say or that stand right beside.
pub type Texts = &'static [(&'static [&'static str], &'static [&'static str])];

const TEXTS: Texts = &[
    (
        ADDRESSES,
        &[
            "10.1.0.1",
            "10.1.0.10",
            "127.0.0.1",
            "fd00::1",
            "10.",
            "127",
            "fd",
            "::1",
        ],
    ),
    (
        ADDRESSES,
        &[
            "10.1.0.1",
            "10.1.0.2",
            "127.0.0.1",
            "::ffff:10.1.0.1",
            "1",
            ".1",
            ":",
        ],
    ),
    (PORTS, &["80", "81", "8080", "8", "0", "1", "1000", "08"]),
    (
        SERVER_NAMES,
        &["a.com", "b.a.com", "A.com", "c.b.a.com", "a", "b", ".com"],
    ),
    (CERTIFICATES, &["a", "a.com", "b"]),
];

fn input(name: &str) -> Value {
    json!({"name": "i", "typed_config": {"@type": format!("{COMMON}.{name}")}})
}

/// A predicate of one of these texts.
pub fn of_text(texts: Texts) -> BoxedStrategy<Value> {
    let single = select(texts).prop_flat_map(|(inputs, texts)| {
        let kinds = &["exact", "prefix", "suffix", "contains"][..];
        let plain = (select(kinds), select(texts), any::<bool>());
        let plain = plain
            .prop_map(|(kind, text, ignore_case)| json!({kind: text, "ignore_case": ignore_case}));
        (select(inputs), prop_oneof![4 => plain, 1 => tree_string()])
    });
    single
        .prop_map(|(name, string)| {
            json!({"single_predicate": {"input": input(name), "value_match": string}})
        })
        .boxed()
}

/// A predicate of an address.
pub fn in_ranges() -> BoxedStrategy<Value> {
    let ranges = subsequence(RANGES, 1..3);
    let single = (select(ADDRESSES), ranges).prop_map(|(name, ranges)| {
        let ranges: Vec<Value> = ranges
            .into_iter()
            .map(|(prefix, length)| json!({"address_prefix": prefix, "prefix_len": length}))
            .collect();
        let config = json!({"@type": RANGE_LIST, "stat_prefix": "s", "cidr_ranges": ranges});
        let custom = json!({"name": "c", "typed_config": config});
        json!({"single_predicate": {"input": input(name), "custom_match": custom}})
    });
    single.boxed()
}

/// Keys for one of these texts.
pub fn by_text(texts: Texts) -> BoxedStrategy<Keyed> {
    let keyed = select(texts).prop_flat_map(|(inputs, texts)| {
        (select(inputs), subsequence(texts, 1..4)).prop_map(|(name, keys)| Keyed {
            input: input(name),
            keys: keys.into_iter().map(str::to_owned).collect(),
            ranges: false,
        })
    });
    keyed.boxed()
}

/// Ranges for an address.
pub fn by_range() -> BoxedStrategy<Keyed> {
    let keyed = (select(ADDRESSES), vec(select(RANGES), 1..4)).prop_map(|(name, ranges)| Keyed {
        input: input(name),
        keys: ranges
            .into_iter()
            .map(|(prefix, length)| format!("{prefix}/{length}"))
            .collect(),
        ranges: true,
    });
    keyed.boxed()
}

fn action() -> BoxedStrategy<Value> {
    let action = select(&["ALLOW", "ALLOW", "DENY", "LOG"][..]).prop_map(|action| {
        let config = json!({"@type": ACTION, "name": action, "action": action});
        json!({"action": {"name": "a", "typed_config": config}})
    });
    action.boxed()
}

/// A matcher for a filter of these.
pub fn matcher(of: Of) -> BoxedStrategy<Value> {
    let (single, keyed) = match of {
        Of::Requests => (
            prop_oneof![3 => of_header(), 2 => of_text(TEXTS), 1 => in_ranges()].boxed(),
            prop_oneof![3 => by_header(), 1 => by_text(TEXTS), 2 => by_range()].boxed(),
        ),
        Of::Connections => (
            prop_oneof![2 => of_text(TEXTS), 1 => in_ranges()].boxed(),
            prop_oneof![1 => by_text(TEXTS), 1 => by_range()].boxed(),
        ),
    };
    tree(action(), single, keyed)
}

/// Has the filter let on what its tree leads nowhere.
pub fn open(config: &mut Value) {
    let action = json!({"@type": ACTION, "name": "open", "action": "ALLOW"});
    if let Some(matcher) = config.get_mut("matcher") {
        let leads = json!({"action": {"name": "a", "typed_config": action}});
        set(matcher, "on_no_match", leads);
    }
}
