//! Reads HTTP/1.1 responses from a connection, one after the other.

use std::io::{self, ErrorKind, Read};

/// A response without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers, in wire order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Whether nothing follows it on the connection.
    pub is_last: bool,
}

impl Response {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(header, _)| header.eq_ignore_ascii_case(name))?;
        Some(&found.1)
    }
}

/// What has been read of a connection and not been used.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
}

const CHUNK: usize = 1 << 14;
const MOST_HEADERS: usize = 256;

impl Reader {
    /// The next final response, to a request of this method; `None` where the connection ended before
    /// one began. The body comes too, for those who want it: but for a tunnel's, which ends when
    /// the request does, where that `may_be_open`: nothing follows its head, which may announce more.
    ///
    /// # Errors
    /// The connection failed or ended within a response, or what came is none.
    pub fn next(
        &mut self,
        stream: &mut impl Read,
        method: &str,
        may_be_open: bool,
    ) -> io::Result<Option<(Response, Vec<u8>)>> {
        loop {
            let Some((response, length)) = self.head(stream)? else {
                return Ok(None);
            };
            self.buffer.drain(..length);
            if (100..200).contains(&response.status) && response.status != 101 {
                continue;
            }
            return self.body(stream, response, method, may_be_open).map(Some);
        }
    }

    fn head(&mut self, stream: &mut impl Read) -> io::Result<Option<(Response, usize)>> {
        loop {
            if let Some(found) = parse(&self.buffer)? {
                return Ok(Some(found));
            }
            if !self.fill(stream)? {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn body(
        &mut self,
        stream: &mut impl Read,
        mut response: Response,
        method: &str,
        may_be_open: bool,
    ) -> io::Result<(Response, Vec<u8>)> {
        // A direct response of these has its body all the same; it then says how long that is. One that
        // opens a tunnel has none.
        let opens = method == "CONNECT" && (200..300).contains(&response.status);
        let may_have_none = opens || matches!(response.status, 204 | 304);
        if method == "HEAD" || may_have_none && response.header("content-length").is_none() {
            return Ok((response, Vec::new()));
        }
        // Endpoints and Envoy itself say how long their bodies are.
        if may_be_open && response.header("content-length").is_none() {
            response.is_last = true;
            return Ok((response, Vec::new()));
        }
        let chunked = response
            .header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case(b"chunked"));
        if chunked {
            let body = self.chunks(stream)?;
            return Ok((response, body));
        }
        let Some(length) = response.header("content-length") else {
            // It ends with the connection.
            response.is_last = true;
            while self.fill(stream)? {}
            return Ok((response, std::mem::take(&mut self.buffer)));
        };
        let length = number(length, 10)?;
        let body = self.take(stream, length)?;
        Ok((response, body))
    }

    fn chunks(&mut self, stream: &mut impl Read) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line(stream)?;
            let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
            let size = number(size.trim_ascii(), 16)?;
            if size == 0 {
                while !self.line(stream)?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(stream, size)?);
            self.line(stream)?;
        }
    }

    /// Up to the next line's end, which is dropped.
    fn line(&mut self, stream: &mut impl Read) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = self.buffer.drain(..end).collect();
                self.buffer.drain(..2);
                return Ok(line);
            }
            if !self.fill(stream)? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn take(&mut self, stream: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            if !self.fill(stream)? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// Reads once; whether anything came before the end.
    fn fill(&mut self, stream: &mut impl Read) -> io::Result<bool> {
        let mut chunk = [0; CHUNK];
        loop {
            match stream.read(&mut chunk) {
                Ok(count) => {
                    self.buffer.extend(chunk.iter().take(count));
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A connection closed with unread input is reset; what came before stays.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

fn parse(buffer: &[u8]) -> io::Result<Option<(Response, usize)>> {
    if buffer.is_empty() {
        return Ok(None);
    }
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let status = response.parse(buffer).map_err(|error| {
        let shown = String::from_utf8_lossy(buffer.get(..80).unwrap_or(buffer)).into_owned();
        io::Error::new(ErrorKind::InvalidData, format!("{error} in {shown:?}"))
    })?;
    let httparse::Status::Complete(length) = status else {
        return Ok(None);
    };
    let headers: Vec<(String, Vec<u8>)> = response
        .headers
        .iter()
        .map(|header| (header.name.to_owned(), header.value.to_vec()))
        .collect();
    let is_last = headers.iter().any(|(name, value)| {
        name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case(b"close")
    });
    let response = Response {
        status: response.code.unwrap_or_default(),
        headers,
        is_last,
    };
    Ok(Some((response, length)))
}

fn number(text: &[u8], radix: u32) -> io::Result<usize> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| usize::from_str_radix(text, radix).ok())
        .ok_or_else(|| {
            let shown = String::from_utf8_lossy(text).into_owned();
            io::Error::new(ErrorKind::InvalidData, format!("{shown:?} is no length"))
        })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::net::TcpStream;

    use rstest::rstest;

    use super::*;

    fn connection(bytes: &[u8]) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let stream = TcpStream::connect(address).expect("it listens");
        let (mut other, _) = listener.accept().expect("it connects");
        other.write_all(bytes).expect("it is open");
        stream
    }

    #[test]
    fn responses_come_one_after_the_other() {
        let mut stream = connection(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc\
              HTTP/1.1 204 No Content\r\n\r\n\
              HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x=1\r\nab\r\n1\r\nc\r\n0\r\n\r\n\
              HTTP/1.1 200 OK\r\n\r\n\
              HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 5\r\n\r\n",
        );
        let mut reader = Reader::default();
        let mut next = |method| {
            let found = reader.next(&mut stream, method, false);
            found.expect("a response")
        };
        let (one, body) = next("GET").expect("the first");
        assert_eq!(
            (one.status, body.as_slice(), one.is_last),
            (200, b"abc".as_slice(), false)
        );
        let (two, body) = next("GET").expect("the second");
        assert_eq!((two.status, body.len()), (204, 0));
        let (_, body) = next("GET").expect("the third");
        assert_eq!(body, b"abc");
        let (four, body) = next("CONNECT").expect("the fourth, which opens a tunnel");
        assert_eq!((four.status, body.len(), four.is_last), (200, 0, false));
        let (five, body) = next("HEAD").expect("the fifth, of a HEAD");
        assert_eq!((five.status, body.len(), five.is_last), (400, 0, true));
        assert!(next("GET").is_none());
    }

    #[test]
    fn half_a_response_is_none() {
        let mut stream = connection(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\na");
        let error = Reader::default()
            .next(&mut stream, "GET", false)
            .expect_err("it is cut");
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        let mut stream = connection(b"\x16\x03\x01 what");
        let error = Reader::default()
            .next(&mut stream, "GET", false)
            .expect_err("it is TLS");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }

    #[rstest]
    #[case("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")]
    #[case("HTTP/1.0 200 OK\r\n\r\n")]
    fn a_tunnels_answer_ends_with_its_head(#[case] head: &str) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let mut stream = TcpStream::connect(address).expect("it listens");
        let (mut other, _) = listener.accept().expect("it connects");
        other.write_all(head.as_bytes()).expect("it is open");
        // `other` stays open: to read on would not end.
        let found = Reader::default().next(&mut stream, "POST", true);
        let (response, body) = found.expect("a response").expect("the tunnel's");
        assert_eq!(
            (response.status, body.len(), response.is_last),
            (200, 0, true)
        );
        drop(other);
    }
}
