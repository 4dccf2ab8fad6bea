//! The requests of one connection, and when their responses ended.

use std::net::SocketAddr;

use twinmesh_engine::Request;

use super::Connection;
use super::tcp::{Run, Stream};
use crate::convert::reading::{Found, Reading, check};

/// As many header lines are read.
const MAX_HEADERS: usize = 256;

/// The head of a message, and where the message ends.
#[derive(Debug)]
struct Message {
    /// The place of the head's first byte.
    run: usize,
    at: usize,
    /// When the last byte of the head came.
    head_us: i64,
    /// When the last byte that is there came.
    end_us: i64,
    head: Head,
}

#[derive(Debug)]
struct Head {
    /// Method and target, or nothing of a response.
    request: Option<(String, String)>,
    status: u16,
    /// 0 of HTTP/1.0, 1 of HTTP/1.1.
    minor: u8,
    headers: Vec<(String, Vec<u8>)>,
}

/// What follows a head.
enum Body {
    Length(u64),
    Chunked,
    /// Everything up to the end of the connection, or no HTTP at all.
    ToTheEnd,
}

/// What was found in one direction.
#[derive(Default)]
struct Messages {
    all: Vec<Message>,
    /// How many of `all` stand in order without anything missing between them.
    in_order: usize,
    /// Heads that are not whole, or no HTTP.
    broken: Vec<(usize, &'static str)>,
    /// It goes on as something else.
    switched: bool,
}

/// Adds the requests of a connection.
pub(super) fn requests(connection: &Connection, number: usize, reading: &mut Reading) {
    let streams = [&connection.there, &connection.back];
    for stream in streams {
        reading
            .notes
            .count_many(stream.repeated, "segments of TCP came again");
        reading.notes.count_many(
            stream.contradicting,
            "segments of TCP came again with other bytes: the first count",
        );
    }
    let ends = [
        (connection.one, connection.other),
        (connection.other, connection.one),
    ];
    let clients: Vec<usize> = (0..2)
        .filter(|index| streams.get(*index).is_some_and(|stream| is_client(stream)))
        .collect();
    let [client] = clients.as_slice() else {
        let is_empty = streams.iter().all(|stream| stream.runs().is_empty());
        reading.notes.count(if is_empty {
            "connections carry no bytes"
        } else {
            "connections carry no HTTP/1.1 in the clear, and are left out"
        });
        return;
    };
    let (Some(there), Some(back), Some((source, destination))) = (
        streams.get(*client),
        streams.get(1 - *client),
        ends.get(*client),
    ) else {
        return;
    };
    if !there.begins() {
        reading
            .notes
            .count("connections began before the capture, or without their first packet");
    }
    let runs = there.runs();
    reading.notes.count_many(
        runs.len().saturating_sub(1),
        "gaps in what clients sent: bytes are missing from the capture",
    );
    let sent = messages(&runs, &[]);
    let methods: Vec<&str> = sent
        .all
        .iter()
        .filter_map(|message| message.head.request.as_ref())
        .map(|(method, _)| method.as_str())
        .collect();
    let answers = messages(&back.runs(), &methods);
    if sent.switched || answers.switched {
        reading
            .notes
            .count("connections go on as something other than HTTP/1.1, which is left out");
    }
    let place = |message: &Message| {
        runs.get(message.run)
            .map_or(0, |run| run.came(message.at).0)
    };
    // What a client sends behind the request by which its server has switched to another protocol is no HTTP.
    let last = sent.all.last().filter(|_| answers.switched).map(place);
    let broken = sent.broken.iter();
    let broken = broken.filter(|(packet, _)| last.is_none_or(|last| *packet < last));
    for (packet, problem) in broken {
        reading.bad(format!(" packet {packet}"), *problem);
    }
    let mut finals = answers
        .all
        .iter()
        .take(answers.in_order)
        .filter(|answer| answer.head.status >= 200 || answer.head.status == 101);
    for (index, message) in sent.all.iter().enumerate() {
        // Responses are told apart by their order alone.
        let answer = if index < sent.in_order {
            finals.next()
        } else {
            None
        };
        let duration =
            answer.and_then(|answer| u64::try_from(answer.end_us - message.head_us).ok());
        if duration.is_none() {
            reading
                .notes
                .count("requests have no response that can be told: their duration is 0");
        }
        let place = place(message);
        let ends = (*source, *destination);
        match request(&message.head, place, number, ends, duration.unwrap_or(0)) {
            Ok(found) => add(found, message, reading),
            Err(problem) => reading.bad(format!(" packet {place}"), problem),
        }
    }
}

fn add(mut request: Request, message: &Message, reading: &mut Reading) {
    // Pipelined requests may start in one packet.
    let id = request.id.clone();
    let mut more = 1;
    while reading
        .found
        .iter()
        .rev()
        .take(64)
        .any(|found| found.request.id == request.id)
    {
        more += 1;
        request.id = format!("{id}.{more}");
    }
    if message.head.minor == 0 {
        reading
            .notes
            .count("requests came by HTTP/1.0: they are replayed as HTTP/1.1");
    }
    reading
        .notes
        .count("requests have no random number: replay draws it");
    reading.found.push(Found {
        request,
        time_us: Some(message.head_us),
    });
}

fn request(
    head: &Head,
    packet: usize,
    connection: usize,
    (source, destination): (SocketAddr, SocketAddr),
    duration_us: u64,
) -> Result<Request, String> {
    let mut request = Request {
        id: format!("packet-{packet}"),
        ..Request::default()
    };
    let (method, target) = head.request.clone().unwrap_or_default();
    request.method = method;
    request.path = target;
    request.source = Some(source);
    request.destination = Some(destination);
    request.duration_us = duration_us;
    request.connection = Some(format!("tcp-{connection}"));
    for (name, value) in &head.headers {
        let value = String::from_utf8(value.clone())
            .map_err(|_| format!("the value of {name} is not UTF-8"))?;
        if !name.eq_ignore_ascii_case("host") {
            request.headers.push((name.clone(), value));
        } else if request.authority.replace(value).is_some() {
            return Err("it has more than one Host, which a traffic file cannot hold".to_owned());
        }
    }
    check(&request)?;
    Ok(request)
}

/// Whether the bytes are those of a client of HTTP/1.
fn is_client(stream: &Stream) -> bool {
    stream
        .runs()
        .iter()
        .any(|run| starts_request(&run.data) || find_request(&run.data).is_some())
}

/// Whether a request line of HTTP/1 starts here.
fn starts_request(data: &[u8]) -> bool {
    let line = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_whole = line.len() < data.len();
    let mut parts = line.split(|byte| *byte == b' ');
    let method = parts.next().unwrap_or_default();
    let is_method =
        (1..=32).contains(&method.len()) && method.iter().all(|byte| byte.is_ascii_uppercase());
    let (target, version) = (parts.next(), parts.next());
    is_method
        && is_whole
        && target.is_some_and(|target| !target.is_empty())
        && version.is_some_and(|version| version.starts_with(b"HTTP/1."))
}

/// Where the next request starts, after something that cannot be read.
fn find_request(data: &[u8]) -> Option<usize> {
    let starts = data.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    starts
        .map(|(at, _)| at + 1)
        .find(|at| data.get(*at..).is_some_and(starts_request))
}

/// The messages of one direction: requests, or the responses to requests of these methods.
fn messages(runs: &[Run], methods: &[&str]) -> Messages {
    let is_response = !methods.is_empty();
    let mut found = Messages::default();
    let mut broke = false;
    // Where the next message starts: a place in the stream.
    let mut next: Option<u64> = None;
    let mut answered = 0;
    for (index, run) in runs.iter().enumerate() {
        let end = run.start + run.data.len() as u64;
        let mut at = match next {
            // The body before it reaches beyond this run.
            Some(next) if next >= end => {
                touch_end(&mut found, run);
                continue;
            }
            Some(next) if next >= run.start => usize::try_from(next - run.start).unwrap_or(0),
            Some(_) => {
                broke = true;
                0
            }
            None => 0,
        };
        next = None;
        while let Some(rest) = run.data.get(at..).filter(|rest| !rest.is_empty()) {
            let blank = rest
                .iter()
                .take_while(|byte| matches!(byte, b'\r' | b'\n'))
                .count();
            if blank > 0 {
                at += blank;
                continue;
            }
            let (length, head) = match head(rest, is_response) {
                Ok(Some(parsed)) => parsed,
                Ok(None) => {
                    if !is_response {
                        found
                            .broken
                            .push((run.came(at).0, "a request's head is not whole"));
                    }
                    broke = true;
                    break;
                }
                Err(problem) => {
                    let resumes = if is_response {
                        None
                    } else {
                        find_request(rest)
                    };
                    let is_late = broke || (index == 0 && found.all.is_empty());
                    broke = true;
                    // A capture may start, or go on after a gap, in the middle of a body.
                    let is_expected = is_late && resumes.is_some();
                    if !is_response && !is_expected {
                        found.broken.push((run.came(at).0, problem));
                    }
                    match resumes {
                        Some(more) => {
                            at += more;
                            continue;
                        }
                        None => break,
                    }
                }
            };
            let is_final = head.status >= 200 || head.status == 101;
            let method = methods.get(answered).copied().unwrap_or_default();
            answered += usize::from(is_response && is_final);
            let body = body(&head, is_response.then_some(method));
            let start = at;
            let head_us = run.came(at + length - 1).1;
            let (body_end, is_whole) = body_end(run, at + length, &body);
            let last = usize::try_from((body_end - run.start).saturating_sub(1)).unwrap_or(0);
            found.all.push(Message {
                run: index,
                at: start,
                head_us,
                end_us: run.came(last.min(run.data.len() - 1)).1.max(head_us),
                head,
            });
            if !broke {
                found.in_order = found.all.len();
            }
            if matches!(body, Body::ToTheEnd) {
                found.switched |= !is_response || status_switches(&found);
                for later in runs.get(index + 1..).unwrap_or_default() {
                    touch_end(&mut found, later);
                }
                return found;
            }
            if !is_whole {
                // Chunks of which the end cannot be told.
                broke |= matches!(body, Body::Chunked);
                next = matches!(body, Body::Length(_)).then_some(body_end);
                break;
            }
            at = usize::try_from(body_end - run.start).unwrap_or(run.data.len());
        }
    }
    found
}

fn status_switches(found: &Messages) -> bool {
    found
        .all
        .last()
        .is_some_and(|message| message.head.status == 101)
}

/// The last message goes on to the end of this run.
fn touch_end(found: &mut Messages, run: &Run) {
    if let Some(last) = found.all.last_mut() {
        last.end_us = last
            .end_us
            .max(run.came(run.data.len().saturating_sub(1)).1);
    }
}

/// The length of a head, and what it says; `None` where it is not whole.
fn head(data: &[u8], is_response: bool) -> Result<Option<(usize, Head)>, &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let problem = |error: httparse::Error| match error {
        httparse::Error::TooManyHeaders => "it has more than 256 header lines",
        httparse::Error::Version => "it is not HTTP/1",
        _ => "it is no head of HTTP/1.1",
    };
    let (length, request, status, minor, headers) = if is_response {
        let mut response = httparse::Response::new(&mut headers);
        match response.parse(data).map_err(problem)? {
            httparse::Status::Partial => return Ok(None),
            httparse::Status::Complete(length) => (
                length,
                None,
                response.code.unwrap_or(0),
                response.version.unwrap_or(1),
                response.headers,
            ),
        }
    } else {
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(data).map_err(problem)? {
            httparse::Status::Partial => return Ok(None),
            httparse::Status::Complete(length) => {
                let line = (
                    request.method.unwrap_or_default().to_owned(),
                    request.path.unwrap_or_default().to_owned(),
                );
                (
                    length,
                    Some(line),
                    0,
                    request.version.unwrap_or(1),
                    request.headers,
                )
            }
        }
    };
    let headers = headers
        .iter()
        .map(|header| (header.name.to_owned(), header.value.to_vec()))
        .collect();
    Ok(Some((
        length,
        Head {
            request,
            status,
            minor,
            headers,
        },
    )))
}

