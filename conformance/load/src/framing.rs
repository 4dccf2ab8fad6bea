//! Bodies of HTTP/1.1 messages, read as they come.

/// How a message's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// With the last chunk and its trailers.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// A body that does not follow its framing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("chunked coding: expected {expected}, found byte {found:#04x}")]
pub struct Malformed {
    expected: &'static str,
    found: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Left(u64),
    UntilClose,
    Size { value: u64, digits: u32 },
    Extension { value: u64 },
    SizeEnd { value: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailer { empty: bool },
    TrailerEnd { empty: bool },
    Done,
}

/// A body under way.
#[derive(Debug, Clone, Copy)]
pub struct Body {
    state: State,
}

impl Body {
    /// At its first byte.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Left(length),
            Framing::Chunked => State::Size {
                value: 0,
                digits: 0,
            },
            Framing::UntilClose => State::UntilClose,
        };
        Self { state }
    }

    /// Whether all of it was there.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether it ends here if the connection does.
    pub fn may_end(&self) -> bool {
        matches!(self.state, State::Done | State::UntilClose)
    }

    /// Takes what of `bytes` belongs to the body and calls `data` with the content among it. How
    /// many bytes belong to it.
    ///
    /// # Errors
    /// The chunked coding is at fault.
    pub fn feed(&mut self, bytes: &[u8], mut data: impl FnMut(&[u8])) -> Result<usize, Malformed> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match self.state {
                State::Done => break,
                State::UntilClose => {
                    data(rest);
                    at = bytes.len();
                }
                State::Left(left) => {
                    let content = content(rest, left);
                    data(content);
                    at += content.len();
                    let left = left - content.len() as u64;
                    self.state = if left == 0 {
                        State::Done
                    } else {
                        State::Left(left)
                    };
                }
                State::Data { left } => {
                    let content = content(rest, left);
                    data(content);
                    at += content.len();
                    let left = left - content.len() as u64;
                    self.state = if left == 0 {
                        State::DataCr
                    } else {
                        State::Data { left }
                    };
                }
                _ => {
                    self.step(rest[0])?;
                    at += 1;
                }
            }
        }
        Ok(at)
    }

    /// One byte of the coding.
    fn step(&mut self, byte: u8) -> Result<(), Malformed> {
        let wrong = |expected| Malformed {
            expected,
            found: byte,
        };
        self.state = match (self.state, byte) {
            (State::Size { value, digits }, _) if byte.is_ascii_hexdigit() && digits < 15 => {
                let digit = (byte as char).to_digit(16).unwrap_or(0);
                State::Size {
                    value: value * 16 + u64::from(digit),
                    digits: digits + 1,
                }
            }
            (State::Size { value, digits: 1.. }, b'\r') => State::SizeEnd { value },
            (State::Size { value, digits: 1.. }, b';' | b' ' | b'\t') => State::Extension { value },
            (State::Size { .. }, _) => return Err(wrong("a chunk's size")),
            (State::Extension { value }, b'\r') => State::SizeEnd { value },
            (State::Extension { value }, _) => State::Extension { value },
            (State::SizeEnd { value: 0 }, b'\n') => State::Trailer { empty: true },
            (State::SizeEnd { value }, b'\n') => State::Data { left: value },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size {
                value: 0,
                digits: 0,
            },
            (State::Trailer { empty }, b'\r') => State::TrailerEnd { empty },
            (State::Trailer { .. }, _) => State::Trailer { empty: false },
            (State::TrailerEnd { empty: true }, b'\n') => State::Done,
            (State::TrailerEnd { empty: false }, b'\n') => State::Trailer { empty: true },
            _ => return Err(wrong("the end of a line")),
        };
        Ok(())
    }
}

fn content(rest: &[u8], left: u64) -> &[u8] {
    let count = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
    &rest[..count]
}

/// A chunk's bytes on the wire.
pub fn chunk(content: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{:x}\r\n", content.len()).into_bytes();
    bytes.extend_from_slice(content);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// What ends a chunked body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        framing: Framing,
        bytes: &[u8],
        step: usize,
    ) -> Result<(Vec<u8>, usize, bool), Malformed> {
        let (mut body, mut found, mut used) = (Body::new(framing), Vec::new(), 0);
        for piece in bytes.chunks(step) {
            let taken = body.feed(piece, |data| found.extend_from_slice(data))?;
            used += taken;
            if taken < piece.len() {
                break;
            }
        }
        Ok((found, used, body.is_done()))
    }

    #[test]
    fn chunked_in_any_pieces() {
        let wire = b"3\r\nabc\r\n0a;x=y\r\n0123456789\r\n0\r\nt: v\r\n\r\nNEXT";
        for step in 1..wire.len() {
            let (found, used, done) = read(Framing::Chunked, wire, step).unwrap();
            assert_eq!(
                (found.as_slice(), used, done),
                (&b"abc0123456789"[..], wire.len() - 4, true)
            );
        }
    }

    #[test]
    fn length_stops_where_it_ends() {
        assert_eq!(
            read(Framing::Length(3), b"abcdef", 2).unwrap(),
            (b"abc".to_vec(), 3, true)
        );
        assert_eq!(
            read(Framing::Length(3), b"ab", 2).unwrap(),
            (b"ab".to_vec(), 2, false)
        );
        assert_eq!(
            read(Framing::Length(0), b"ab", 2).unwrap(),
            (vec![], 0, true)
        );
    }

    #[test]
    fn faults_are_found() {
        for wire in [
            &b"\r\n"[..],
            b"x\r\n",
            b"3\r\nabcd",
            b"3\n",
            b"3\r\nabc\r\r",
            b"fffffffffffffffff\r\n",
        ] {
            assert!(read(Framing::Chunked, wire, 100).is_err(), "{wire:?}");
        }
    }
}
