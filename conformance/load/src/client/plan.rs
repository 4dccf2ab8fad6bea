//! What a connection sends next, drawn from a seed.

use std::time::Duration;

use crate::client::Load;
use crate::client::expected::Pinned;
use crate::client::variety::Feature;
use crate::framing;
use crate::pattern::{self, Random, Sum};
use crate::question::Question;

/// Requests in one write, at most.
const MOST_PIPELINED: u64 = 8;
const MOST_RESPONSE_BYTES: u64 = 4 << 20;
const MOST_REQUEST_BYTES: u64 = 1 << 20;
/// Pieces of a request's body, at most.
const MOST_PIECES: usize = 30;

/// A request and what its response has to be.
#[derive(Debug)]
pub struct Exchange {
    /// Its id.
    pub id: u64,
    /// Its method.
    pub method: &'static str,
    /// Its target.
    pub target: String,
    /// What it asks for.
    pub question: Question,
    /// Length and sum of its body.
    pub body: Option<(u64, u64)>,
    /// The header that decides where it goes.
    pub header: Option<Pinned>,
}

impl Exchange {
    /// Whether a response may have this status.
    pub fn is_status(&self, status: u16) -> bool {
        status == self.question.status
    }
}

/// Bytes to write, after a pause.
#[derive(Debug)]
pub struct Segment {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The pause.
    pub pause: Duration,
}

/// Slow reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slow {
    /// Bytes at a time.
    pub bytes: usize,
    /// The pause before each.
    pub pause: Duration,
    /// How many reads are slow.
    pub reads: u32,
}

/// How responses are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pace {
    /// Slowly.
    pub slow: Option<Slow>,
    /// Up to so many bytes; then the connection is dropped.
    pub cut_after: Option<u64>,
}

/// Requests that are sent before their responses are awaited.
#[derive(Debug, Default)]
pub struct Batch {
    /// The requests.
    pub exchanges: Vec<Exchange>,
    /// Their bytes.
    pub segments: Vec<Segment>,
    /// How responses are read.
    pub pace: Pace,
    /// The connection is dropped once all is written.
    pub cut: bool,
    /// It is dropped by RST, if it is.
    pub reset: bool,
}

impl Batch {
    /// Whether the plan is to drop the connection midway.
    pub fn is_cut(&self) -> bool {
        self.cut || self.pace.cut_after.is_some()
    }

    fn push(&mut self, bytes: Vec<u8>, pause: Duration) {
        match self.segments.last_mut() {
            Some(last) if pause.is_zero() => last.bytes.extend_from_slice(&bytes),
            _ => self.segments.push(Segment { bytes, pause }),
        }
    }
}

fn head(load: &Load, exchange: &Exchange, framing: &str, close: bool) -> Vec<u8> {
    let mut head = format!(
        "{} {} HTTP/1.1\r\nhost: {}\r\nx-request-id: {:016x}\r\n",
        exchange.method, exchange.target, load.authority, exchange.id
    );
    if let Some(header) = &exchange.header {
        head += &format!("{}: {}\r\n", header.name, header.value);
    }
    head += framing;
    if close {
        head += "connection: close\r\n";
    }
    head += "\r\n";
    head.into_bytes()
}

fn header(load: &Load, random: &mut Random) -> Option<Pinned> {
    let kind = random.below(load.expected.kinds());
    load.expected.pinned.get(kind as usize).cloned()
}

/// A GET like any other.
pub fn plain(load: &Load, random: &mut Random, id: u64) -> Batch {
    let question = Question {
        bytes: load.bytes,
        ..Question::default()
    };
    let exchange = Exchange {
        id,
        method: "GET",
        target: format!("{}{}", load.path, question.query()),
        question,
        body: None,
        header: header(load, random),
    };
    let segment = Segment {
        bytes: head(load, &exchange, "", false),
        pause: Duration::ZERO,
    };
    Batch {
        exchanges: vec![exchange],
        segments: vec![segment],
        ..Batch::default()
    }
}

/// How many requests the next batch has.
pub fn batch_size(load: &Load, random: &mut Random) -> u64 {
    if draw(load, random, Feature::Pipelining, 100) {
        2 + random.below(MOST_PIPELINED - 1)
    } else {
        1
    }
}

/// Whether something that a run has is drawn.
fn draw(load: &Load, random: &mut Random, feature: Feature, per_mille: u64) -> bool {
    load.variety.has(feature) && random.per_mille(per_mille)
}

/// A batch of everything there is. `ids` are the requests'.
pub fn mixed(load: &Load, random: &mut Random, ids: &[u64]) -> Batch {
    let mut batch = Batch {
        reset: random.per_mille(500),
        ..Batch::default()
    };
    let pipelined = ids.len() > 1;
    for (index, &id) in ids.iter().enumerate() {
        let last = index + 1 == ids.len();
        one(load, random, id, &mut batch, pipelined, last);
    }
    if draw(load, random, Feature::SlowReading, 30) {
        batch.pace.slow = Some(Slow {
            bytes: 1 + random.magnitude(16 * 1024) as usize,
            pause: Duration::from_micros(500),
            reads: 200,
        });
    }
    if draw(load, random, Feature::Abort, 8) {
        batch.pace.cut_after = Some(random.magnitude(MOST_RESPONSE_BYTES));
    } else if draw(load, random, Feature::Abort, 8) {
        cut(random, &mut batch);
    }
    batch
}