/// What follows the head; `method` is that of the request that a response answers.
fn body(head: &Head, method: Option<&str>) -> Body {
    let value = |name: &str| {
        head.headers
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| String::from_utf8_lossy(value).trim().to_ascii_lowercase())
    };
    if let Some(method) = method {
        if head.status == 101 || (method == "CONNECT" && (200..300).contains(&head.status)) {
            return Body::ToTheEnd;
        }
        if head.status < 200 || matches!(head.status, 204 | 304) || method == "HEAD" {
            return Body::Length(0);
        }
    } else if head
        .request
        .as_ref()
        .is_some_and(|(method, _)| method == "CONNECT")
    {
        return Body::ToTheEnd;
    }
    if value("transfer-encoding").is_some_and(|coding| coding.ends_with("chunked")) {
        return Body::Chunked;
    }
    match value("content-length").map(|length| length.parse::<u64>()) {
        Some(Ok(length)) => Body::Length(length),
        Some(Err(_)) => Body::Length(0),
        None if method.is_some() => Body::ToTheEnd,
        None => Body::Length(0),
    }
}

/// Where a body ends, as a place in the stream, and whether all of it is in the run.
fn body_end(run: &Run, at: usize, body: &Body) -> (u64, bool) {
    let place = |at: usize| run.start + at as u64;
    let all = run.data.len();
    match body {
        Body::ToTheEnd => (place(all), true),
        Body::Length(length) => {
            let end = place(at).saturating_add(*length);
            (end, end <= place(all))
        }
        Body::Chunked => match chunks_end(&run.data, at) {
            Some(end) => (place(end), true),
            None => (place(all), false),
        },
    }
}

/// Where a chunked body ends, its trailers included.
fn chunks_end(data: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let (digits, size) = match httparse::parse_chunk_size(data.get(at..)?) {
            Ok(httparse::Status::Complete(parsed)) => parsed,
            Ok(httparse::Status::Partial) | Err(_) => return None,
        };
        at += digits;
        if size == 0 {
            break;
        }
        at = at
            .checked_add(usize::try_from(size).ok()?)?
            .checked_add(2)?;
    }
    loop {
        let rest = data.get(at..)?;
        let line = rest.iter().position(|byte| *byte == b'\n')?;
        at += line + 1;
        if rest.get(..line)?.trim_ascii().is_empty() {
            return Some(at);
        }
    }
}
