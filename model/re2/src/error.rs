//! Why a pattern has no tables.

use std::fmt;

/// Why a pattern has no tables.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// RE2 refuses the pattern, and with it Envoy the configuration.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// RE2 accepts the pattern; its DFA is over the limits of this crate.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// The pattern is valid, and its DFA has more states than the cap or takes more memory to build than
/// a table of that size ever should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the regex `{pattern}` has no DFA of at most {cap} states within the limits of its construction"
)]
pub struct TooLarge {
    /// The pattern.
    pub pattern: String,
    /// The cap, in states. It is lower than the caller's where the table would otherwise exceed
    /// [`MAX_TABLE_ENTRIES`](crate::MAX_TABLE_ENTRIES).
    pub cap: usize,
}

/// RE2 refuses the pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the regex `{pattern}` is not valid at byte {offset}: {kind}{}", Found(*.kind, .found))]
pub struct SyntaxError {
    /// The whole pattern.
    pub pattern: String,
    /// Where `found` begins, in bytes from the start of the pattern.
    pub offset: usize,
    /// What is wrong, in RE2's terms.
    pub kind: SyntaxErrorKind,
    /// The part of the pattern that RE2 names in its message; empty where it names none.
    pub found: String,
}

/// RE2's error codes (`RE2::ErrorCode`), with RE2's own text as `Display`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SyntaxErrorKind {
    /// `\q`, `\1`, `\x{110000}`.
    BadEscape,
    /// `[b-a]`, `[[:foo:]]`, `\p{Foo}`.
    BadCharRange,
    /// `[a`.
    MissingBracket,
    /// `(a`.
    MissingParen,
    /// `a)`.
    UnexpectedParen,
    /// A pattern that ends in one backslash.
    TrailingBackslash,
    /// `*a`: nothing to repeat.
    RepeatArgument,
    /// `a{1001}`, `a{2,1}`, or nested repeats of more than 1000 copies.
    RepeatSize,
    /// `a**`.
    RepeatOp,
    /// `(?=a)`, `(?x)`.
    BadPerlOp,
    /// `(?P<n`, `(?P<a-b>c)`.
    BadNamedCapture,
    /// `\x{` at the end of the pattern: RE2 reads one more character and finds none.
    BadUtf8,
    /// The program is over RE2's memory budget.
    PatternTooLarge,
    /// Groups or repeats nested deeper than [`MAX_NESTING`](crate::MAX_NESTING). This limit is of
    /// this crate: RE2 has none but its memory budget.
    NestingTooDeep,
}

impl fmt::Display for SyntaxErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadEscape => "invalid escape sequence",
            Self::BadCharRange => "invalid character class range",
            Self::MissingBracket => "missing ]",
            Self::MissingParen => "missing )",
            Self::UnexpectedParen => "unexpected )",
            Self::TrailingBackslash => "trailing \\",
            Self::RepeatArgument => "no argument for repetition operator",
            Self::RepeatSize => "invalid repetition size",
            Self::RepeatOp => "bad repetition operator",
            Self::BadPerlOp => "invalid perl operator",
            Self::BadNamedCapture => "invalid named capture group",
            Self::BadUtf8 => "invalid UTF-8",
            Self::PatternTooLarge => "pattern too large - compile failed",
            Self::NestingTooDeep => "nested too deep",
        })
    }
}

/// The part found, quoted; the end of the pattern where there is none.
struct Found<'a>(SyntaxErrorKind, &'a str);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // It is the whole pattern.
            Self(SyntaxErrorKind::PatternTooLarge, _) => Ok(()),
            Self(_, "") => f.write_str(", found the end of the pattern"),
            Self(_, found) => write!(f, ", found `{found}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::parse;

    #[test]
    fn errors_say_where_and_what() {
        let message = |pattern: &str| parse(pattern).unwrap_err().to_string();
        assert_eq!(
            message("/a/b**"),
            "the regex `/a/b**` is not valid at byte 4: bad repetition operator, found `**`"
        );
        assert_eq!(
            message("a\\"),
            "the regex `a\\` is not valid at byte 1: trailing \\, found the end of the pattern"
        );
    }
}