/// Leaves of what is written only some.
fn cut(random: &mut Random, batch: &mut Batch) {
    batch.cut = true;
    let total: usize = batch
        .segments
        .iter()
        .map(|segment| segment.bytes.len())
        .sum();
    let mut left = 1 + random.below(total as u64) as usize;
    for segment in &mut batch.segments {
        let bytes = left.min(segment.bytes.len());
        segment.bytes.truncate(bytes);
        left -= bytes;
    }
    batch.segments.retain(|segment| !segment.bytes.is_empty());
}

fn response_bytes(load: &Load, random: &mut Random, pipelined: bool) -> u64 {
    if !load.variety.has(Feature::Sizes) {
        return 200;
    }
    if pipelined {
        return random.magnitude(32 * 1024);
    }
    match random.below(100) {
        0..=49 => 200,
        50..=89 => random.magnitude(64 * 1024),
        90..=97 => random.magnitude(1 << 20),
        _ => random.magnitude(MOST_RESPONSE_BYTES),
    }
}

fn question(load: &Load, random: &mut Random, pipelined: bool, last: bool) -> Question {
    let mut question = Question {
        bytes: response_bytes(load, random, pipelined),
        chunked: draw(load, random, Feature::Chunked, 200),
        split: draw(load, random, Feature::Split, 80),
        early: draw(load, random, Feature::Early, 20),
        slow: draw(load, random, Feature::Slow, 20),
        ..Question::default()
    };
    if draw(load, random, Feature::Delay, 50) {
        question.delay_us = random.magnitude(5000);
    }
    if draw(load, random, Feature::Status, 60) {
        question.status = [204, 304, 404, 500][random.below(4) as usize];
    }
    if last && draw(load, random, Feature::Close, 15) {
        question.close = true;
    }
    if last && draw(load, random, Feature::UntilClose, 10) {
        question.until_close = true;
        question.chunked = false;
        if question.bytes > 1 && !question.is_bodyless() && draw(load, random, Feature::Die, 300) {
            // Only a reset tells such a body's end from its breaking off.
            question.die = Some(random.below(question.bytes));
            question.reset = true;
        }
    } else if last
        && draw(load, random, Feature::Die, 10)
        && question.bytes > 1
        && !question.is_bodyless()
    {
        question.die = Some(random.below(question.bytes));
        question.reset = random.per_mille(300);
    }
    question
}

fn one(load: &Load, random: &mut Random, id: u64, batch: &mut Batch, pipelined: bool, last: bool) {
    let mut question = question(load, random, pipelined, last);
    let bodies = load.variety.has(Feature::Bodies);
    let method = match random.below(100) {
        _ if !bodies => "GET",
        0..=64 => "GET",
        65..=69 => "HEAD",
        70..=94 => "POST",
        _ => "PUT",
    };
    if method == "HEAD" {
        (question.die, question.until_close) = (None, false);
    }
    let mut exchange = Exchange {
        id,
        method,
        target: format!("{}{}", load.path, question.query()),
        question,
        body: None,
        header: header(load, random),
    };
    let close = last && draw(load, random, Feature::Close, 15);
    let mut body = Vec::new();
    let mut framing = String::new();
    let mut chunked = false;
    if method == "POST" || method == "PUT" {
        let most = if pipelined {
            8 * 1024
        } else {
            MOST_REQUEST_BYTES
        };
        let length = if random.per_mille(700) {
            random.magnitude(2048)
        } else {
            random.magnitude(most)
        };
        body = pattern::bytes(pattern::request_seed(id), length as usize);
        let mut sum = Sum::default();
        sum.add(&body);
        exchange.body = Some((length, sum.value()));
        chunked = draw(load, random, Feature::ChunkedRequest, 200);
        framing = if chunked {
            "transfer-encoding: chunked\r\n".to_owned()
        } else {
            format!("content-length: {length}\r\n")
        };
    }
    write(
        load,
        random,
        batch,
        head(load, &exchange, &framing, close),
        &body,
        chunked,
    );
    batch.exchanges.push(exchange);
}

/// Adds a request's bytes, in one piece or several.
fn write(
    load: &Load,
    random: &mut Random,
    batch: &mut Batch,
    head: Vec<u8>,
    body: &[u8],
    chunked: bool,
) {
    let writes = load.variety.has(Feature::Writes);
    let short = Duration::from_micros(random.below(500));
    if writes && random.per_mille(100) {
        let at = 1 + random.below(head.len() as u64 - 1) as usize;
        batch.push(head[..at].to_vec(), Duration::ZERO);
        batch.push(head[at..].to_vec(), short + Duration::from_micros(1));
    } else {
        batch.push(head, Duration::ZERO);
    }
    let slow = writes && random.per_mille(50);
    let least = body.len() / MOST_PIECES;
    let piece = if chunked || slow {
        1 + least + random.magnitude(32 * 1024) as usize
    } else {
        body.len()
    };
    let mut first = true;
    for content in body.chunks(piece.max(1)) {
        let bytes = if chunked {
            framing::chunk(content)
        } else {
            content.to_vec()
        };
        let apart = if first {
            writes && random.per_mille(400)
        } else {
            slow
        };
        let pause = if apart {
            short + Duration::from_micros(1)
        } else {
            Duration::ZERO
        };
        batch.push(bytes, pause);
        first = false;
    }
    if chunked {
        batch.push(framing::LAST_CHUNK.to_vec(), Duration::ZERO);
    }
}
