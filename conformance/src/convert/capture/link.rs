//! From a packet to its segment of TCP.

use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TransportSlice};

/// A segment of TCP.
pub(super) struct Segment<'a> {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) sequence: u32,
    pub(super) syn: bool,
    pub(super) ack: bool,
    pub(super) data: &'a [u8],
}

/// Why a packet has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It holds something else.
    Other,
    /// It is a fragment of an IP packet.
    Fragment,
    /// The link type is not known here.
    LinkType,
    /// Its headers cannot be read.
    Malformed,
}

// The numbers of https://www.tcpdump.org/linktypes.html.
const NULL: i32 = 0;
const ETHERNET: i32 = 1;
const RAW: [i32; 5] = [12, 14, 101, 228, 229];
const LOOP: i32 = 108;
const LINUX_SLL: i32 = 113;
const LINUX_SLL2: i32 = 276;

/// The segment in a packet.
///
/// # Errors
/// Why there is none.
pub(super) fn segment(link_type: i32, data: &[u8]) -> Result<Segment<'_>, Unusable> {
    let packet = match link_type {
        ETHERNET => LaxSlicedPacket::from_ethernet(data).map_err(|_| Unusable::Malformed)?,
        // The last two bytes of a cooked header (version 1), the first two of version 2.
        LINUX_SLL => cooked(data, 14, 16)?,
        LINUX_SLL2 => cooked(data, 0, 20)?,
        NULL | LOOP => ip(data.get(4..).ok_or(Unusable::Malformed)?)?,
        raw if RAW.contains(&raw) => ip(data)?,
        _ => return Err(Unusable::LinkType),
    };
    let (source, destination) = match &packet.net {
        Some(LaxNetSlice::Ipv4(ipv4)) => {
            if ipv4.payload().fragmented {
                return Err(Unusable::Fragment);
            }
            let header = ipv4.header();
            (
                IpAddr::V4(header.source_addr()),
                IpAddr::V4(header.destination_addr()),
            )
        }
        Some(LaxNetSlice::Ipv6(ipv6)) => {
            if ipv6.payload().fragmented {
                return Err(Unusable::Fragment);
            }
            let header = ipv6.header();
            (
                IpAddr::V6(header.source_addr()),
                IpAddr::V6(header.destination_addr()),
            )
        }
        _ => return Err(Unusable::Other),
    };
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
        let is_damaged = packet.stop_err.is_some();
        return Err(if is_damaged {
            Unusable::Malformed
        } else {
            Unusable::Other
        });
    };
    Ok(Segment {
        source: SocketAddr::new(source, tcp.source_port()),
        destination: SocketAddr::new(destination, tcp.destination_port()),
        sequence: tcp.sequence_number(),
        syn: tcp.syn(),
        ack: tcp.ack(),
        data: tcp.payload(),
    })
}

fn ip(data: &[u8]) -> Result<LaxSlicedPacket<'_>, Unusable> {
    LaxSlicedPacket::from_ip(data).map_err(|_| Unusable::Malformed)
}

fn cooked(data: &[u8], at: usize, length: usize) -> Result<LaxSlicedPacket<'_>, Unusable> {
    let protocol: [u8; 2] = data
        .get(at..at + 2)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(Unusable::Malformed)?;
    let rest = data.get(length..).ok_or(Unusable::Malformed)?;
    let ether_type = EtherType(u16::from_be_bytes(protocol));
    Ok(LaxSlicedPacket::from_ether_type(ether_type, rest))
}
