//! One response, read and checked.

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::client::expected::Expected;
use crate::client::fault::{Fault, Kind, shown};
use crate::client::head::{self, Head};
use crate::client::plan::{Exchange, Pace};
use crate::framing::{Body, Framing};
use crate::pattern;

/// Bytes that are read at a time.
const BUFFER: usize = 64 * 1024;
/// A longer head is a fault.
const MOST_HEAD_BYTES: usize = 64 * 1024;

/// What a checked response leaves to know.
#[derive(Debug)]
pub struct Answer {
    /// Who answered.
    pub backend: Option<String>,
    /// Whether the connection goes on.
    pub goes_on: bool,
    /// Bytes of its body.
    pub bytes: u64,
}

/// A connection's bytes that were read and not used.
#[derive(Debug, Default)]
pub struct Responses {
    bytes: Vec<u8>,
    read: u64,
}

/// Reads as the plan says.
struct Reading<'a, R> {
    from: &'a mut R,
    pace: &'a Pace,
    reads: u32,
}

impl Responses {
    /// Bytes that came unasked.
    pub fn left(&self) -> &[u8] {
        &self.bytes
    }

    async fn more<R: AsyncRead + Unpin>(
        &mut self,
        reading: &mut Reading<'_, R>,
    ) -> Result<usize, Fault> {
        if reading.pace.cut_after.is_some_and(|most| self.read >= most) {
            return Err(Fault::new(Kind::Closed, "cut by the plan"));
        }
        let most = match &reading.pace.slow {
            Some(slow) if reading.reads < slow.reads => {
                tokio::time::sleep(slow.pause).await;
                slow.bytes
            }
            _ => BUFFER,
        };
        reading.reads += 1;
        self.bytes.reserve(most);
        let mut limited = (&mut reading.from).take(most as u64);
        match limited.read_buf(&mut self.bytes).await {
            Ok(count) => {
                self.read += count as u64;
                Ok(count)
            }
            Err(error) => Err(Fault::new(Kind::Reset, error)),
        }
    }

    /// Reads the response to one request.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn next<R: AsyncRead + Unpin>(
        &mut self,
        from: &mut R,
        exchange: &Exchange,
        expected: &Expected,
        pace: &Pace,
    ) -> Result<Answer, Fault> {
        let mut reading = Reading {
            from,
            pace,
            reads: 0,
        };
        let head = self.head(&mut reading).await?;
        if !exchange.is_status(head.status) {
            if matches!(head.status, 502..=504) && head.backend.is_none() {
                return Err(Fault::new(
                    Kind::Unavailable,
                    format!("status {}", head.status),
                ));
            }
            let detail = format!(
                "expected {}, found {}",
                exchange.question.status, head.status
            );
            return Err(Fault::new(Kind::Status, detail));
        }
        let seed = check(&head, exchange, expected)?;
        let framing = framing(&head, exchange)?;
        let bytes = self.body(&mut reading, exchange, framing, seed).await?;
        if exchange.question.die.is_some() && bytes == exchange.question.bytes {
            return Err(Fault::new(
                Kind::Whole,
                "a response whole that was to break off",
            ));
        }
        let goes_on = !head.closes && framing != Framing::UntilClose;
        Ok(Answer {
            backend: head.backend,
            goes_on,
            bytes,
        })
    }

    async fn head<R: AsyncRead + Unpin>(
        &mut self,
        reading: &mut Reading<'_, R>,
    ) -> Result<Head, Fault> {
        loop {
            if !self.bytes.is_empty()
                && let Some(head) = head::parse(&self.bytes)?
            {
                self.bytes.drain(..head.length);
                if (100..200).contains(&head.status) && head.status != 101 {
                    continue;
                }
                return Ok(head);
            }
            if self.bytes.len() > MOST_HEAD_BYTES {
                let detail = format!("over {MOST_HEAD_BYTES} bytes: \"{}\"", shown(&self.bytes));
                return Err(Fault::new(Kind::Head, detail));
            }
            if self.more(reading).await? == 0 {
                if self.bytes.is_empty() {
                    return Err(Fault::new(Kind::Closed, "before the response"));
                }
                let detail = format!("within the head: \"{}\"", shown(&self.bytes));
                return Err(Fault::new(Kind::CutOff, detail));
            }
        }
    }

    async fn body<R: AsyncRead + Unpin>(
        &mut self,
        reading: &mut Reading<'_, R>,
        exchange: &Exchange,
        framing: Framing,
        seed: u64,
    ) -> Result<u64, Fault> {
        let mut body = Body::new(framing);
        let expected = exchange.question.bytes;
        let mut offset = 0;
        let mut wrong = None;
        loop {
            let fed = body.feed(&self.bytes, |data| {
                if wrong.is_none()
                    && let Some(at) = pattern::first_wrong(seed, offset, data)
                {
                    let place = offset + at as u64;
                    let found = &data[at..data.len().min(at + 32)];
                    wrong = Some(format!(
                        "at {place} of {expected}: expected {}, found {}",
                        shown(&rest(seed, place)),
                        shown(found)
                    ));
                }
                offset += data.len() as u64;
            });
            let count = fed.map_err(|error| {
                let detail = format!("after {offset} of {expected} bytes: {error}");
                Fault::new(Kind::Framing, detail)
            })?;
            self.bytes.drain(..count);
            if let Some(detail) = wrong {
                return Err(Fault::new(Kind::Byte, detail));
            }
            if body.is_done() {
                break;
            }
            if self.more(reading).await? == 0 {
                if body.may_end() && exchange.question.die.is_some() {
                    let detail = format!(
                        "reset after some bytes, and ended like a whole body after {offset} of {expected}"
                    );
                    return Err(Fault::new(Kind::Whole, detail));
                }
                if body.may_end() && offset == expected {
                    break;
                }
                let detail = format!("after {offset} of {expected} bytes");
                return Err(Fault::new(Kind::CutOff, detail));
            }
        }
        let bodyless = exchange.method == "HEAD" || exchange.question.is_bodyless();
        if !bodyless && offset != expected && exchange.question.die.is_none() {
            let detail = format!("expected {expected} bytes, found {offset}");
            return Err(Fault::new(Kind::Length, detail));
        }
        Ok(offset)
    }
}

