//! One JSON object a line, with errors that name file, line, column and field.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::FormatError;

/// An object and the line it stands on.
pub struct Line<T> {
    /// From 1.
    pub number: usize,
    /// The object.
    pub value: T,
}

/// Reads every line of a file.
///
/// # Errors
/// The file cannot be read, or a line is not one object of the type.
pub fn read<T: DeserializeOwned>(file: &Path) -> Result<Vec<Line<T>>, FormatError> {
    let bytes = std::fs::read(file)
        .map_err(|error| FormatError::file(file, format!("cannot be read: {error}")))?;
    parse(file, &bytes)
}

/// Reads every line of a file's content.
pub fn parse<T: DeserializeOwned>(file: &Path, bytes: &[u8]) -> Result<Vec<Line<T>>, FormatError> {
    // What follows the last line feed is no line of its own where nothing follows.
    let content = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if content.is_empty() {
        return Ok(Vec::new());
    }
    content
        .split(|byte| *byte == b'\n')
        .enumerate()
        .map(|(index, line)| {
            Ok(Line {
                number: index + 1,
                value: parse_line(file, index + 1, line)?,
            })
        })
        .collect()
}

fn parse_line<T: DeserializeOwned>(
    file: &Path,
    number: usize,
    line: &[u8],
) -> Result<T, FormatError> {
    let error = |column: Option<usize>, field: Option<String>, message: String| FormatError {
        file: file.to_owned(),
        line: Some(number),
        column,
        field,
        message,
    };
    let text = std::str::from_utf8(line).map_err(|invalid| {
        let column = invalid.valid_up_to() + 1;
        error(
            Some(column),
            None,
            "expected UTF-8, found bytes that are not".to_owned(),
        )
    })?;
    if text.trim().is_empty() {
        let message = "expected one JSON object on each line, found an empty line".to_owned();
        return Err(error(None, None, message));
    }
    if let Some(column) = text.find('\u{feff}').filter(|column| *column == 0) {
        let message = "expected a JSON object, found a byte order mark; save the file without it";
        return Err(error(Some(column + 1), None, message.to_owned()));
    }
    // An array would do as the fields' values in their order.
    if let Some(found) = text
        .trim_start()
        .chars()
        .next()
        .filter(|first| *first != '{')
    {
        let column = text.len() - text.trim_start().len() + 1;
        let found = match found {
            '[' => "an array",
            '"' => "a string",
            _ => "something else",
        };
        let message = format!("expected one JSON object on each line, found {found}");
        return Err(error(Some(column), None, message));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|source| {
        let path = source.path().to_string();
        let inner = source.into_inner();
        let field = Some(path).filter(|path| path != "." && path != "?");
        error(Some(inner.column()), field, message(&inner))
    })?;
    deserializer.end().map_err(|inner| {
        let message = format!("after the line's JSON object: {}", message(&inner));
        error(Some(inner.column()), None, message)
    })?;
    Ok(value)
}

/// serde_json's message without the place, which the caller puts in front.
fn message(error: &serde_json::Error) -> String {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = error.to_string();
    let text = text.strip_suffix(&place).unwrap_or(&text);
    if error.is_eof() {
        format!("{text}: the line ends before its JSON object does")
    } else {
        text.to_owned()
    }
}
