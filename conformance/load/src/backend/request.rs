//! Requests, as the backend reads them.

use std::io;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::framing::{Body, Framing};
use crate::pattern::Sum;

const HEADERS: usize = 100;
/// A longer head is refused.
const MOST_HEAD_BYTES: usize = 64 * 1024;
const BUFFER: usize = 64 * 1024;

/// A request that was read whole.
#[derive(Debug)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// Its target.
    pub target: String,
    /// From `x-request-id`, 16 hexadecimal digits; 0 where that says nothing of the kind.
    pub id: u64,
    /// Bytes of its body.
    pub length: u64,
    /// Over its body.
    pub sum: u64,
    /// It asks for the connection's end.
    pub close: bool,
}

/// What came.
#[derive(Debug)]
pub enum Read {
    /// A request.
    Request(Request),
    /// The connection's end, between requests.
    End,
    /// Something else, and why it is no request.
    Malformed(String),
}

/// The bytes of a connection that were read and not used.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
}

struct Head {
    request: Request,
    framing: Framing,
    length: usize,
}

impl Reader {
    async fn more(&mut self, stream: &mut TcpStream) -> io::Result<usize> {
        self.bytes.reserve(BUFFER);
        stream.read_buf(&mut self.bytes).await
    }

    /// The next request, with its body read.
    ///
    /// # Errors
    /// The connection failed, or ended within a request.
    pub async fn next(&mut self, stream: &mut TcpStream) -> io::Result<Read> {
        let head = loop {
            match parse(&self.bytes) {
                Ok(Some(head)) => break head,
                Ok(None) if self.bytes.len() > MOST_HEAD_BYTES => {
                    return Ok(Read::Malformed(format!(
                        "a head of over {MOST_HEAD_BYTES} bytes"
                    )));
                }
                Ok(None) => {}
                Err(why) => return Ok(Read::Malformed(why)),
            }
            if self.more(stream).await? == 0 {
                if self.bytes.is_empty() {
                    return Ok(Read::End);
                }
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        self.bytes.drain(..head.length);
        let mut request = head.request;
        let (mut body, mut sum) = (Body::new(head.framing), Sum::default());
        loop {
            let fed = body.feed(&self.bytes, |data| {
                sum.add(data);
                request.length += data.len() as u64;
            });
            match fed {
                Ok(count) => self.bytes.drain(..count),
                Err(error) => return Ok(Read::Malformed(error.to_string())),
            };
            if body.is_done() {
                break;
            }
            if self.more(stream).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        request.sum = sum.value();
        Ok(Read::Request(request))
    }
}

/// A head at the beginning of `bytes`; `None`: it is not whole.
fn parse(bytes: &[u8]) -> Result<Option<Head>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        target: parsed.path.unwrap_or_default().to_owned(),
        id: 0,
        length: 0,
        sum: 0,
        close: parsed.version == Some(0),
    };
    let mut framing = Framing::Length(0);
    for header in parsed.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("x-request-id") {
            request.id = u64::from_str_radix(value, 16).unwrap_or(0);
        } else if is("content-length") {
            let length = value.parse();
            framing = Framing::Length(length.map_err(|_| format!("content-length: {value:?}"))?);
        } else if is("transfer-encoding") {
            if !value.eq_ignore_ascii_case("chunked") {
                return Err(format!("transfer-encoding: {value:?}"));
            }
            framing = Framing::Chunked;
        } else if is("connection") && value.eq_ignore_ascii_case("close") {
            request.close = true;
        }
    }
    Ok(Some(Head {
        request,
        framing,
        length,
    }))
}