fn rest(seed: u64, place: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    pattern::fill(seed, place, &mut bytes);
    bytes
}

/// Whether a head answers a request; the seed of the body.
fn check(head: &Head, exchange: &Exchange, expected: &Expected) -> Result<u64, Fault> {
    let id = format!("{:016x}", exchange.id);
    if head.id.as_deref() != Some(id.as_str()) {
        return Err(Fault::new(
            Kind::Id,
            format!("expected {id}, found {:?}", head.id),
        ));
    }
    if head.path.as_deref() != Some(exchange.target.as_str()) {
        let detail = format!("expected {}, found {:?}", exchange.target, head.path);
        return Err(Fault::new(Kind::Path, detail));
    }
    let backend = head.backend.as_deref().unwrap_or_default();
    expected
        .allows(exchange.header.as_ref(), backend)
        .map_err(|who| Fault::new(Kind::Backend, format!("expected {who}; found {backend:?}")))?;
    if let Some((length, sum)) = exchange.body
        && length != 0
        && (head.body.0 != Some(length)
            || head.body.1.as_deref() != Some(format!("{sum:016x}").as_str()))
    {
        let detail = format!(
            "sent {length} bytes, sum {sum:016x}; the backend got {:?}",
            head.body
        );
        return Err(Fault::new(Kind::RequestBody, detail));
    }
    if let Some(times) = head.times {
        let detail = format!(
            "{} came to the backend for the {times}th time",
            exchange.method
        );
        return Err(Fault::new(Kind::Repeated, detail));
    }
    Ok(pattern::response_seed(
        exchange.id,
        backend,
        &exchange.target,
    ))
}

/// How the body ends.
fn framing(head: &Head, exchange: &Exchange) -> Result<Framing, Fault> {
    if head.chunked && head.content_length.is_some() {
        return Err(Fault::new(Kind::Framing, "chunked and a content-length"));
    }
    if exchange.method == "HEAD" || exchange.question.is_bodyless() {
        return Ok(Framing::Length(0));
    }
    if head.chunked {
        return Ok(Framing::Chunked);
    }
    if let Some(length) = head.content_length {
        let expected = exchange.question.bytes;
        if length != expected {
            let detail = format!("content-length: expected {expected}, found {length}");
            return Err(Fault::new(Kind::Length, detail));
        }
        return Ok(Framing::Length(length));
    }
    if exchange.question.until_close {
        return Ok(Framing::UntilClose);
    }
    Err(Fault::new(
        Kind::Framing,
        "no content-length, not chunked, and not asked to end with the connection",
    ))
}
