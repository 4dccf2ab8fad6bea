//! One direction of a connection: its bytes in order, whatever order the segments came in, how
//! often, and with what missing.

use std::collections::BTreeMap;

use super::link::Segment;

/// Places count from here, so that segments from before the first one seen have a place too.
const START: u64 = 1 << 32;

/// The bytes of one direction.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The sequence number of the first byte, and whether a SYN said so.
    start: Option<(u32, bool)>,
    /// Where the last segment stood: sequence numbers wrap round.
    last: u64,
    pieces: BTreeMap<u64, Piece>,
    /// Segments of which all bytes had come before.
    pub(super) repeated: usize,
    /// Segments with other bytes than came before for the same place.
    pub(super) contradicting: usize,
}

/// Bytes that came at one time.
#[derive(Debug)]
struct Piece {
    data: Vec<u8>,
    packet: usize,
    time_us: i64,
}

/// Bytes without a gap.
#[derive(Debug)]
pub(super) struct Run {
    /// The place of the first byte.
    pub(super) start: u64,
    pub(super) data: Vec<u8>,
    /// Where in `data` each piece ends, its packet and its time.
    pieces: Vec<(usize, usize, i64)>,
}

impl Stream {
    /// Whether a SYN with this sequence number is the one that started it, come again.
    pub(super) fn is_start(&self, sequence: u32) -> bool {
        match self.start {
            None => true,
            Some((start, by_syn)) => by_syn && start == sequence.wrapping_add(1),
        }
    }

    /// Takes a segment. Of bytes that come again, the first count.
    pub(super) fn take(&mut self, segment: &Segment<'_>, packet: usize, time_us: i64) {
        if segment.syn {
            let first = segment.sequence.wrapping_add(1);
            if self.start.is_none() {
                self.start = Some((first, true));
                self.last = START;
            }
            return;
        }
        if segment.data.is_empty() {
            return;
        }
        let (start, _) = *self.start.get_or_insert((segment.sequence, false));
        if self.last == 0 {
            self.last = START;
        }
        // The place next to the last one that has this sequence number.
        let expected = start.wrapping_add((self.last - START) as u32);
        let distance = i64::from(segment.sequence.wrapping_sub(expected).cast_signed());
        let Some(place) = self.last.checked_add_signed(distance) else {
            return;
        };
        self.last = self.last.max(place);
        self.insert(place, segment.data, packet, time_us);
    }

    fn insert(&mut self, place: u64, data: &[u8], packet: usize, time_us: i64) {
        let end = place + length(data);
        let mut at = place;
        let mut is_new = false;
        let mut contradicts = false;
        while at < end {
            let before = self
                .pieces
                .range(..=at)
                .next_back()
                .map(|(start, piece)| (*start, start + length(&piece.data)))
                .filter(|(_, piece_end)| *piece_end > at);
            if let Some((start, piece_end)) = before {
                let until = end.min(piece_end);
                let held = self.pieces.get(&start).map(|piece| &piece.data);
                let held = held.and_then(|held| part(held, at - start, until - start));
                contradicts |= held != part(data, at - place, until - place);
                at = until;
                continue;
            }
            let next = self.pieces.range(at..).next().map(|(start, _)| *start);
            let until = next.map_or(end, |next| next.min(end));
            if let Some(part) = part(data, at - place, until - place) {
                let piece = Piece {
                    data: part.to_vec(),
                    packet,
                    time_us,
                };
                self.pieces.insert(at, piece);
                is_new = true;
            }
            at = until;
        }
        self.repeated += usize::from(!is_new);
        self.contradicting += usize::from(contradicts);
    }

    /// All bytes, in stretches without gaps.
    pub(super) fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (place, piece) in &self.pieces {
            let follows = runs
                .last_mut()
                .filter(|run| run.start + length(&run.data) == *place);
            let run = match follows {
                Some(run) => run,
                None => {
                    runs.push(Run {
                        start: *place,
                        data: Vec::new(),
                        pieces: Vec::new(),
                    });
                    let Some(run) = runs.last_mut() else {
                        continue;
                    };
                    run
                }
            };
            run.data.extend_from_slice(&piece.data);
            run.pieces
                .push((run.data.len(), piece.packet, piece.time_us));
        }
        runs
    }

    /// Whether its first byte is the first that was sent.
    pub(super) fn begins(&self) -> bool {
        matches!(self.start, Some((_, true)))
            && self
                .pieces
                .keys()
                .next()
                .is_none_or(|first| *first == START)
    }
}

impl Run {
    /// The packet and the time of a byte, by its place in `data`.
    pub(super) fn came(&self, at: usize) -> (usize, i64) {
        let found = self.pieces.partition_point(|(end, _, _)| *end <= at);
        self.pieces
            .get(found)
            .or(self.pieces.last())
            .map_or((0, 0), |(_, packet, time_us)| (*packet, *time_us))
    }
}

fn length(data: &[u8]) -> u64 {
    data.len() as u64
}

fn part(data: &[u8], from: u64, to: u64) -> Option<&[u8]> {
    data.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment(sequence: u32, data: &[u8]) -> Segment<'_> {
        let end = "127.0.0.1:1".parse().expect("an address");
        Segment {
            source: end,
            destination: end,
            sequence,
            syn: false,
            ack: true,
            data,
        }
    }

    fn started(sequence: u32) -> Stream {
        let mut stream = Stream::default();
        let syn = Segment {
            syn: true,
            ..segment(sequence, b"")
        };
        stream.take(&syn, 1, 0);
        stream
    }

    fn text(stream: &Stream) -> Vec<String> {
        let runs = stream.runs();
        runs.iter()
            .map(|run| String::from_utf8_lossy(&run.data).into_owned())
            .collect()
    }

    #[test]
    fn bytes_that_come_again_count_once() {
        let mut stream = started(99);
        stream.take(&segment(100, b"abcd"), 2, 10);
        stream.take(&segment(100, b"abcd"), 3, 11);
        stream.take(&segment(102, b"cdef"), 4, 12);
        stream.take(&segment(104, b"XYgh"), 5, 13);
        assert_eq!(text(&stream), ["abcdefgh"]);
        assert_eq!((stream.repeated, stream.contradicting), (1, 1));
        assert_eq!(stream.runs()[0].came(5), (4, 12));
        assert!(stream.begins());
    }

    #[test]
    fn a_gap_parts_the_bytes() {
        let mut stream = started(u32::MAX - 2);
        stream.take(&segment(u32::MAX - 1, b"ab"), 2, 0);
        stream.take(&segment(5, b"z"), 3, 0);
        assert_eq!(text(&stream), ["ab", "z"]);
    }

    proptest! {
        #[test]
        fn order_repeats_and_overlaps_change_nothing(
            data in prop::collection::vec(any::<u8>(), 1..400),
            start in any::<u32>(),
            cuts in prop::collection::vec((any::<prop::sample::Index>(), 1_usize..80), 0..40),
        ) {
            let mut stream = started(start.wrapping_sub(1));
            let place = |at: usize| start.wrapping_add(u32::try_from(at).expect("it is short"));
            for (from, length) in &cuts {
                let from = from.index(data.len());
                let to = data.len().min(from + length);
                stream.take(&segment(place(from), &data[from..to]), 1, 0);
            }
            for (index, chunk) in data.chunks(50).enumerate().rev() {
                stream.take(&segment(place(index * 50), chunk), 1, 0);
            }
            let runs = stream.runs();
            prop_assert_eq!(runs.len(), 1);
            prop_assert_eq!(&runs[0].data, &data);
            prop_assert_eq!(stream.contradicting, 0);
        }
    }
}
