//! A response's head, as the generator reads it.

use crate::client::fault::{Fault, Kind, shown};

const HEADERS: usize = 100;

/// What a head says.
#[derive(Debug, Default)]
pub struct Head {
    /// Bytes of the head.
    pub length: usize,
    /// The status.
    pub status: u16,
    /// `x-backend`.
    pub backend: Option<String>,
    /// `x-request-id`.
    pub id: Option<String>,
    /// `x-path`.
    pub path: Option<String>,
    /// `x-body-length` and `x-body-sum`.
    pub body: (Option<u64>, Option<String>),
    /// `x-times`.
    pub times: Option<u64>,
    /// `content-length`.
    pub content_length: Option<u64>,
    /// The body is chunked.
    pub chunked: bool,
    /// The connection ends after it.
    pub closes: bool,
}

/// A head at the beginning of `bytes`; `None`: it is not whole.
///
/// # Errors
/// It is none.
pub fn parse(bytes: &[u8]) -> Result<Option<Head>, Fault> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Response::new(&mut headers);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => {
            return Err(Fault::new(
                Kind::Head,
                format!("{error}: \"{}\"", shown(bytes)),
            ));
        }
    };
    let mut head = Head {
        length,
        status: parsed.code.unwrap_or(0),
        closes: parsed.version == Some(0),
        ..Head::default()
    };
    for header in parsed.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let text = || Some(value.to_owned());
        let number = |name: &str| {
            let bad = |_| Fault::new(Kind::Head, format!("{name}: {value:?} is no number"));
            value.parse::<u64>().map(Some).map_err(bad)
        };
        if is("x-backend") {
            head.backend = text();
        } else if is("x-request-id") {
            head.id = text();
        } else if is("x-path") {
            head.path = text();
        } else if is("x-body-length") {
            head.body.0 = number("x-body-length")?;
        } else if is("x-body-sum") {
            head.body.1 = text();
        } else if is("x-times") {
            head.times = number("x-times")?;
        } else if is("content-length") {
            let length = number("content-length")?;
            if head.content_length.is_some() {
                return Err(Fault::new(Kind::Framing, "content-length twice"));
            }
            head.content_length = length;
        } else if is("transfer-encoding") {
            if head.chunked || !value.eq_ignore_ascii_case("chunked") {
                let detail = format!("transfer-encoding: expected chunked once, found {value:?}");
                return Err(Fault::new(Kind::Framing, detail));
            }
            head.chunked = true;
        } else if is("connection") {
            head.closes |= value.eq_ignore_ascii_case("close");
        }
    }
    Ok(Some(head))
}
