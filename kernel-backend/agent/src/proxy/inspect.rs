//! What listener filters look for in a connection's first bytes: TLS, or HTTP/1.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What the first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A TLS ClientHello.
    Tls,
    /// The request line of an HTTP/1 request, or the preface of HTTP/2.
    Http,
    /// Something else.
    Other,
}

/// Bytes that are enough to tell.
const ENOUGH: usize = 64;

/// Reads as much as it takes to tell.
///
/// # Errors
/// The connection breaks.
pub async fn inspect(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(Protocol, Bytes)> {
    let mut bytes = BytesMut::with_capacity(1024);
    loop {
        let ended = stream.read_buf(&mut bytes).await? == 0;
        if let Some(protocol) = tell(&bytes, ended) {
            return Ok((protocol, bytes.freeze()));
        }
    }
}

/// What the bytes are, as soon as they tell.
fn tell(bytes: &[u8], ended: bool) -> Option<Protocol> {
    match bytes {
        // A handshake record of TLS 1.x.
        [0x16, 0x03, ..] => return Some(Protocol::Tls),
        [0x16] | [] if !ended => return None,
        _ => {}
    }
    // Line ends before a request line are allowed.
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    let line = start
        .and_then(|start| bytes.get(start..))
        .unwrap_or_default();
    let token = line.iter().take_while(|byte| is_token(**byte)).count();
    let undecided = token == line.len() && line.len() < ENOUGH && !ended;
    if undecided {
        return None;
    }
    let is_http = token > 0 && line.get(token) == Some(&b' ');
    Some(if is_http {
        Protocol::Http
    } else {
        Protocol::Other
    })
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte == b'-' || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::{Protocol, tell};

    #[test]
    fn first_bytes_tell_the_protocol() {
        let cases: [(&[u8], bool, Option<Protocol>); 9] = [
            (b"\x16\x03\x01\x02", false, Some(Protocol::Tls)),
            (b"\x16", false, None),
            (b"", false, None),
            (b"", true, Some(Protocol::Other)),
            (b"GE", false, None),
            (b"GET ", false, Some(Protocol::Http)),
            (b"\r\nPOST /", false, Some(Protocol::Http)),
            (b"EHLO\r\n", false, Some(Protocol::Other)),
            (b"\x00\x01", false, Some(Protocol::Other)),
        ];
        for (bytes, ended, expected) in cases {
            assert_eq!(tell(bytes, ended), expected, "{bytes:?} {ended}");
        }
    }
}
