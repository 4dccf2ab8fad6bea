//! `direct_response`: the body that a route answers with.
//!
//! Measured: a format is evaluated before there is a response, so that it sees the status 0, and no
//! header that the route adds. What a command has nothing to say about is a hyphen in text and null
//! in JSON; with `omit_empty_values` it is nothing, and so are then null and empty objects, but
//! for the outermost. JSON has its names in order, ends in a line feed, and a command that stands alone keeps
//! its type.

#![allow(deprecated)] // Envoy still reads text_format

use envoy_types::pb::envoy::config::core::v3::{
    SubstitutionFormatString, data_source::Specifier, substitution_format_string::Format,
};
use envoy_types::pb::envoy::config::route::v3::DirectResponseAction;
use envoy_types::pb::google::protobuf::{Struct, value::Kind};

use crate::format::{self, Alone, Context, Facts, Told};
use crate::lines::{Known, Lines, Undecided};

/// The body, after its format.
///
/// # Errors
/// It is not known.
pub(crate) fn of(action: &DirectResponseAction, request: &Lines, told: Told<'_>) -> Known<String> {
    let specifier = action.body.as_ref().and_then(|it| it.specifier.as_ref());
    let body = match specifier {
        Some(specifier) => inline(specifier)?,
        None => "",
    };
    let Some(format) = &action.body_format else {
        return Ok(body.to_owned());
    };
    let facts = Facts::Of(Box::new(Told {
        body: Some(body),
        ..told
    }));
    let context = Context {
        request,
        response: None,
        facts: &facts,
    };
    formatted(format, &context)
}

fn inline(specifier: &Specifier) -> Known<&str> {
    match specifier {
        Specifier::InlineString(text) => Ok(text),
        Specifier::InlineBytes(bytes) => {
            std::str::from_utf8(bytes).map_err(|_| Undecided::new("the body is no text"))
        }
        Specifier::Filename(_) | Specifier::EnvironmentVariable(_) => {
            Err(Undecided::new("the body is not in the route configuration"))
        }
    }
}

fn formatted(config: &SubstitutionFormatString, context: &Context<'_>) -> Known<String> {
    if !config.formatters.is_empty() {
        return Err(Undecided::new("extensions of formats are not decided"));
    }
    let omits = config.omit_empty_values;
    let missing = if omits { "" } else { "-" };
    match &config.format {
        Some(Format::TextFormat(text)) => format::value(text, missing, context),
        Some(Format::TextFormatSource(source)) => match &source.specifier {
            Some(specifier) => format::value(inline(specifier)?, missing, context),
            None => Ok(String::new()),
        },
        Some(Format::JsonFormat(fields)) => {
            let mut written = String::new();
            if !object(fields, omits, context, &mut written)? {
                written.push_str("{}");
            }
            written.push('\n');
            Ok(written)
        }
        None => Err(Undecided::new("the body's format is none that is known")),
    }
}

/// Writes an object. One without fields is left out where that is asked for: then `false`.
fn object(fields: &Struct, omits: bool, context: &Context<'_>, out: &mut String) -> Known<bool> {
    let mut names: Vec<_> = fields.fields.iter().collect();
    names.sort_by_key(|(name, _)| *name);
    let mut inside = String::new();
    for (name, field) in names {
        let mut written = String::new();
        if value(field.kind.as_ref(), omits, context, &mut written)? {
            if !inside.is_empty() {
                inside.push(',');
            }
            quote(name, &mut inside);
            inside.push(':');
            inside.push_str(&written);
        }
    }
    if omits && inside.is_empty() {
        return Ok(false);
    }
    out.push('{');
    out.push_str(&inside);
    out.push('}');
    Ok(true)
}

/// Writes a value; `false` where it is left out.
fn value(kind: Option<&Kind>, omits: bool, context: &Context<'_>, out: &mut String) -> Known<bool> {
    match kind {
        None | Some(Kind::NullValue(_)) => return Ok(null(omits, out)),
        Some(Kind::BoolValue(true)) => out.push_str("true"),
        Some(Kind::BoolValue(false)) => out.push_str("false"),
        Some(Kind::NumberValue(number)) => {
            // From a million on, and with a fraction, it depends on the digits.
            let text = number.to_string();
            let digits = text.strip_prefix('-').unwrap_or(&text);
            let is_whole = digits.bytes().all(|byte| byte.is_ascii_digit());
            if !is_whole || digits.len() > 6 || text == "-0" {
                return Err(Undecided::new("how a number is written is not decided"));
            }
            out.push_str(&text);
        }
        Some(Kind::StringValue(format)) => return string(format, omits, context, out),
        Some(Kind::StructValue(fields)) => return object(fields, omits, context, out),
        Some(Kind::ListValue(list)) => {
            out.push('[');
            let mut is_first = true;
            for item in &list.values {
                let mut written = String::new();
                if !value(item.kind.as_ref(), omits, context, &mut written)? {
                    continue;
                }
                if !is_first {
                    out.push(',');
                }
                is_first = false;
                out.push_str(&written);
            }
            out.push(']');
        }
    }
    Ok(true)
}

fn null(omits: bool, out: &mut String) -> bool {
    if !omits {
        out.push_str("null");
    }
    !omits
}

fn string(format: &str, omits: bool, context: &Context<'_>, out: &mut String) -> Known<bool> {
    let Some(alone) = format::alone(format, context) else {
        let missing = if omits { "" } else { "-" };
        quote(&format::value(format, missing, context)?, out);
        return Ok(true);
    };
    let Alone { name, value } = alone?;
    let Some(text) = value else {
        return Ok(null(omits, out));
    };
    match name {
        "RESPONSE_CODE" | "UPSTREAM_REQUEST_ATTEMPT_COUNT" => out.push_str(&text),
        _ if name.ends_with("_PORT") && !name.ends_with("_WITHOUT_PORT") => out.push_str(&text),
        "METADATA" | "CLUSTER_METADATA" | "UPSTREAM_METADATA" => {
            return Err(Undecided::new("the type of metadata is not decided"));
        }
        _ => quote(&text, out),
    }
    Ok(true)
}

/// A string as JSON has it. Nothing but control characters, quotes and backslashes is escaped.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                out.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}
