//! Where messages end, followed beside the bytes: of requests that the proxy reads, so that a
//! connection is given back to the kernel between two of them, and of responses that are relayed.

use twinmesh_model::chunk;

/// Bytes of a head that are followed; with a larger one nothing is known any more.
const HEAD_BYTES: usize = 64 * 1024;
/// Headers that are looked at.
const HEADERS: usize = 256;

/// What of a message comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// A head, of which so much is there.
    Head(Vec<u8>),
    /// So many bytes of body.
    Length(u64),
    /// A chunked body, and where it is: [`chunk`].
    Chunked(u64),
    /// A body that ends with the connection.
    UntilClose,
    /// Nothing: the message is whole.
    Done,
    /// It cannot be told.
    Lost,
}

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
    closes: bool,
}

/// The end of a head in the bytes, its empty line included.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let bare = bytes.windows(2).position(|two| two == b"\n\n");
    match (end, bare) {
        (Some(end), Some(bare)) if bare < end => Some(bare + 2),
        (Some(end), _) => Some(end + 4),
        (None, bare) => bare.map(|bare| bare + 2),
    }
}

/// `None` where the headers contradict each other.
fn framing(headers: &[httparse::Header<'_>]) -> Option<Framing> {
    let mut framing = Framing {
        length: None,
        chunked: false,
        closes: false,
    };
    for header in headers {
        let value = std::str::from_utf8(header.value).ok();
        if header.name.eq_ignore_ascii_case("content-length") {
            let length = value?.trim().parse().ok()?;
            if framing.length.is_some_and(|other| other != length) {
                return None;
            }
            framing.length = Some(length);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if !value?.trim().eq_ignore_ascii_case("chunked") {
                return None;
            }
            framing.chunked = true;
        } else if header.name.eq_ignore_ascii_case("connection") {
            let mut tokens = value?.split(',').map(str::trim);
            framing.closes |= tokens.any(|token| token.eq_ignore_ascii_case("close"));
        }
    }
    Some(framing)
}

impl Part {
    /// Follows bytes that are no head; how many belong to this message.
    fn follow(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Length(left) => {
                let taken = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                *left -= taken as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                taken
            }
            Self::Chunked(state) => {
                let mut at = 0;
                while let Some(&byte) = bytes.get(at) {
                    if chunk::ended(*state) || chunk::bad(*state) {
                        break;
                    }
                    let data = chunk::data(*state);
                    if data == 0 {
                        *state = chunk::step(*state, u64::from(byte));
                        at += 1;
                    } else {
                        let there = (bytes.len() - at) as u64;
                        *state = chunk::skip(*state, data.min(there));
                        at += data.min(there) as usize;
                    }
                }
                if chunk::ended(*state) {
                    *self = Self::Done;
                } else if chunk::bad(*state) {
                    *self = Self::Lost;
                }
                at
            }
            Self::UntilClose | Self::Lost => bytes.len(),
            Self::Head(_) | Self::Done => 0,
        }
    }
}

/// Follows the requests of a connection.
#[derive(Debug)]
pub struct Requests {
    part: Part,
    /// Heads that were whole.
    pub heads: u64,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            part: Part::Head(Vec::new()),
            heads: 0,
        }
    }
}

impl Requests {
    /// The next bytes of the connection.
    pub fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.part == Part::Done {
                self.part = Part::Head(Vec::new());
            }
            let taken = match &mut self.part {
                Part::Head(head) => {
                    // A line end before a request does not count.
                    if head.is_empty() && matches!(bytes.first(), Some(b'\r' | b'\n')) {
                        bytes = bytes.get(1..).unwrap_or_default();
                        continue;
                    }
                    let before = head.len();
                    head.extend_from_slice(bytes);
                    match head_end(head) {
                        Some(end) => {
                            let next = request(head.get(..end).unwrap_or_default());
                            self.heads += 1;
                            self.part = next;
                            end - before
                        }
                        None if head.len() > HEAD_BYTES => {
                            self.part = Part::Lost;
                            bytes.len()
                        }
                        None => bytes.len(),
                    }
                }
                part => part.follow(bytes),
            };
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    /// Whether all requests so far are whole, and nothing of another is there.
    pub fn at_boundary(&self) -> bool {
        match &self.part {
            Part::Head(head) => head.is_empty(),
            Part::Done => true,
            _ => false,
        }
    }
}

