//! YAML, with scalars understood as Envoy understands them (its `YAML::Node` to `Value`
//! conversion): plain words for true and false, integers, null, and everything else a string.

use std::{borrow::Cow, collections::HashMap};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::{Fault, MAX_DEPTH, Member, Node, Value, check_keys, pack};

/// How many values aliases may add, so that a few lines cannot become gigabytes.
const MAX_ALIASED: usize = 1_000_000;

/// Reads one document, or several.
pub(super) fn parse(source: &str) -> Result<Vec<Node<'_>>, Fault> {
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(source);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| Fault::Syntax {
            at: pack(error.marker().line(), error.marker().col()),
            expected: "a YAML document".to_owned(),
            found: error.info().to_owned(),
        })?;
        builder.event(event, span)?;
    }
    Ok(builder.roots)
}

#[derive(Default)]
struct Builder<'a> {
    roots: Vec<Node<'a>>,
    open: Vec<Open<'a>>,
    anchors: HashMap<usize, Node<'a>>,
    aliased: usize,
}

/// A sequence or mapping that has not ended.
struct Open<'a> {
    at: usize,
    anchor: usize,
    content: Content<'a>,
}

enum Content<'a> {
    Sequence(Vec<Node<'a>>),
    Mapping {
        members: Vec<Member<'a>>,
        key: Option<(Cow<'a, str>, usize)>,
    },
}

impl<'a> Builder<'a> {
    fn event(&mut self, event: Event<'a>, span: Span) -> Result<(), Fault> {
        let at = pack(span.start.line(), span.start.col());
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = matches!(style, ScalarStyle::Plain) && tag.is_none();
                if self.expects_key() {
                    self.add_key(text, at);
                    return Ok(());
                }
                let value = if plain {
                    resolve(text)
                } else {
                    Value::String(text)
                };
                self.add(Node { at, value }, anchor)
            }
            Event::SequenceStart(anchor, _) => {
                self.start(at, anchor, Content::Sequence(Vec::new()))
            }
            Event::MappingStart(anchor, _) => {
                let content = Content::Mapping {
                    members: Vec::new(),
                    key: None,
                };
                self.start(at, anchor, content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(Fault::Syntax {
                        at,
                        expected: "an alias of an anchor before it".to_owned(),
                        found: "an unknown alias, or one of itself".to_owned(),
                    });
                };
                self.aliased = self.aliased.saturating_add(count(node));
                if self.aliased > MAX_ALIASED {
                    return Err(Fault::Syntax {
                        at,
                        expected: format!("at most {MAX_ALIASED} values by aliases"),
                        found: "more".to_owned(),
                    });
                }
                let node = node.clone();
                if self.expects_key() {
                    let Value::String(text) = node.value else {
                        return key_fault(at);
                    };
                    self.add_key(text, at);
                    return Ok(());
                }
                self.add(node, 0)
            }
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn expects_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Open {
                content: Content::Mapping { key: None, .. },
                ..
            })
        )
    }

    fn add_key(&mut self, text: Cow<'a, str>, at: usize) {
        if let Some(Open {
            content: Content::Mapping { key, .. },
            ..
        }) = self.open.last_mut()
        {
            *key = Some((text, at));
        }
    }

    fn start(&mut self, at: usize, anchor: usize, content: Content<'a>) -> Result<(), Fault> {
        if self.expects_key() {
            return key_fault(at);
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault::Syntax {
                at,
                expected: format!("at most {MAX_DEPTH} nested sequences and mappings"),
                found: "one more".to_owned(),
            });
        }
        self.open.push(Open {
            at,
            anchor,
            content,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let value = match open.content {
            Content::Sequence(items) => Value::Array(items),
            Content::Mapping { members, .. } => {
                check_keys(&members)?;
                Value::Object(members)
            }
        };
        let node = Node { at: open.at, value };
        self.add(node, open.anchor)
    }

    fn add(&mut self, node: Node<'a>, anchor: usize) -> Result<(), Fault> {
        if anchor != 0 {
            self.aliased = self.aliased.saturating_add(count(&node));
            if self.aliased > MAX_ALIASED {
                return Err(Fault::Syntax {
                    at: node.at,
                    expected: format!("at most {MAX_ALIASED} values with anchors"),
                    found: "more".to_owned(),
                });
            }
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.roots.push(node),
            Some(open) => match &mut open.content {
                Content::Sequence(items) => items.push(node),
                Content::Mapping { members, key } => {
                    if let Some((key, at)) = key.take() {
                        members.push(Member { key, at, node });
                    }
                }
            },
        }
        Ok(())
    }
}

fn key_fault<T>(at: usize) -> Result<T, Fault> {
    Err(Fault::Syntax {
        at,
        expected: "a key that is a word".to_owned(),
        found: "a sequence or mapping".to_owned(),
    })
}

fn count(node: &Node<'_>) -> usize {
    match &node.value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Object(members) => {
            1 + members
                .iter()
                .map(|member| count(&member.node))
                .sum::<usize>()
        }
        _ => 1,
    }
}

/// A plain scalar's value.
fn resolve(text: Cow<'_, str>) -> Value<'_> {
    match text.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Value::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    match integer(&text) {
        // Envoy keeps what does not fit 32 bits as a string, which integer fields take as well.
        Some(number) if i32::try_from(number).is_ok() => {
            Value::Number(Cow::Owned(number.to_string()))
        }
        Some(number) => Value::String(Cow::Owned(number.to_string())),
        None => Value::String(text),
    }
}

/// Decimal, `0x` hexadecimal or `0` octal, as a C++ stream reads it.
fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let (digits, radix) = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
        None => (digits, 10),
    };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_alphanumeric()) {
        return None;
    }
    let number = i64::from_str_radix(digits, radix).ok()?;
    Some(if negative { -number } else { number })
}
