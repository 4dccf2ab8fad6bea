//! The packets of a capture file.

use pcap_parser::{Block, PcapBlockOwned, PcapNGSlice};

/// A packet.
pub(super) struct Packet<'a> {
    /// From 1, as the usual tools count.
    pub(super) number: usize,
    /// As tcpdump numbers them.
    pub(super) link_type: i32,
    /// Unix time.
    pub(super) time_us: i64,
    /// From the link's header on.
    pub(super) data: &'a [u8],
    /// There was more of it.
    pub(super) is_cut: bool,
}

/// The file breaks off.
pub(super) struct BrokenOff {
    /// The packet that would have been next.
    pub(super) number: usize,
    pub(super) text: String,
}

const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Magic numbers of pcap: microseconds, nanoseconds, each in both byte orders, and the one of
/// patched tcpdumps.
const PCAP: [[u8; 4]; 5] = [
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
    [0x4d, 0x3c, 0xb2, 0xa1],
    [0x34, 0xcd, 0xb2, 0xa1],
];

/// Whether the bytes start as a capture does.
pub(super) fn is_capture(bytes: &[u8]) -> bool {
    bytes
        .get(..4)
        .is_some_and(|magic| magic == PCAPNG || PCAP.iter().any(|known| magic == known))
}

/// Gives each packet; returns where the file breaks off, if it does.
///
/// # Errors
/// It is no capture.
pub(super) fn each(
    bytes: &[u8],
    take: &mut dyn FnMut(&Packet<'_>),
) -> Result<Option<BrokenOff>, String> {
    if bytes.starts_with(&PCAPNG) {
        return pcapng(bytes, take);
    }
    if !is_capture(bytes) {
        return Err("expected a pcap or pcapng file".to_owned());
    }
    pcap(bytes, take)
}

fn pcap(bytes: &[u8], take: &mut dyn FnMut(&Packet<'_>)) -> Result<Option<BrokenOff>, String> {
    // The library reads frames in the byte order that the header has.
    let (rest, header) = pcap_parser::parse_pcap_header(bytes)
        .map_err(|_| "its pcap header cannot be read".to_owned())?;
    let parse = if header.is_modified_format() {
        pcap_parser::parse_pcap_frame_modified
    } else if header.is_bigendian() {
        pcap_parser::parse_pcap_frame_be
    } else {
        pcap_parser::parse_pcap_frame
    };
    let mut rest = rest;
    let mut number = 0;
    while !rest.is_empty() {
        number += 1;
        let Ok((after, frame)) = parse(rest) else {
            return Ok(Some(broken_off(number)));
        };
        rest = after;
        let part = if header.is_nanosecond_precision() {
            i64::from(frame.ts_usec) / 1000
        } else {
            i64::from(frame.ts_usec)
        };
        take(&Packet {
            number,
            link_type: header.network.0,
            time_us: i64::from(frame.ts_sec) * 1_000_000 + part,
            data: frame.data,
            is_cut: frame.caplen < frame.origlen,
        });
    }
    Ok(None)
}

fn broken_off(number: usize) -> BrokenOff {
    BrokenOff {
        number,
        text: "the file breaks off, or is damaged from here on".to_owned(),
    }
}

/// What a packet needs of its interface.
struct Interface {
    link_type: i32,
    /// Units in a second.
    resolution: u64,
    /// Seconds to add.
    offset: i64,
    snaplen: u32,
}

fn pcapng(bytes: &[u8], take: &mut dyn FnMut(&Packet<'_>)) -> Result<Option<BrokenOff>, String> {
    let blocks = PcapNGSlice::from_slice(bytes)
        .map_err(|_| "its pcapng header cannot be read".to_owned())?;
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut number = 0;
    let mut time_us = 0;
    for block in blocks {
        let Ok(block) = block else {
            return Ok(Some(broken_off(number + 1)));
        };
        let PcapBlockOwned::NG(block) = block else {
            continue;
        };
        match block {
            Block::SectionHeader(_) => interfaces.clear(),
            Block::InterfaceDescription(interface) => interfaces.push(Interface {
                link_type: interface.linktype.0,
                resolution: interface.ts_resolution().unwrap_or(1_000_000).max(1),
                offset: interface.ts_offset(),
                snaplen: interface.snaplen,
            }),
            Block::EnhancedPacket(packet) => {
                number += 1;
                let interface = usize::try_from(packet.if_id)
                    .ok()
                    .and_then(|index| interfaces.get(index));
                let Some(interface) = interface else {
                    return Ok(Some(BrokenOff {
                        number,
                        text: format!("there is no interface {}", packet.if_id),
                    }));
                };
                let ticks = (u128::from(packet.ts_high) << 32) | u128::from(packet.ts_low);
                let elapsed = ticks * 1_000_000 / u128::from(interface.resolution);
                time_us = i64::try_from(elapsed)
                    .unwrap_or(i64::MAX)
                    .saturating_add(interface.offset.saturating_mul(1_000_000));
                let length = usize::try_from(packet.caplen).unwrap_or(usize::MAX);
                take(&Packet {
                    number,
                    link_type: interface.link_type,
                    time_us,
                    data: packet.data.get(..length).unwrap_or(packet.data),
                    is_cut: packet.caplen < packet.origlen,
                });
            }
            Block::SimplePacket(packet) => {
                number += 1;
                let Some(interface) = interfaces.first() else {
                    return Ok(Some(BrokenOff {
                        number,
                        text: "there is no interface 0".to_owned(),
                    }));
                };
                let mut length = packet.origlen;
                if interface.snaplen > 0 {
                    length = length.min(interface.snaplen);
                }
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                // It has no time: that of the packet before it.
                take(&Packet {
                    number,
                    link_type: interface.link_type,
                    time_us,
                    data: packet.data.get(..length).unwrap_or(packet.data),
                    is_cut: interface.snaplen > 0 && packet.origlen > interface.snaplen,
                });
            }
            _ => {}
        }
    }
    Ok(None)
}
