//! The position in the pattern, and the errors that name a part of it.

use crate::error::{SyntaxError, SyntaxErrorKind};

/// A position in the pattern. Copies are cheap: look ahead on a copy, then assign it back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'p> {
    pattern: &'p str,
    offset: usize,
}

impl<'p> Cursor<'p> {
    pub(super) fn new(pattern: &'p str) -> Self {
        Self { pattern, offset: 0 }
    }

    pub(super) fn pattern(&self) -> &'p str {
        self.pattern
    }

    /// Bytes from the start of the pattern.
    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    pub(super) fn rest(&self) -> &'p str {
        self.pattern.get(self.offset..).unwrap_or_default()
    }

    /// The text from `start` to here.
    pub(super) fn since(&self, start: usize) -> &'p str {
        self.pattern.get(start..self.offset).unwrap_or_default()
    }

    pub(super) fn at_end(&self) -> bool {
        self.offset >= self.pattern.len()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.offset += c.len_utf8();
        Some(c)
    }

    /// Steps over `text` where it comes next.
    pub(super) fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.offset += text.len();
        }
        found
    }

    /// The error `kind`, naming the text from `start` to here.
    pub(super) fn error(&self, kind: SyntaxErrorKind, start: usize) -> SyntaxError {
        self.error_naming(kind, start, self.since(start))
    }

    /// The error `kind` at `offset`, naming `found`.
    pub(super) fn error_naming(
        &self,
        kind: SyntaxErrorKind,
        offset: usize,
        found: &str,
    ) -> SyntaxError {
        SyntaxError {
            pattern: self.pattern.to_owned(),
            offset,
            kind,
            found: found.to_owned(),
        }
    }
}