/// What follows a request's head.
fn request(head: &[u8]) -> Part {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    if !matches!(request.parse(head), Ok(httparse::Status::Complete(_))) {
        return Part::Lost;
    }
    let upgrades = request
        .headers
        .iter()
        .any(|header| header.name.eq_ignore_ascii_case("upgrade"));
    if upgrades || request.method == Some("CONNECT") || request.version != Some(1) {
        return Part::Lost;
    }
    match framing(request.headers) {
        None => Part::Lost,
        Some(framing) if framing.closes => Part::Lost,
        Some(framing) if framing.chunked => Part::Chunked(chunk::START),
        Some(Framing {
            length: Some(length @ 1..),
            ..
        }) => Part::Length(length),
        Some(_) => Part::Done,
    }
}

/// Follows one response.
#[derive(Debug)]
pub struct Response {
    part: Part,
    head_request: bool,
    /// The status, once it is known.
    pub status: Option<u16>,
    /// The connection cannot be used again.
    pub closes: bool,
}

/// Where a response is when its relay begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Before or in its head; what came of it before is not here.
    Head,
    /// So many bytes of body are left.
    Length(u64),
    /// In a chunked body: [`chunk`].
    Chunked(u64),
    /// The body ends with the connection.
    UntilClose,
}

impl Response {
    /// One that starts here.
    pub fn new(start: Start, head_request: bool) -> Self {
        let part = match start {
            Start::Head => Part::Head(Vec::new()),
            Start::Length(0) => Part::Done,
            Start::Length(left) => Part::Length(left),
            Start::Chunked(state) => Part::Chunked(state),
            Start::UntilClose => Part::UntilClose,
        };
        Self {
            part,
            head_request,
            status: None,
            closes: start == Start::UntilClose,
        }
    }

