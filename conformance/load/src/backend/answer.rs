//! Responses.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::request::Request;
use super::{Backend, Wrong};
use crate::framing;
use crate::pattern;
use crate::question::Question;

/// Bytes of a body that are written at a time.
const PIECE: u64 = 64 * 1024;
/// Pieces of a slow body, and the pause before each.
const SLOW: (u64, Duration) = (8, Duration::from_millis(1));
/// Between the two writes of a head.
const SPLIT: Duration = Duration::from_micros(200);
/// One response of so many is wrong, where some are to be.
const WRONG_EACH: u64 = 10;

/// Refuses what is no request and ends the connection.
pub async fn refuse(stream: &mut TcpStream, why: &str) -> io::Result<()> {
    let reply = format!(
        "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{why}",
        why.len()
    );
    stream.write_all(reply.as_bytes()).await
}

/// What one response is made of.
struct Plan {
    question: Question,
    seed: u64,
    head: Vec<u8>,
    wrong: Option<Wrong>,
    /// Bytes of the body as it is sent.
    length: u64,
}

/// Answers. Whether the connection goes on.
pub async fn send(
    backend: &Backend,
    stream: &mut TcpStream,
    request: &Request,
    times: u64,
) -> io::Result<bool> {
    let question = match Question::of_target(&request.target) {
        Ok(question) => question,
        Err(why) => return refuse(stream, &why).await.map(|()| false),
    };
    let turn = backend.answered().is_multiple_of(WRONG_EACH);
    let wrong = backend.wrong.filter(|_| turn);
    if question.delay_us != 0 {
        tokio::time::sleep(Duration::from_micros(question.delay_us)).await;
    }
    match wrong {
        Some(Wrong::Silence) => {
            std::future::pending::<()>().await;
        }
        Some(Wrong::Close) => return Ok(false),
        Some(Wrong::Head) => {
            stream.write_all(b"HTTQ/1.1 200 OK\r\n\r\n").await?;
            return Ok(true);
        }
        _ => {}
    }
    let plan = plan(backend, request, times, question, wrong);
    let mut goes_on = write(stream, request, &plan).await?;
    match wrong {
        Some(Wrong::Twice) => goes_on = write(stream, request, &plan).await? && goes_on,
        Some(Wrong::Extra) => stream.write_all(b"more").await?,
        _ => {}
    }
    Ok(goes_on)
}

fn plan(
    backend: &Backend,
    request: &Request,
    times: u64,
    mut question: Question,
    wrong: Option<Wrong>,
) -> Plan {
    let (mut name, mut path, mut id) = (backend.name.clone(), request.target.clone(), request.id);
    let mut of = id;
    let (mut sum, mut times) = (request.sum, times);
    let mut length = if question.is_bodyless() {
        0
    } else {
        question.bytes
    };
    match wrong {
        Some(Wrong::Backend) => name.push('x'),
        Some(Wrong::Path) => path.push('x'),
        Some(Wrong::Id) => id ^= 1,
        Some(Wrong::Body) => of ^= 1,
        Some(Wrong::Sum) => sum ^= 1,
        Some(Wrong::Times) => times += 1,
        Some(Wrong::Status) => question.status = if question.status == 200 { 201 } else { 200 },
        Some(Wrong::Short) => length = length.saturating_sub(1),
        Some(Wrong::Long) => length += 1,
        Some(Wrong::Whole) => question.die = None,
        Some(Wrong::Cut) => question.die = Some(length / 2),
        _ => {}
    }
    let mut head = format!(
        "HTTP/1.1 {} Said\r\nx-backend: {name}\r\nx-request-id: {id:016x}\r\nx-path: {path}\r\n",
        question.status
    );
    if request.length != 0 {
        head += &format!(
            "x-body-length: {}\r\nx-body-sum: {sum:016x}\r\n",
            request.length
        );
    }
    if times != 1 {
        head += &format!("x-times: {times}\r\n");
    }
    if question.chunked && !question.is_bodyless() {
        head += "transfer-encoding: chunked\r\n";
    } else if !question.until_close && !question.is_bodyless() && wrong != Some(Wrong::Framing) {
        head += &format!("content-length: {length}\r\n");
    }
    if question.close || question.until_close || request.close {
        head += "connection: close\r\n";
    }
    head += "\r\n";
    Plan {
        seed: pattern::response_seed(of, &name, &path),
        question,
        head: head.into_bytes(),
        wrong,
        length,
    }
}

/// Some of the body, as it goes on the wire.
fn content(plan: &Plan, offset: u64, count: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(count).unwrap_or(0)];
    let gap = plan.length / 2;
    let lost = if plan.wrong == Some(Wrong::Gap) && offset >= gap {
        8
    } else {
        0
    };
    pattern::fill(plan.seed, offset + lost, &mut bytes);
    if plan.wrong == Some(Wrong::Byte)
        && let Some(byte) = bytes.last_mut()
    {
        *byte ^= 0x20;
    }
    if plan.question.chunked {
        framing::chunk(&bytes)
    } else {
        bytes
    }
}

/// Writes a response. Whether the connection goes on.
async fn write(stream: &mut TcpStream, request: &Request, plan: &Plan) -> io::Result<bool> {
    let question = &plan.question;
    let mut waiting = Vec::new();
    if question.early {
        waiting.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
    }
    if question.split {
        let (first, second) = plan.head.split_at(plan.head.len() / 2);
        waiting.extend_from_slice(first);
        stream.write_all(&waiting).await?;
        tokio::time::sleep(SPLIT).await;
        waiting = second.to_vec();
    } else {
        waiting.extend_from_slice(&plan.head);
    }
    let bodyless = question.is_bodyless() || request.method == "HEAD";
    let most = if question.slow {
        (plan.length / SLOW.0).max(1)
    } else if plan.wrong == Some(Wrong::Gap) {
        (plan.length / 2).max(1)
    } else {
        PIECE
    };
    let mut offset = 0;
    while !bodyless && offset < plan.length {
        let until = question.die.map_or(plan.length, |die| die.min(plan.length));
        let count = most.min(until.saturating_sub(offset));
        if count != 0 {
            waiting.extend_from_slice(&content(plan, offset, count));
            offset += count;
        }
        if offset == until && question.die.is_some() {
            stream.write_all(&waiting).await?;
            return end(stream, question);
        }
        if question.slow {
            stream.write_all(&waiting).await?;
            waiting.clear();
            tokio::time::sleep(SLOW.1).await;
        } else if waiting.len() as u64 >= PIECE {
            stream.write_all(&waiting).await?;
            waiting.clear();
        }
    }
    if !bodyless && question.chunked {
        waiting.extend_from_slice(framing::LAST_CHUNK);
    }
    stream.write_all(&waiting).await?;
    if question.close || question.until_close || request.close {
        return Ok(false);
    }
    Ok(true)
}

/// Ends a connection in the middle.
fn end(stream: &TcpStream, question: &Question) -> io::Result<bool> {
    if question.reset {
        socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
    }
    Ok(false)
}
