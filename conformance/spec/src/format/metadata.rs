//! Metadata in format strings.

use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::google::protobuf::{Value, value::Kind};

/// Numbers up to here are written without an exponent and without a fraction.
const MOST: f64 = 1e15;

/// The value at `namespace:key:…`; `None` where there is nothing.
///
/// # Errors
/// It would be written as JSON, which is not decided.
pub(super) fn value(metadata: Option<&Metadata>, path: &str) -> Result<Option<String>, ()> {
    let mut keys = path.split(':');
    let namespace = keys.next().unwrap_or_default();
    let Some(mut fields) = metadata
        .and_then(|metadata| metadata.filter_metadata.get(namespace))
        .map(|namespace| &namespace.fields)
    else {
        return Ok(None);
    };
    let mut found: Option<&Value> = None;
    for key in keys {
        if let Some(value) = found {
            match &value.kind {
                Some(Kind::StructValue(inner)) => fields = &inner.fields,
                _ => return Ok(None),
            }
        }
        match fields.get(key) {
            Some(value) => found = Some(value),
            None => return Ok(None),
        }
    }
    match found.map(|value| &value.kind) {
        // The whole namespace.
        None => Err(()),
        Some(Some(Kind::StringValue(text))) => Ok(Some(text.clone())),
        Some(Some(Kind::BoolValue(value))) => Ok(Some(value.to_string())),
        Some(Some(Kind::NumberValue(number))) if number.fract() == 0.0 && number.abs() < MOST => {
            Ok(Some(format!("{number:.0}")))
        }
        Some(Some(Kind::NullValue(_)) | None) => Ok(None),
        Some(Some(_)) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::google::protobuf::Struct;

    use super::*;

    fn text(text: &str) -> Value {
        Value {
            kind: Some(Kind::StringValue(text.to_owned())),
        }
    }

    // What Envoy 1.40 sent.
    #[test]
    fn values_are_found_by_their_keys() {
        let inner = Struct {
            fields: [("k".to_owned(), text("v"))].into(),
        };
        let fields = [
            ("s", Kind::StringValue("str".to_owned())),
            ("n", Kind::NumberValue(3.0)),
            ("f", Kind::NumberValue(1.5)),
            ("b", Kind::BoolValue(true)),
            ("z", Kind::NullValue(0)),
            ("o", Kind::StructValue(inner)),
        ];
        let fields = fields.map(|(name, kind)| (name.to_owned(), Value { kind: Some(kind) }));
        let namespace = Struct {
            fields: fields.into(),
        };
        let metadata = Metadata {
            filter_metadata: [("ns".to_owned(), namespace)].into(),
            ..Metadata::default()
        };
        let some = |text: &str| Ok(Some(text.to_owned()));
        for (path, expected) in [
            ("ns:s", some("str")),
            ("ns:n", some("3")),
            ("ns:b", some("true")),
            ("ns:z", Ok(None)),
            ("ns:o:k", some("v")),
            ("ns:o:no", Ok(None)),
            ("ns:s:k", Ok(None)),
            ("ns:no", Ok(None)),
            ("no:s", Ok(None)),
            ("", Ok(None)),
            ("ns:f", Err(())),
            ("ns:o", Err(())),
            ("ns", Err(())),
        ] {
            assert_eq!(value(Some(&metadata), path), expected, "{path}");
        }
        assert_eq!(value(None, "ns:s"), Ok(None));
    }
}
