//! The body of a route's direct response.

#![allow(deprecated)] // Envoy still reads text_format

use envoy_types::pb::envoy::config::core::v3::{
    DataSource, SubstitutionFormatString, data_source::Specifier,
    substitution_format_string::Format,
};
use envoy_types::pb::envoy::config::route::v3::DirectResponseAction;
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use serde_json::{Map, Value as Json};

use super::NotKnown;
use super::entries::Entries;
use super::format::{self, Asked, Lone};

/// The largest whole number that is surely written without an exponent, plus one.
const PLAIN_NUMBERS: f64 = 1e6;

/// What makes a body: what formats see, and how the format treats what is missing.
struct Maker<'a> {
    request: &'a Entries,
    asked: Asked<'a>,
    omits: bool,
}

/// The body that the route answers with, where it is known.
pub(super) fn body(
    action: &DirectResponseAction,
    request: &Entries,
    asked: Asked<'_>,
) -> Result<String, NotKnown> {
    let plain = action.body.as_ref().map_or(Ok(""), text)?;
    let Some(config) = &action.body_format else {
        return Ok(plain.to_owned());
    };
    let asked = Asked {
        reply: Some(plain),
        ..asked
    };
    Maker {
        request,
        asked,
        omits: config.omit_empty_values,
    }
    .formatted(config)
}

/// The text of a source that stands in the configuration.
fn text(source: &DataSource) -> Result<&str, NotKnown> {
    match &source.specifier {
        None => Ok(""),
        Some(Specifier::InlineString(text)) => Ok(text),
        Some(Specifier::InlineBytes(bytes)) => std::str::from_utf8(bytes).map_err(|_| NotKnown),
        Some(Specifier::Filename(_) | Specifier::EnvironmentVariable(_)) => Err(NotKnown),
    }
}

impl Maker<'_> {
    fn formatted(&self, config: &SubstitutionFormatString) -> Result<String, NotKnown> {
        if !config.formatters.is_empty() {
            return Err(NotKnown);
        }
        match &config.format {
            None => Err(NotKnown),
            Some(Format::TextFormat(format)) => self.text(format),
            Some(Format::TextFormatSource(source)) => self.text(text(source)?),
            Some(Format::JsonFormat(fields)) => {
                let mut written = Json::Object(self.object(fields)?).to_string();
                written.push('\n');
                Ok(written)
            }
        }
    }

    fn text(&self, format: &str) -> Result<String, NotKnown> {
        let nothing = if self.omits { "" } else { "-" };
        format::value(format, nothing, self.request, None, &self.asked).ok_or(NotKnown)
    }

    fn object(&self, fields: &Struct) -> Result<Map<String, Json>, NotKnown> {
        let mut names: Vec<&String> = fields.fields.keys().collect();
        names.sort();
        let mut made = Map::new();
        for name in names {
            let value = fields.fields.get(name).and_then(|it| it.kind.as_ref());
            let value = self.value(value)?;
            if !self.leaves_out(&value) {
                made.insert(name.clone(), value);
            }
        }
        Ok(made)
    }

    fn leaves_out(&self, value: &Json) -> bool {
        let is_empty = match value {
            Json::Null => true,
            Json::Object(inner) => inner.is_empty(),
            _ => false,
        };
        self.omits && is_empty
    }

    fn value(&self, kind: Option<&Kind>) -> Result<Json, NotKnown> {
        Ok(match kind {
            None | Some(Kind::NullValue(_)) => Json::Null,
            Some(Kind::BoolValue(value)) => Json::Bool(*value),
            Some(Kind::NumberValue(number)) => whole(*number)?,
            Some(Kind::StringValue(format)) => self.string(format)?,
            Some(Kind::StructValue(fields)) => Json::Object(self.object(fields)?),
            Some(Kind::ListValue(list)) => Json::Array(self.list(&list.values)?),
        })
    }

    fn list(&self, values: &[Value]) -> Result<Vec<Json>, NotKnown> {
        let mut made = Vec::with_capacity(values.len());
        for value in values {
            let value = self.value(value.kind.as_ref())?;
            if !self.leaves_out(&value) {
                made.push(value);
            }
        }
        Ok(made)
    }

    /// A command that stands alone keeps its type.
    fn string(&self, format: &str) -> Result<Json, NotKnown> {
        match format::lone(format, self.request, &self.asked) {
            None => self.text(format).map(Json::String),
            Some(Lone::Unknown) => Err(NotKnown),
            Some(Lone::Nothing) => Ok(Json::Null),
            Some(Lone::Text(text)) => Ok(Json::String(text)),
            Some(Lone::Number(number)) => Ok(number.into()),
        }
    }
}

/// A number of the configuration, as Envoy writes it.
fn whole(number: f64) -> Result<Json, NotKnown> {
    let is_plain = number.trunc() == number && number.abs() < PLAIN_NUMBERS;
    if !is_plain || (number == 0.0 && number.is_sign_negative()) {
        return Err(NotKnown);
    }
    Ok((number as i64).into())
}
