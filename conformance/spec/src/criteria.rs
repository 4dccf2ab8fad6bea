//! `metadata_match`: which endpoints of a cluster with subsets a request may have.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};

/// Where the balancer looks in metadata.
pub(crate) const FILTER: &str = "envoy.lb";

/// Keys and values that an endpoint has to have.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Criteria(pub(crate) BTreeMap<String, Value>);

impl Criteria {
    /// A route's, or a TCP proxy's.
    pub(crate) fn new(metadata: Option<&Metadata>) -> Self {
        Self::default().with(metadata)
    }

    /// With those of one of its weighted clusters, which go over its own.
    pub(crate) fn with(&self, metadata: Option<&Metadata>) -> Self {
        let own = metadata.and_then(|metadata| metadata.filter_metadata.get(FILTER));
        own.map_or_else(|| self.clone(), |own| self.merged(own))
    }

    /// With those of a struct, which go over its own.
    pub(crate) fn merged(&self, other: &Struct) -> Self {
        let mut all = self.0.clone();
        all.extend(
            other
                .fields
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
        Self(all)
    }

    /// Only those whose keys pass.
    pub(crate) fn only(&self, passes: impl Fn(&str) -> bool) -> Self {
        let kept = self.0.iter().filter(|(key, _)| passes(key));
        Self(
            kept.map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        )
    }

    /// The labels that a subset has to have.
    pub(crate) fn labels(&self) -> Labels {
        let labels = self.0.iter();
        labels
            .map(|(key, value)| (key.clone(), text(value)))
            .collect()
    }
}

/// Keys in order, each with its value as [`text`] has it.
pub(crate) type Labels = Vec<(String, String)>;

/// A value as a text that equal values share, and no others.
pub(crate) fn text(value: &Value) -> String {
    match &value.kind {
        None => "-".to_owned(),
        Some(Kind::NullValue(_)) => "null".to_owned(),
        Some(Kind::BoolValue(value)) => value.to_string(),
        // Adding 0 turns -0 into 0.
        Some(Kind::NumberValue(value)) => format!("{:?}", value + 0.0),
        Some(Kind::StringValue(value)) => format!("{value:?}"),
        Some(Kind::ListValue(list)) => {
            let values: Vec<String> = list.values.iter().map(text).collect();
            format!("[{}]", values.join(","))
        }
        Some(Kind::StructValue(fields)) => {
            let sorted: BTreeMap<&String, &Value> = fields.fields.iter().collect();
            let fields: Vec<String> = sorted
                .into_iter()
                .map(|(key, value)| format!("{key:?}:{}", text(value)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use envoy_types::pb::google::protobuf::ListValue;
    use rstest::rstest;

    use super::*;

    pub(crate) fn string(text: &str) -> Value {
        Value {
            kind: Some(Kind::StringValue(text.to_owned())),
        }
    }

    pub(crate) fn number(number: f64) -> Value {
        Value {
            kind: Some(Kind::NumberValue(number)),
        }
    }

    pub(crate) fn list(values: Vec<Value>) -> Value {
        Value {
            kind: Some(Kind::ListValue(ListValue { values })),
        }
    }

    /// Metadata for the balancer.
    pub(crate) fn metadata(labels: &[(&str, Value)]) -> Metadata {
        let fields = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        Metadata {
            filter_metadata: [(FILTER.to_owned(), Struct { fields })].into(),
            ..Metadata::default()
        }
    }

    #[rstest]
    #[case(string("1"), number(1.0), false)]
    #[case(number(1.0), number(1.0), true)]
    #[case(number(0.0), number(-0.0), true)]
    #[case(list(vec![string("a,b")]), list(vec![string("a"), string("b")]), false)]
    #[case(list(vec![]), list(vec![]), true)]
    #[case(string("true"), Value { kind: Some(Kind::BoolValue(true)) }, false)]
    fn values(#[case] one: Value, #[case] other: Value, #[case] equal: bool) {
        assert_eq!(text(&one) == text(&other), equal);
    }

    #[test]
    fn a_weighted_clusters_own_go_over_the_routes() {
        let route = metadata(&[("v", string("1")), ("stage", string("prod"))]);
        let entry = metadata(&[("v", string("2"))]);
        let merged = Criteria::new(Some(&route)).with(Some(&entry));
        assert_eq!(
            merged.0.get("v").map(text),
            Some(text(&string("2"))),
            "the entry's"
        );
        assert_eq!(merged.0.len(), 2);
        assert_eq!(Criteria::new(Some(&route)).with(None).0.len(), 2);
        assert_eq!(Criteria::new(None), Criteria::default());
    }
}
