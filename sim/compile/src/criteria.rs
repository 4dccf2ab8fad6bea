//! What `metadata_match` asks of the endpoints of a cluster with subsets.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};

/// The filter whose metadata a balancer reads.
pub const BALANCER: &str = "envoy.lb";

/// Keys in order, each with its value as [`canonical`] writes it.
pub type Labels = Vec<(String, String)>;

/// Keys and the values that are wanted of them.
pub type Criteria = BTreeMap<String, Value>;

/// Those of a route, overlaid with those of its weighted cluster.
pub fn criteria(route: Option<&Metadata>, entry: Option<&Metadata>) -> Criteria {
    let mut criteria = Criteria::new();
    for metadata in [route, entry].into_iter().flatten() {
        if let Some(wanted) = metadata.filter_metadata.get(BALANCER) {
            overlay(&mut criteria, wanted);
        }
    }
    criteria
}

/// Adds what is wanted further; of one key the later value counts.
pub fn overlay(criteria: &mut Criteria, wanted: &Struct) {
    for (key, value) in &wanted.fields {
        criteria.insert(key.clone(), value.clone());
    }
}

/// The criteria with canonical values.
pub fn labels(criteria: &Criteria) -> Labels {
    let pairs = criteria.iter();
    pairs
        .map(|(key, value)| (key.clone(), canonical(value)))
        .collect()
}

/// Writes a value so that two are equal where what is written is.
pub fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match &value.kind {
        None => out.push('?'),
        Some(Kind::NullValue(_)) => out.push('0'),
        Some(Kind::BoolValue(true)) => out.push('t'),
        Some(Kind::BoolValue(false)) => out.push('f'),
        Some(Kind::NumberValue(number)) => {
            // Both zeros are equal.
            let bits = if *number == 0.0 { 0 } else { number.to_bits() };
            out.push_str(&format!("n{bits:016x}"));
        }
        Some(Kind::StringValue(text)) => write_text(text, out),
        Some(Kind::ListValue(list)) => {
            out.push_str(&format!("l{}:", list.values.len()));
            for value in &list.values {
                write(value, out);
            }
        }
        Some(Kind::StructValue(fields)) => {
            let sorted: BTreeMap<&String, &Value> = fields.fields.iter().collect();
            out.push_str(&format!("m{}:", sorted.len()));
            for (key, value) in sorted {
                write_text(key, out);
                write(value, out);
            }
        }
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push_str(&format!("s{}:{text}", text.len()));
}
