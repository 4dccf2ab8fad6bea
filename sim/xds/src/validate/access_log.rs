//! The format strings of access logs, and of the answers that a connection manager makes itself.

use crate::{
    classify::{MANAGER, ROUTER, TCP_PROXY},
    form::LISTENER,
    format::{self, Part},
    path::Path,
    view::View,
};

/// The format strings of a message's access logs that Envoy does not take: where each stands, and what is
/// wrong with it. Other extensions than HTTP and TCP have commands of their own in theirs.
pub(crate) fn faults(config: &View<'_>) -> Vec<(Path, String)> {
    let mut formats = Vec::new();
    let logs = match config.message.name.as_str() {
        LISTENER | TCP_PROXY => config.children("access_log"),
        ROUTER => config.children("upstream_log"),
        MANAGER => {
            if let Some(replies) = config.child("local_reply_config") {
                body(&replies, "body_format", &mut formats);
                for mapper in replies.children("mappers") {
                    body(&mapper, "body_format_override", &mut formats);
                }
            }
            config.children("access_log")
        }
        _ => return Vec::new(),
    };
    for log in logs {
        if let Some(logger) = log.any("typed_config").and_then(|any| any.content()) {
            of_logger(&logger, &mut formats);
        }
    }
    let faults = formats.into_iter().filter_map(|(path, text)| {
        let problem = match format::parse(text) {
            Err(fault) => Some(fault.to_string()),
            Ok(parts) => parts.iter().find_map(|part| match part {
                Part::Command(command) if command.is_of_headers() => {
                    Some(format!("{command} has a value in headers only"))
                }
                _ => None,
            }),
        };
        problem.map(|problem| (path, format!("the format {text:?}, {problem}")))
    });
    faults.collect()
}

/// Format strings, and where they stand.
type Formats<'a> = Vec<(Path, &'a str)>;

fn of_logger<'a>(logger: &View<'a>, formats: &mut Formats<'a>) {
    // Extensions bring commands of their own.
    if logger.has("formatters") {
        return;
    }
    match logger.message.name.as_str() {
        "envoy.extensions.access_loggers.file.v3.FileAccessLog" => {
            if logger.has("format") {
                formats.push((logger.path.field("format"), logger.text("format")));
            }
            values(logger, "json_format", formats);
            values(logger, "typed_json_format", formats);
            body(logger, "log_format", formats);
        }
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
        | "envoy.extensions.access_loggers.stream.v3.StderrAccessLog" => {
            body(logger, "log_format", formats);
        }
        "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig" => {
            values(logger, "body", formats);
            values(logger, "attributes", formats);
        }
        "envoy.extensions.access_loggers.fluentd.v3.FluentdAccessLogConfig" => {
            values(logger, "record", formats);
        }
        "envoy.extensions.access_loggers.stats.v3.Config" => {
            for field in ["histograms", "counters", "gauges"] {
                for metric in logger.children(field) {
                    value_format(&metric, formats);
                    let stat = metric.child("stat");
                    for tag in stat.map_or_else(Vec::new, |stat| stat.children("tags")) {
                        value_format(&tag, formats);
                    }
                }
            }
        }
        _ => {}
    }
}

fn value_format<'a>(of: &View<'a>, formats: &mut Formats<'a>) {
    if of.has("value_format") {
        formats.push((of.path.field("value_format"), of.text("value_format")));
    }
}

/// A `SubstitutionFormatString`.
fn body<'a>(of: &View<'a>, field: &str, formats: &mut Formats<'a>) {
    let Some(config) = of.child(field) else {
        return;
    };
    if config.has("formatters") {
        return;
    }
    let inline = config.child("text_format_source");
    for (holder, field) in [
        (Some(&config), "text_format"),
        (inline.as_ref(), "inline_string"),
    ] {
        if let Some(holder) = holder.filter(|holder| holder.has(field)) {
            formats.push((holder.path.field(field), holder.text(field)));
        }
    }
    values(&config, "json_format", formats);
}

/// The strings in a `google.protobuf.Struct`, or in OpenTelemetry's values. Names are no formats.
fn values<'a>(of: &View<'a>, field: &str, formats: &mut Formats<'a>) {
    let Some(config) = of.child(field) else {
        return;
    };
    let path = config.path.clone();
    let mut left = vec![config];
    while let Some(value) = left.pop() {
        if value.has("string_value") {
            formats.push((path.clone(), value.text("string_value")));
        }
        let inner = value.message.fields.iter();
        let inner = inner.filter(|field| field.message().is_some());
        left.extend(inner.flat_map(|field| value.children(&field.name)));
    }
}
