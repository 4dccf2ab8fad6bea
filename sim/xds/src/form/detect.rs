//! Which form a file has, by its content.

use crate::{
    encode::Encoder,
    error::{Place, ReadError},
    path::{Path, Segment},
    schema::{Kind, Message, schema},
    source::Source,
    text::{self, Document, Node, Value},
    view::{View, stream_path},
    wire,
};

/// A form of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    ConfigDump,
    Bootstrap,
    DiscoveryResponse,
    RouteConfiguration,
}

impl Form {
    /// The message that the file is.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Form::ConfigDump => "envoy.admin.v3.ConfigDump",
            Form::Bootstrap => "envoy.config.bootstrap.v3.Bootstrap",
            Form::DiscoveryResponse => "envoy.service.discovery.v3.DiscoveryResponse",
            Form::RouteConfiguration => super::ROUTE_CONFIGURATION,
        }
    }

    /// People write it: unknown fields are refused, as Envoy refuses them.
    pub(crate) fn is_hand_written(self) -> bool {
        matches!(self, Form::Bootstrap | Form::RouteConfiguration)
    }
}

/// The bytes of a file's messages.
pub(crate) struct Input {
    pub(crate) form: Form,
    message: &'static Message,
    /// The messages and their paths.
    messages: Vec<(Vec<u8>, Path)>,
}

impl Input {
    pub(crate) fn views(&self) -> Vec<View<'_>> {
        self.messages
            .iter()
            .map(|(bytes, path)| View {
                message: self.message,
                bytes,
                path: path.clone(),
            })
            .collect()
    }
}

fn unknown(file: &str, position: Option<(u64, u64)>, problem: impl Into<String>) -> ReadError {
    ReadError::UnknownForm {
        place: Box::new(Place {
            file: file.to_owned(),
            position,
            path: String::new(),
        }),
        problem: problem.into(),
    }
}

fn message(file: &str, form: Form) -> Result<&'static Message, ReadError> {
    schema()
        .message(form.message())
        .ok_or_else(|| unknown(file, None, format!("{} is not built in", form.message())))
}

/// What a file is that is neither text nor a message.
pub(crate) fn unreadable(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [] => Some("the file is empty"),
        [0x1f, 0x8b, ..] => Some("the file is gzip-compressed"),
        // No message and no length starts with these.
        [0xff, 0xfe] | [0xff, 0xfe, _, 0, ..] | [0xfe, 0xff] | [0xfe, 0xff, 0, ..] => Some(
            "the file is UTF-16, as PowerShell's `>` writes it; expected UTF-8 (Out-File -Encoding utf8)",
        ),
        _ => None,
    }
}

/// The text of a file that holds text.
pub(crate) fn as_text<'a>(file: &str, bytes: &'a [u8]) -> Result<Option<&'a str>, ReadError> {
    if let Some(problem) = unreadable(bytes) {
        return Err(unknown(file, None, problem));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let is_text = |byte: &u8| *byte >= 0x20 || matches!(byte, b'\n' | b'\r' | b'\t');
    if !bytes.iter().all(is_text) {
        return Ok(None);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = good.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
            let start = good.iter().rposition(|byte| *byte == b'\n');
            let column = good.len() - start.map_or(0, |newline| newline + 1);
            Err(ReadError::Syntax {
                place: Box::new(Place {
                    file: file.to_owned(),
                    position: Some((line, column as u64 + 1)),
                    path: String::new(),
                }),
                format: "JSON",
                expected: "UTF-8".to_owned(),
                found: "a byte that is none".to_owned(),
            })
        }
        Err(_) => Ok(None),
    }
}

/// Reads a text as JSON, or as YAML where it is not.
pub(crate) fn document<'a>(file: &str, text: &'a str) -> Result<Document<'a>, ReadError> {
    let is_yaml = [".yaml", ".yml"].iter().any(|end| file.ends_with(end));
    if text.trim_start().starts_with(['{', '[']) {
        match text::json(file, text) {
            // YAML has braces and brackets too.
            Err(_) if is_yaml => text::yaml(file, text),
            result => result,
        }
    } else {
        text::yaml(file, text)
    }
}

