//! Packet captures: pcap and pcapng with HTTP/1.1 in the clear.

mod http;
mod link;
mod packets;
mod tcp;

use std::collections::HashMap;
use std::net::SocketAddr;

use self::link::{Segment, Unusable};
use self::tcp::Stream;
use super::reading::Reading;

/// Whether the bytes start as a capture does.
pub fn is_capture(bytes: &[u8]) -> bool {
    packets::is_capture(bytes)
}

/// Reads a capture.
///
/// # Errors
/// It is none.
pub fn read(bytes: &[u8]) -> Result<Reading, String> {
    let mut reading = Reading::default();
    let mut connections = Connections::default();
    let cut_off = packets::each(bytes, &mut |packet| {
        match link::segment(packet.link_type, packet.data) {
            Ok(segment) => connections.take(&segment, packet.number, packet.time_us),
            Err(unusable) => reading.notes.count(match unusable {
                Unusable::Other => "packets hold no TCP, and are left out",
                Unusable::Fragment => "packets are fragments of IP, and are left out",
                Unusable::LinkType => "packets are of a link type that is not read",
                Unusable::Malformed => "packets have headers that cannot be read",
            }),
        }
        if packet.is_cut {
            reading
                .notes
                .count("packets are cut short (by tcpdump's snaplen)");
        }
    })?;
    if let Some(problem) = cut_off {
        reading.bad(format!(" packet {}", problem.number), problem.text);
    }
    for (index, connection) in connections.all.iter().enumerate() {
        http::requests(connection, index + 1, &mut reading);
    }
    Ok(reading)
}

/// One connection of TCP: the bytes both ways.
#[derive(Debug)]
struct Connection {
    /// Who sent the first packet.
    one: SocketAddr,
    other: SocketAddr,
    /// From `one` to `other`.
    there: Stream,
    back: Stream,
}

/// The connections, in the order in which they came up.
#[derive(Debug, Default)]
struct Connections {
    all: Vec<Connection>,
    /// The last connection between two ends, the smaller first.
    open: HashMap<(SocketAddr, SocketAddr), usize>,
}

impl Connections {
    fn take(&mut self, segment: &Segment<'_>, packet: usize, time_us: i64) {
        let (from, to) = (segment.source, segment.destination);
        let ends = if from < to { (from, to) } else { (to, from) };
        let known = self.open.get(&ends).copied();
        let is_new = |connection: &Connection| {
            // The ends of a connection that has ended may be used again.
            segment.syn && !segment.ack && !connection.there.is_start(segment.sequence)
        };
        let index = match known {
            Some(index) if !self.all.get(index).is_some_and(is_new) => index,
            _ => {
                self.all.push(Connection {
                    one: from,
                    other: to,
                    there: Stream::default(),
                    back: Stream::default(),
                });
                self.open.insert(ends, self.all.len() - 1);
                self.all.len() - 1
            }
        };
        let Some(connection) = self.all.get_mut(index) else {
            return;
        };
        let stream = if connection.one == from {
            &mut connection.there
        } else {
            &mut connection.back
        };
        stream.take(segment, packet, time_us);
    }
}
