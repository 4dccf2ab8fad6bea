//! Decision files: `*.decisions.jsonl`.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use super::{FormatError, json_lines};
use crate::{Decision, Request};

/// Reads a decisions file.
///
/// # Errors
/// The file cannot be read, a line is no decision, or an id occurs twice.
pub fn read(file: &Path) -> Result<Vec<Decision>, FormatError> {
    let lines: Vec<json_lines::Line<Decision>> = json_lines::read(file)?;
    let mut seen: HashMap<&str, usize> = HashMap::with_capacity(lines.len());
    for line in &lines {
        if let Some(first) = seen.insert(&line.value.id, line.number) {
            let message = format!("`{}` is used on line {first} already", line.value.id);
            return Err(FormatError::field(file, line.number, "id", message));
        }
    }
    Ok(lines.into_iter().map(|line| line.value).collect())
}

/// Checks that there is one decision for each request, in the same order.
///
/// # Errors
/// The first line where they part, or which are missing or too many.
pub fn fits(file: &Path, decisions: &[Decision], requests: &[Request]) -> Result<(), FormatError> {
    for (index, (decision, request)) in decisions.iter().zip(requests).enumerate() {
        if decision.id != request.id {
            let message = format!(
                "expected `{}`, the id of the request on this line of the traffic file, found `{}`",
                request.id, decision.id
            );
            return Err(FormatError::field(file, index + 1, "id", message));
        }
    }
    match decisions.len().cmp(&requests.len()) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => {
            let missing = requests
                .get(decisions.len())
                .map_or("", |request| &request.id);
            Err(FormatError::file(
                file,
                format!(
                    "expected {} decisions, one for each request, found {}: the first that is missing is `{missing}`",
                    requests.len(),
                    decisions.len(),
                ),
            ))
        }
        std::cmp::Ordering::Greater => {
            let extra = decisions.get(requests.len()).map_or("", |extra| &extra.id);
            let message = format!(
                "`{extra}` is no request of the traffic file, which has {} lines",
                requests.len()
            );
            Err(FormatError::field(file, requests.len() + 1, "id", message))
        }
    }
}

/// Writes one decision as a line.
///
/// # Errors
/// The writer's.
pub fn write(decision: &Decision, mut writer: impl Write) -> std::io::Result<()> {
    serde_json::to_writer(&mut writer, decision)?;
    writer.write_all(b"\n")
}
