//! The heads of a connection's requests, as bytes: what hyper hands on is tidied up (a target has
//! lost its fragment, a Content-Length beside Transfer-Encoding is gone), and the model is to
//! refuse what Envoy refuses.
//!
//! The stream of bytes is followed beside hyper: head, body, head. A head that hyper reads
//! otherwise is noticed, see [`super::headers::seen`].

use std::collections::VecDeque;

/// Follows the bytes that a client sends.
#[derive(Debug, Default)]
pub struct Heads {
    state: State,
    /// The head that is being read.
    head: Vec<u8>,
    whole: VecDeque<Vec<u8>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// So many bytes of body are left.
    Body(u64),
    /// In the line that says a chunk's length; what it says so far, and whether that is over.
    Size(u64, bool),
    /// So many bytes of a chunk are left, its line end included.
    Chunk(u64),
    /// In the trailers; whether the line has anything in it.
    Trailers(bool),
    /// What follows is no HTTP, or cannot be followed.
    Off,
}

impl Heads {
    /// The next head, from its request line to its empty line.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        self.whole.pop_front()
    }

    /// More bytes came.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Off => return,
                State::Head => self.feed_head(bytes),
                State::Body(left) => self.skip(bytes, left, State::Body, State::Head),
                State::Chunk(left) => self.skip(bytes, left, State::Chunk, State::Size(0, false)),
                State::Size(size, over) => self.feed_size(bytes, size, over),
                State::Trailers(some) => self.feed_trailers(bytes, some),
            };
        }
    }

    fn skip<'a>(
        &mut self,
        bytes: &'a [u8],
        left: u64,
        within: fn(u64) -> State,
        then: State,
    ) -> &'a [u8] {
        let some = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - some as u64;
        self.state = if left == 0 { then } else { within(left) };
        bytes.get(some..).unwrap_or_default()
    }

    /// Up to the next line end; a line without anything ends the head.
    fn feed_head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let some = end.map_or(bytes.len(), |end| end + 1);
        let (line, rest) = bytes.split_at(some);
        self.head.extend_from_slice(line);
        if end.is_none() {
            return rest;
        }
        if matches!(self.head.as_slice(), b"\n" | b"\r\n") {
            // Line ends before the request line do not count.
            self.head.clear();
        } else if self.head.ends_with(b"\n\r\n") || self.head.ends_with(b"\n\n") {
            self.state = framing(&self.head);
            self.whole.push_back(std::mem::take(&mut self.head));
        }
        rest
    }

    fn feed_size<'a>(&mut self, bytes: &'a [u8], size: u64, over: bool) -> &'a [u8] {
        let Some((first, rest)) = bytes.split_first() else {
            return bytes;
        };
        let digit = char::from(*first).to_digit(16);
        self.state = match (first, digit) {
            (b'\n', _) if size == 0 => State::Trailers(false),
            (b'\n', _) => State::Chunk(size.saturating_add(2)),
            (_, Some(digit)) if !over => match size.checked_mul(16) {
                Some(size) => State::Size(size + u64::from(digit), false),
                None => State::Off,
            },
            _ => State::Size(size, true),
        };
        rest
    }

    fn feed_trailers<'a>(&mut self, bytes: &'a [u8], some: bool) -> &'a [u8] {
        let Some((first, rest)) = bytes.split_first() else {
            return bytes;
        };
        self.state = match first {
            b'\n' if some => State::Trailers(false),
            b'\n' => State::Head,
            b'\r' => State::Trailers(some),
            _ => State::Trailers(true),
        };
        rest
    }
}

/// Lines of a head, without their ends.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// What follows a head.
fn framing(head: &[u8]) -> State {
    if head.starts_with(b"CONNECT ") {
        return State::Off;
    }
    let mut state = State::Head;
    for (name, value) in fields(head) {
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return State::Size(0, false);
        }
        if name.eq_ignore_ascii_case("content-length") {
            state = match value.parse() {
                Ok(0) => State::Head,
                Ok(length) => State::Body(length),
                Err(_) => State::Off,
            };
        }
    }
    state
}

/// The header lines of a head, in order: names as they are, values without the blanks around
/// them. Bytes that are no UTF-8 are replaced.
pub fn fields(head: &[u8]) -> impl Iterator<Item = (String, String)> {
    lines(head)
        .skip(1)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let colon = line.iter().position(|byte| *byte == b':');
            let (name, value) = line.split_at(colon.unwrap_or(line.len()));
            let value = String::from_utf8_lossy(value.get(1..).unwrap_or_default());
            (
                String::from_utf8_lossy(name).into_owned(),
                value.trim_matches([' ', '\t']).to_owned(),
            )
        })
}

/// Method and target of a head's request line.
pub fn request_line(head: &[u8]) -> Option<(&str, &str)> {
    let line = std::str::from_utf8(lines(head).next()?).ok()?;
    let (method, rest) = line.split_once(' ')?;
    let (target, _version) = rest.rsplit_once(' ')?;
    Some((method, target))
}

#[cfg(test)]
mod tests {
    use super::{Heads, fields, request_line};

    const STREAM: &str = "\r\nGET /1#f HTTP/1.1\r\nHost: a\r\n\r\n\
        POST /2 HTTP/1.1\r\nContent-Length: 5\r\n\r\nGET /\
        POST /3 HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n\
        1A;x=\"5\"\r\nGET /4 HTTP/1.1\r\nab: cd\r\n\r\n\r\n0\r\nX-Sum: 1\r\n\r\n\
        GET /5 HTTP/1.1\nHost:b \n\nPOST /6 HTTP/1.1\r\nContent-Length: 0\r\n\r\n\
        POST /7 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
        GET /8 HTTP/1.1\r\n\r\n";

    #[test]
    fn heads_are_found_however_the_bytes_come() {
        for step in [1, 2, 3, 7, 16, STREAM.len()] {
            let mut heads = Heads::default();
            for part in STREAM.as_bytes().chunks(step) {
                heads.feed(part);
            }
            let mut targets = Vec::new();
            while let Some(head) = heads.next() {
                let (_, target) = request_line(&head).expect("a request line");
                targets.push(target.to_owned());
            }
            assert_eq!(
                targets,
                ["/1#f", "/2", "/3", "/5", "/6", "/7", "/8"],
                "{step}"
            );
        }
    }

    #[test]
    fn fields_keep_names_order_and_inner_blanks() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nX-A:  b c \t\r\nx-a:\r\n\r\n";
        let found: Vec<(String, String)> = fields(head).collect();
        let expected = [("Host", "a"), ("X-A", "b c"), ("x-a", "")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(found, expected);
    }

    #[test]
    fn what_cannot_be_followed_is_not() {
        for start in [
            "CONNECT a:1 HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        ] {
            let mut heads = Heads::default();
            heads.feed(start.as_bytes());
            heads.feed(b"GET / HTTP/1.1\r\n\r\n");
            assert!(heads.next().is_some(), "{start:?}");
            assert!(heads.next().is_none(), "{start:?}");
        }
    }
}
