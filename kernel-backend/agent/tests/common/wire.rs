//! HTTP/1.1 as bytes on a socket, for tests: read and written by hand.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::soon;

/// One end of a connection.
pub struct Wire {
    pub stream: TcpStream,
    pub ahead: Vec<u8>,
}

/// The head of a request or a response.
#[derive(Debug, Clone)]
pub struct Head {
    pub text: String,
    pub start: String,
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The value of the first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn status(&self) -> u16 {
        let status = self.start.split(' ').nth(1).expect("a status");
        status.parse().expect("a number")
    }
}

/// A response.
#[derive(Debug)]
pub struct Reply {
    pub head: Head,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a TCP socket");
        Self {
            stream,
            ahead: Vec::new(),
        }
    }

    /// Ends the own direction.
    pub fn shutdown(&self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket
            .shutdown(std::net::Shutdown::Write)
            .expect("it is connected");
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        assert!(self.try_send(bytes).await, "the peer takes bytes");
    }

    pub async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Reads more; whether there was more.
    async fn more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match soon("bytes on a socket", self.stream.read(&mut buffer)).await {
            Ok(read) => {
                self.ahead.extend_from_slice(&buffer[..read]);
                read != 0
            }
            Err(_) => false,
        }
    }

    /// The next head; nothing where the connection ends before it.
    pub async fn head(&mut self) -> Option<Head> {
        let end = loop {
            let end = self.ahead.windows(4).position(|four| four == b"\r\n\r\n");
            match end {
                Some(end) => break end + 4,
                None => {
                    if !self.more().await {
                        return None;
                    }
                }
            }
        };
        let head: Vec<u8> = self.ahead.drain(..end).collect();
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut lines = text.trim_end().split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .map(|line| {
                let (name, value) = line.split_once(':').expect("a header line");
                (name.to_owned(), value.trim().to_owned())
            })
            .collect();
        Some(Head {
            start,
            headers,
            text,
        })
    }

    pub async fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.ahead.len() < length {
            assert!(self.more().await, "the body is whole");
        }
        self.ahead.drain(..length).collect()
    }

    /// So many bytes, or those before the end.
    pub async fn at_most(&mut self, length: usize) -> Vec<u8> {
        while self.ahead.len() < length && self.more().await {}
        let there = length.min(self.ahead.len());
        self.ahead.drain(..there).collect()
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.ahead.drain(..end + 2).collect();
                return String::from_utf8(line[..end].to_vec()).expect("text");
            }
            assert!(self.more().await, "the line is whole");
        }
    }

    /// A chunked body, and its trailers.
    pub async fn chunked(&mut self) -> (Vec<u8>, Vec<String>) {
        let mut body = Vec::new();
        loop {
            let line = self.line().await;
            let length = usize::from_str_radix(&line, 16).expect("a chunk's length");
            if length == 0 {
                break;
            }
            body.extend(self.exactly(length).await);
            assert_eq!(self.line().await, "", "after a chunk");
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.line().await;
            if line.is_empty() {
                return (body, trailers);
            }
            trailers.push(line);
        }
    }

    /// The body of a request, or of a response that may have one.
    pub async fn body(&mut self, head: &Head) -> Vec<u8> {
        if head
            .header("transfer-encoding")
            .is_some_and(|encoding| encoding.eq_ignore_ascii_case("chunked"))
        {
            return self.chunked().await.0;
        }
        match head.header("content-length") {
            Some(length) => self.exactly(length.parse().expect("a length")).await,
            None if head.start.starts_with("HTTP/") => self.rest().await,
            None => Vec::new(),
        }
    }

    /// All there is until the end.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.ahead)
    }

    /// Whether the connection has ended, with nothing left to read.
    pub async fn ended(&mut self) -> bool {
        self.rest().await.is_empty()
    }

    pub async fn reply(&mut self) -> Reply {
        let head = self.head().await.expect("a response");
        let body = self.body(&head).await;
        Reply { head, body }
    }

    /// Sends a request without a body and reads its response.
    pub async fn get(&mut self, path: &str, id: &str) -> Reply {
        let request = format!("GET {path} HTTP/1.1\r\nHost: web\r\nX-Id: {id}\r\n\r\n");
        self.send(request.as_bytes()).await;
        self.reply().await
    }
}
