//! Traffic files: `*.traffic.jsonl`.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use super::{FormatError, json_lines};
use crate::Request;

/// Reads a traffic file and fills in what a line takes over from the one before: every request
/// has its `time_us` then (the first, where it gives none, arrives at 0).
///
/// # Errors
/// The file cannot be read, a line is no request, an id occurs twice, a header is not one header,
/// or time goes backwards.
pub fn read(file: &Path) -> Result<Vec<Request>, FormatError> {
    check(file, json_lines::read(file)?)
}

/// Reads a traffic file's content; `file` is its name in errors.
///
/// # Errors
/// As [`read`].
pub fn parse(file: &Path, bytes: &[u8]) -> Result<Vec<Request>, FormatError> {
    check(file, json_lines::parse(file, bytes)?)
}

fn check(file: &Path, lines: Vec<json_lines::Line<Request>>) -> Result<Vec<Request>, FormatError> {
    let mut seen: HashMap<String, usize> = HashMap::with_capacity(lines.len());
    let mut now = 0;
    let mut requests = Vec::with_capacity(lines.len());
    for json_lines::Line {
        number,
        value: mut request,
    } in lines
    {
        let error =
            |field: &str, message: String| Err(FormatError::field(file, number, field, message));
        if let Some(first) = seen.insert(request.id.clone(), number) {
            return error(
                "id",
                format!("`{}` is used on line {first} already", request.id),
            );
        }
        for (name, text) in [
            ("method", Some(&request.method)),
            ("path", Some(&request.path)),
            ("authority", request.authority.as_ref()),
        ] {
            if text.is_some_and(|text| breaks_line(text)) {
                return error(
                    name,
                    "a line break cannot stand in a request line or a header line".to_owned(),
                );
            }
        }
        for (index, (name, value)) in request.headers.iter().enumerate() {
            let field = format!("headers[{index}]");
            if name.eq_ignore_ascii_case("host") {
                return error(
                    &field,
                    "the Host header is given by the field `authority`".to_owned(),
                );
            }
            if name.starts_with(':') {
                return error(
                    &field,
                    format!("`{name}` is a pseudo header: use the field of its name"),
                );
            }
            if breaks_line(name) || breaks_line(value) {
                return error(
                    &field,
                    "a line break cannot stand in a header: each header is one line".to_owned(),
                );
            }
        }
        let time = request.time_us.unwrap_or(now);
        if time < now {
            return error(
                "time_us",
                format!(
                    "{time} is before {now}, the arrival on the line before: lines stand in order of arrival"
                ),
            );
        }
        if time.checked_add(request.duration_us).is_none() {
            return error(
                "duration_us",
                "arrival plus duration is over 2^64-1 microseconds".to_owned(),
            );
        }
        now = time;
        request.time_us = Some(time);
        requests.push(request);
    }
    Ok(requests)
}

fn breaks_line(text: &str) -> bool {
    text.bytes().any(|byte| byte == b'\r' || byte == b'\n')
}

/// Writes requests, one a line.
///
/// # Errors
/// The writer's.
pub fn write(requests: &[Request], mut writer: impl Write) -> std::io::Result<()> {
    for request in requests {
        serde_json::to_writer(&mut writer, request)?;
        writer.write_all(b"\n")?;
    }
    Ok(())
}
