//! JSON (RFC 8259), strictly: no comments, no trailing commas, no duplicate keys.

use std::borrow::Cow;

use super::{Fault, MAX_DEPTH, Member, Node, Value, check_keys};

/// Reads one value, or several with nothing but white space between them.
pub(super) fn parse(source: &str) -> Result<Vec<Node<'_>>, Fault> {
    let mut parser = Parser { source, at: 0 };
    let mut roots = Vec::new();
    parser.skip_space();
    while parser.at < source.len() || roots.is_empty() {
        roots.push(parser.value(0)?);
        parser.skip_space();
    }
    Ok(roots)
}

struct Parser<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.source.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn fault<T>(&self, expected: &str) -> Result<T, Fault> {
        self.fault_at(self.at, expected)
    }

    fn fault_at<T>(&self, at: usize, expected: &str) -> Result<T, Fault> {
        let found = match self.source.get(at..).and_then(|rest| rest.chars().next()) {
            Some(character) => format!("{character:?}"),
            None => "the end of the file".to_owned(),
        };
        Err(Fault::Syntax {
            at,
            expected: expected.to_owned(),
            found,
        })
    }

    fn value(&mut self, depth: usize) -> Result<Node<'a>, Fault> {
        let at = self.at;
        let value = match self.peek() {
            Some(b'{' | b'[') if depth >= MAX_DEPTH => {
                return Err(Fault::Syntax {
                    at,
                    expected: format!("at most {MAX_DEPTH} nested arrays and objects"),
                    found: "one more".to_owned(),
                });
            }
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => Value::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true", Value::Bool(true))?,
            Some(b'f') => self.word("false", Value::Bool(false))?,
            Some(b'n') => self.word("null", Value::Null)?,
            _ => return self.fault("a value"),
        };
        Ok(Node { at, value })
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, Fault> {
        let rest = self.source.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return self.fault("a value");
        }
        self.at += word.len();
        Ok(value)
    }

    fn object(&mut self, depth: usize) -> Result<Value<'a>, Fault> {
        self.at += 1;
        let mut members = Vec::new();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(members));
        }
        loop {
            self.skip_space();
            let at = self.at;
            if self.peek() != Some(b'"') {
                return self.fault("a key in double quotes");
            }
            let key = self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return self.fault("':'");
            }
            self.at += 1;
            self.skip_space();
            let node = self.value(depth + 1)?;
            members.push(Member { key, at, node });
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    check_keys(&members)?;
                    return Ok(Value::Object(members));
                }
                _ => return self.fault("',' or '}'"),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value<'a>, Fault> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            self.skip_space();
            items.push(self.value(depth + 1)?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::Array(items));
                }
                _ => return self.fault("',' or ']'"),
            }
        }
    }

    fn number(&mut self) -> Result<Value<'a>, Fault> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return self.fault("a digit"),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = self.source.get(start..self.at).unwrap_or_default();
        Ok(Value::Number(Cow::Borrowed(text)))
    }

    fn digits(&mut self) -> Result<(), Fault> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return self.fault("a digit");
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        let open = self.at;
        self.at += 1;
        let mut owned: Option<String> = None;
        let mut start = self.at;
        loop {
            match self.peek() {
                None => {
                    return Err(Fault::Syntax {
                        at: self.at,
                        expected: "'\"' to end the string".to_owned(),
                        found: "the end of the file".to_owned(),
                    });
                }
                Some(b'"') => {
                    let run = self.source.get(start..self.at).unwrap_or_default();
                    self.at += 1;
                    return Ok(match owned {
                        None => Cow::Borrowed(run),
                        Some(mut text) => {
                            text.push_str(run);
                            Cow::Owned(text)
                        }
                    });
                }
                Some(b'\\') => {
                    let run = self.source.get(start..self.at).unwrap_or_default();
                    let text = owned.get_or_insert_with(String::new);
                    text.push_str(run);
                    self.at += 1;
                    let character = self.escape(open)?;
                    owned.get_or_insert_with(String::new).push(character);
                    start = self.at;
                }
                Some(0..=0x1f) => return self.fault("no control character in a string"),
                Some(_) => self.at += 1,
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self, open: usize) -> Result<char, Fault> {
        let at = self.at;
        let Some(letter) = self.peek() else {
            return self.fault_at(open, "a string that ends");
        };
        self.at += 1;
        Ok(match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                let code = if (0xd800..0xdc00).contains(&first) {
                    let rest = self.source.get(self.at..).unwrap_or_default();
                    if !rest.starts_with("\\u") {
                        return self.fault("the second half of a surrogate pair");
                    }
                    self.at += 2;
                    let second = self.hex()?;
                    if !(0xdc00..0xe000).contains(&second) {
                        return self.fault_at(at, "a surrogate pair");
                    }
                    0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                } else {
                    first
                };
                match char::from_u32(code) {
                    Some(character) => character,
                    None => return self.fault_at(at, "a surrogate pair"),
                }
            }
            _ => return self.fault_at(at, "an escape: one of \" \\ / b f n r t u"),
        })
    }

    fn hex(&mut self) -> Result<u32, Fault> {
        let digits = self.source.get(self.at..self.at + 4);
        match digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit())) {
            Some(digits) => {
                self.at += 4;
                Ok(u32::from_str_radix(digits, 16).unwrap_or_default())
            }
            None => self.fault("four hexadecimal digits"),
        }
    }
}
