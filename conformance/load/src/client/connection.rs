//! A connection, made again as often as it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::Run;
use crate::client::fault::{Fault, Kind, shown};
use crate::client::plan::{self, Batch};
use crate::client::report::Tally;
use crate::client::response::Responses;
use crate::pattern::{Random, mix};

/// After a connection that was refused.
const REST: Duration = Duration::from_millis(5);
/// Requests of a connection that then ends, at most, where all is drawn.
const MOST_REQUESTS: u64 = 500;

/// What becomes of a connection after a batch.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    GoesOn,
    Ends,
    Drop,
}

/// One connection after another until the run is over.
pub async fn keep(run: Arc<Run>, number: u64) -> Tally {
    let mut tally = Tally::default();
    let mut random = Random::new(mix(run.load.seed) ^ number);
    let mut waiting = run.ticket();
    while let Some(ticket) = waiting {
        let connecting = TcpStream::connect(run.load.address);
        match tokio::time::timeout(run.load.timeout, connecting).await {
            Ok(Ok(stream)) => {
                tally.connections += 1;
                waiting = serve(&run, &mut tally, &mut random, stream, ticket).await;
            }
            Ok(Err(error)) => {
                tally.fault(run.id(ticket), &Fault::new(Kind::Refused, error));
                tokio::time::sleep(REST).await;
                waiting = run.ticket();
            }
            Err(_) => {
                tally.fault(run.id(ticket), &Fault::new(Kind::Stalled, "connecting"));
                waiting = run.ticket();
            }
        }
    }
    tally
}

/// Uses a connection until it ends; the ticket for the next.
async fn serve(
    run: &Run,
    tally: &mut Tally,
    random: &mut Random,
    mut stream: TcpStream,
    mut ticket: u64,
) -> Option<u64> {
    let _ = stream.set_nodelay(true);
    let mut responses = Responses::default();
    let mut left = if run.load.mix {
        1 + random.magnitude(MOST_REQUESTS)
    } else {
        u64::MAX
    };
    loop {
        let mut tickets = vec![ticket];
        if run.load.mix {
            for _ in 1..plan::batch_size(&run.load, random) {
                tickets.extend(run.ticket());
            }
        }
        let ids: Vec<u64> = tickets.iter().map(|&ticket| run.id(ticket)).collect();
        let batch = match ids.as_slice() {
            _ if run.load.mix => plan::mixed(&run.load, random, &ids),
            [id, ..] => plan::plain(&run.load, random, *id),
            [] => return None,
        };
        let next = exchange(run, tally, &mut stream, &mut responses, &batch).await;
        left = left.saturating_sub(ids.len() as u64);
        let following = run.ticket();
        match next {
            Next::Drop => {
                if batch.reset {
                    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                }
                return following;
            }
            Next::Ends => {
                ends(run, tally, &mut stream, &responses, &batch).await;
                return following;
            }
            Next::GoesOn => {}
        }
        match following {
            Some(following) if left != 0 => ticket = following,
            _ => {
                if random.per_mille(500) {
                    let _ = stream.shutdown().await;
                    ends(run, tally, &mut stream, &responses, &batch).await;
                }
                return following;
            }
        }
        // The end of an idle connection is nobody's fault, but bytes are.
        let mut byte = [0; 64];
        match stream.try_read(&mut byte) {
            Ok(0) => {
                tally.idle_ends += 1;
                return Some(ticket);
            }
            Ok(count) => {
                let detail = format!("between requests: \"{}\"", shown(&byte[..count]));
                tally.fault(
                    ids.last().copied().unwrap_or(0),
                    &Fault::new(Kind::Extra, detail),
                );
                return Some(ticket);
            }
            Err(_) => {}
        }
    }
}

/// Sends a batch and checks the responses.
async fn exchange(
    run: &Run,
    tally: &mut Tally,
    stream: &mut TcpStream,
    responses: &mut Responses,
    batch: &Batch,
) -> Next {
    let (mut from, mut to) = stream.split();
    let writing = async {
        for segment in &batch.segments {
            if !segment.pause.is_zero() {
                tokio::time::sleep(segment.pause).await;
            }
            to.write_all(&segment.bytes).await?;
        }
        Ok::<(), std::io::Error>(())
    };
    if batch.cut {
        let _ = tokio::time::timeout(run.load.timeout, writing).await;
        tally.cut += batch.exchanges.len() as u64;
        return Next::Drop;
    }
    let started = Instant::now();
    let reading = async {
        let mut next = Next::GoesOn;
        for (index, exchange) in batch.exchanges.iter().enumerate() {
            let waiting = responses.next(&mut from, exchange, &run.load.expected, &batch.pace);
            let answer = match tokio::time::timeout(run.load.timeout, waiting).await {
                Ok(answer) => answer,
                Err(_) => Err(Fault::new(
                    Kind::Stalled,
                    format!("after {:?}", run.load.timeout),
                )),
            };
            match answer {
                Ok(answer) => {
                    tally.answer(exchange, &answer, started.elapsed());
                    if !answer.goes_on {
                        next = Next::Ends;
                    }
                }
                Err(fault) => {
                    let rest = batch.exchanges.len() - index;
                    if batch.is_cut() && fault.kind.is_loss() {
                        tally.cut += rest as u64;
                    } else if exchange.question.die.is_some() && fault.kind.is_loss() {
                        tally.broken += 1;
                    } else {
                        let words = format!(
                            "{} {} ({} of {} in {} writes{}): {}",
                            exchange.method,
                            exchange.target,
                            index + 1,
                            batch.exchanges.len(),
                            batch.segments.len(),
                            exchange
                                .body
                                .map(|(length, _)| format!(", {length} bytes sent"))
                                .unwrap_or_default(),
                            fault.detail
                        );
                        tally.fault(exchange.id, &Fault::new(fault.kind, words));
                        tally.unanswered += rest as u64 - 1;
                    }
                    return Next::Drop;
                }
            }
        }
        next
    };
    tokio::pin!(writing, reading);
    let mut written = false;
    loop {
        tokio::select! {
            biased;
            // A failure here shows in what is read.
            _ = &mut writing, if !written => written = true,
            next = &mut reading => {
                // A response before the request was whole: the rest cannot be taken back.
                return if written { next } else { Next::Drop };
            }
        }
    }
}

/// The connection has to end now, without a further byte.
async fn ends(
    run: &Run,
    tally: &mut Tally,
    stream: &mut TcpStream,
    responses: &Responses,
    batch: &Batch,
) {
    let id = batch.exchanges.last().map_or(0, |exchange| exchange.id);
    let mut found = responses.left().to_vec();
    if found.is_empty() {
        let mut bytes = [0; 64];
        match tokio::time::timeout(run.load.timeout, stream.read(&mut bytes)).await {
            Ok(Ok(count)) => found.extend_from_slice(&bytes[..count]),
            // It ended all the same.
            Ok(Err(_)) => {}
            Err(_) => {
                let detail = "the connection does not end, though it was to";
                tally.fault(id, &Fault::new(Kind::Stalled, detail));
            }
        }
    }
    if !found.is_empty() {
        let detail = format!("after the last response: \"{}\"", shown(&found));
        tally.fault(id, &Fault::new(Kind::Extra, detail));
    }
}