    /// The next bytes; how many of them belong to this response.
    pub fn follow(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if self.part == Part::Done {
                break;
            }
            at += match &mut self.part {
                Part::Head(head) => {
                    let before = head.len();
                    head.extend_from_slice(rest);
                    match head_end(head) {
                        Some(end) => {
                            let head = head.get(..end).unwrap_or_default().to_vec();
                            self.part = self.after(&head);
                            end - before
                        }
                        None if head.len() > HEAD_BYTES => {
                            self.part = Part::Lost;
                            self.closes = true;
                            rest.len()
                        }
                        None => rest.len(),
                    }
                }
                part => part.follow(rest),
            };
            self.closes |= self.part == Part::Lost;
        }
        at
    }

    fn after(&mut self, head: &[u8]) -> Part {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        if !matches!(response.parse(head), Ok(httparse::Status::Complete(_))) {
            return Part::Lost;
        }
        let status = response.code.unwrap_or(0);
        if (100..200).contains(&status) && status != 101 {
            return Part::Head(Vec::new());
        }
        self.status = Some(status);
        let framing = framing(response.headers);
        self.closes |= response.version != Some(1) || framing.is_none_or(|framing| framing.closes);
        match framing {
            _ if status == 101 => Part::Lost,
            _ if self.head_request || status == 204 || status == 304 => Part::Done,
            None => Part::Lost,
            Some(framing) if framing.chunked && framing.length.is_some() => Part::Lost,
            Some(framing) if framing.chunked => Part::Chunked(chunk::START),
            Some(Framing {
                length: Some(0), ..
            }) => Part::Done,
            Some(Framing {
                length: Some(length),
                ..
            }) => Part::Length(length),
            Some(_) => {
                self.closes = true;
                Part::UntilClose
            }
        }
    }

    /// Whether it is whole.
    pub fn is_done(&self) -> bool {
        self.part == Part::Done
    }

    /// Whether it is whole if the connection ends here.
    pub fn ends_with_connection(&self) -> bool {
        matches!(self.part, Part::Done | Part::UntilClose)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REQUESTS: [&str; 5] = [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "HEAD /x HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\na: b\r\n\r\n",
        "PUT / HTTP/1.1\r\nhost: a\r\nContent-Length: 0\r\n\r\n",
    ];
    const RESPONSES: [(&str, bool, bool); 6] = [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            false,
            false,
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", true, false),
        ("HTTP/1.1 204 No Content\r\n\r\n", false, false),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            false,
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx",
            false,
            true,
        ),
        (
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
            false,
            false,
        ),
    ];

    /// The pieces that bytes come in.
    fn pieces(bytes: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
        let mut rest = bytes;
        let mut pieces = Vec::new();
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            let size = sizes.next().copied().unwrap_or(1).clamp(1, rest.len());
            let (now, later) = rest.split_at(size);
            pieces.push(now.to_vec());
            rest = later;
        }
        pieces
    }

    proptest! {
        #[test]
        fn requests_are_followed_however_they_come(
            which in prop::collection::vec(0..REQUESTS.len(), 1..6),
            sizes in prop::collection::vec(1_usize..40, 1..8),
        ) {
            let all: String = which.iter().map(|&index| REQUESTS[index]).collect();
            let ends: Vec<usize> = which
                .iter()
                .scan(0, |end, &index| {
                    *end += REQUESTS[index].len();
                    Some(*end)
                })
                .collect();
            let mut followed = Requests::default();
            let mut at = 0;
            for piece in pieces(all.as_bytes(), &sizes) {
                followed.follow(&piece);
                at += piece.len();
                let after = ends.contains(&at);
                prop_assert_eq!(followed.at_boundary(), after, "after {} bytes", at);
            }
            prop_assert_eq!(followed.heads, which.len() as u64);
        }

        #[test]
        fn a_response_ends_where_it_ends(
            which in 0..RESPONSES.len(),
            sizes in prop::collection::vec(1_usize..40, 1..8),
            more in "[a-z]{0,9}",
        ) {
            let (text, head_request, closes) = RESPONSES[which];
            let all = format!("{text}{more}");
            let mut followed = Response::new(Start::Head, head_request);
            let mut taken = 0;
            for piece in pieces(all.as_bytes(), &sizes) {
                taken += followed.follow(&piece);
            }
            prop_assert!(followed.is_done());
            prop_assert_eq!(taken, text.len());
            prop_assert_eq!(followed.closes, closes);
        }
    }

    #[test]
    fn line_ends_before_a_request_do_not_count() {
        let mut followed = Requests::default();
        followed.follow(b"\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n\r\n");
        assert!(followed.at_boundary());
        assert_eq!(followed.heads, 1);
    }

    #[test]
    fn what_is_not_framed_ends_with_the_connection() {
        let mut followed = Response::new(Start::Head, false);
        followed.follow(b"HTTP/1.1 200 OK\r\n\r\nsome");
        assert!(!followed.is_done() && followed.ends_with_connection() && followed.closes);
        let mut followed = Response::new(Start::Length(3), false);
        assert_eq!(followed.follow(b"ab"), 2);
        assert!(!followed.ends_with_connection());
        assert_eq!(followed.follow(b"cd"), 1);
        assert!(followed.is_done());
    }

    #[test]
    fn a_request_that_leaves_the_protocol_is_never_at_a_boundary() {
        for head in [
            "GET / HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nconnection: close\r\n\r\n",
            "nonsense\r\n\r\n",
        ] {
            let mut followed = Requests::default();
            followed.follow(head.as_bytes());
            assert!(!followed.at_boundary(), "{head:?}");
        }
    }
}
