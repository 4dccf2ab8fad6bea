//! One message of the schema, written by hand in JSON or YAML.

use crate::{
    encode::Encoder,
    error::{Place, ReadError},
    form,
    path::Path,
    report::Report,
    schema::schema,
    source::Source,
    text,
    view::View,
    walk::Walker,
};

/// Reads a text as one message of the schema, named in full, and validates it as Envoy does.
/// `name` stands for the file in errors. Returns the message's bytes.
///
/// What Envoy's parser lets pass in JSON, such as a comma before a closing bracket, passes here:
/// YAML has it.
///
/// # Errors
/// The text is neither JSON nor YAML, has a field that the message has not, or Envoy would refuse
/// it.
pub fn read_message(name: &str, bytes: &[u8], message: &str) -> Result<Vec<u8>, ReadError> {
    let mismatch = |position, expected: &str, found: &str| ReadError::Type {
        place: Box::new(Place {
            file: name.to_owned(),
            position,
            path: String::new(),
        }),
        expected: expected.to_owned(),
        found: found.to_owned(),
    };
    if let Some(problem) = form::unreadable(bytes) {
        return Err(mismatch(
            None,
            "JSON or YAML",
            &format!("no text: {problem}"),
        ));
    }
    let Some(text) = form::as_text(name, bytes)? else {
        return Err(mismatch(None, "JSON or YAML", "bytes that are no text"));
    };
    let document = match form::document(name, text) {
        Ok(document) => document,
        Err(of_json) => text::yaml(name, text).map_err(|_| of_json)?,
    };
    let [root] = document.roots.as_slice() else {
        return Err(mismatch(None, "one value", "none, or several"));
    };
    let source = Source {
        file: name,
        document: Some(&document),
    };
    let schema = schema()
        .message(message)
        .ok_or_else(|| source.wire(&Path::default(), message, "the message is not built in"))?;
    let mut bytes = Vec::new();
    Encoder::new(name, &document, true).message(schema, root, &mut bytes)?;
    let view = View {
        message: schema,
        bytes: &bytes,
        path: Path::default(),
    };
    let mut report = Report::default();
    Walker::new(&source, &mut report, message.to_owned(), true).wrapper(&view)?;
    Ok(bytes)
}