/// Finds the form of a text, and its messages.
pub(crate) fn detect(file: &str, document: &Document<'_>) -> Result<Input, ReadError> {
    // A stream is either several values, or one array of them.
    let nodes: Vec<(&Node<'_>, Path)> = match document.roots.as_slice() {
        [root] => match &root.value {
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| {
                    let mut path = Path::default();
                    path.push(Segment::Index(index));
                    (item, path)
                })
                .collect(),
            _ => vec![(root, Path::default())],
        },
        roots => roots
            .iter()
            .enumerate()
            .map(|(index, root)| (root, stream_path(index, roots.len())))
            .collect(),
    };
    let mut form = None;
    for (index, (node, _)) in nodes.iter().enumerate() {
        let found = form_of(file, document, node)?;
        if nodes.len() > 1 && found != Form::DiscoveryResponse {
            // After a first value that stands alone, it is the second that is one too many.
            let (at, which) = match nodes.get(1) {
                Some((second, _)) if index == 0 => (second.at, "the first"),
                _ => (node.at, "this one"),
            };
            return Err(unknown(
                file,
                Some(document.position(at)),
                format!(
                    "several values, of which {which} is a {}: only DiscoveryResponses come as a stream",
                    found.message()
                ),
            ));
        }
        form = Some(found);
    }
    let Some(form) = form else {
        let position = document
            .roots
            .first()
            .map(|root| document.position(root.at));
        let problem = if position.is_some() {
            "found an array without elements"
        } else {
            "the file holds no value"
        };
        return Err(unknown(file, position, problem));
    };
    let message = message(file, form)?;
    let mut encoder = Encoder::new(file, document, form.is_hand_written());
    let mut messages = Vec::with_capacity(nodes.len());
    for (node, path) in nodes {
        let mut bytes = Vec::new();
        encoder.path = path.clone();
        encoder.message(message, node, &mut bytes)?;
        messages.push((bytes, path));
    }
    Ok(Input {
        form,
        message,
        messages,
    })
}

fn form_of(file: &str, document: &Document<'_>, node: &Node<'_>) -> Result<Form, ReadError> {
    let Value::Object(members) = &node.value else {
        return Err(unknown(
            file,
            Some(document.position(node.at)),
            format!("found {}", node.describe()),
        ));
    };
    let has = |names: &[&str]| node.member(names).is_some();
    if has(&["configs"]) {
        return Ok(Form::ConfigDump);
    }
    if has(&[
        "static_resources",
        "staticResources",
        "dynamic_resources",
        "dynamicResources",
    ]) {
        return Ok(Form::Bootstrap);
    }
    if has(&["resources", "type_url", "typeUrl"]) {
        return Ok(Form::DiscoveryResponse);
    }
    if has(&["virtual_hosts", "virtualHosts"]) {
        return Ok(Form::RouteConfiguration);
    }
    if has(&["admin", "node", "layered_runtime", "layeredRuntime"]) {
        return Ok(Form::Bootstrap);
    }
    let keys: Vec<String> = members
        .iter()
        .take(4)
        .map(|member| format!("{:?}", member.key))
        .collect();
    let found = if keys.is_empty() {
        "an empty object".to_owned()
    } else {
        format!("an object with the keys {}", keys.join(", "))
    };
    Err(unknown(
        file,
        Some(document.position(node.at)),
        format!("found {found}"),
    ))
}

/// One binary DiscoveryResponse, or several, each with its length before it.
pub(crate) fn detect_binary(source: &Source<'_>, bytes: &[u8]) -> Result<Input, ReadError> {
    let form = Form::DiscoveryResponse;
    let message = message(source.file, form)?;
    let single = looks_like(message, bytes);
    let problem = match single {
        Ok(()) => {
            return Ok(Input {
                form,
                message,
                messages: vec![(bytes.to_vec(), Path::default())],
            });
        }
        Err(problem) => problem,
    };
    let messages = delimited(bytes, message).map_err(|stream_problem| {
        unknown(
            source.file,
            None,
            format!(
                "binary, and neither one DiscoveryResponse ({problem}) nor a stream of them with \
                 their lengths ({stream_problem})"
            ),
        )
    })?;
    let count = messages.len();
    Ok(Input {
        form,
        message,
        messages: messages
            .into_iter()
            .enumerate()
            .map(|(index, bytes)| (bytes, stream_path(index, count)))
            .collect(),
    })
}

fn delimited(bytes: &[u8], message: &'static Message) -> Result<Vec<Vec<u8>>, String> {
    let mut rest = bytes;
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let index = messages.len();
        let within = |problem: String| format!("message {index}: {problem}");
        let (length, after) = wire::varint(rest).map_err(within)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some((content, after)) = after.split_at_checked(length) else {
            return Err(within(format!(
                "{length} bytes expected, {} are left",
                after.len()
            )));
        };
        looks_like(message, content).map_err(within)?;
        messages.push(content.to_vec());
        rest = after;
    }
    Ok(messages)
}

/// Whether the top level of these bytes has the fields of the message, and no others.
fn looks_like(message: &'static Message, bytes: &[u8]) -> Result<(), String> {
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    for field in wire::fields(bytes) {
        let (number, value) = field?;
        let Some(field) = message.field_by_number(number) else {
            return Err(format!("there is no field {number}"));
        };
        match (value, field.message()) {
            (wire::Raw::Bytes(content), Some(inner)) => {
                for field in wire::fields(content) {
                    let (number, _) = field.map_err(|error| format!("{}: {error}", inner.name))?;
                    if inner.field_by_number(number).is_none() {
                        return Err(format!("{} has no field {number}", inner.name));
                    }
                }
            }
            (wire::Raw::Bytes(content), None)
                if field.kind == Kind::String && std::str::from_utf8(content).is_ok() => {}
            (wire::Raw::Varint(_), None) if wire::wire_type(&field.kind) == 0 => {}
            _ => return Err(format!("the field {} is of another type", field.name)),
        }
    }
    Ok(())
}
