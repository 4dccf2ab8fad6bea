//! Addresses and ports as text, as matcher trees and hashes see them: addresses as `inet_ntop` writes them. In
//! userspace.

use core::net::IpAddr;

/// Bytes of a text, at most.
const BYTES: usize = 45;

/// A text.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    bytes: [u8; BYTES],
    length: usize,
}

impl Text {
    /// The text's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn empty() -> Self {
        Self {
            bytes: [0; BYTES],
            length: 0,
        }
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length = self.length.wrapping_add(1);
        }
    }

    /// Appends a number that is less than `base` times `first`, without leading zeros.
    fn number(&mut self, number: u64, base: u64, first: u64) {
        let mut unit = first;
        let mut begun = false;
        while unit != 0 {
            let digit = number.checked_div(unit).unwrap_or(0) % base.max(1);
            begun |= digit != 0 || unit == 1;
            if begun {
                let digit = digit as u8;
                self.push(match digit {
                    0..10 => b'0'.wrapping_add(digit),
                    _ => b'a'.wrapping_add(digit.wrapping_sub(10)),
                });
            }
            unit = unit.checked_div(base).unwrap_or(0);
        }
    }

    fn v4(&mut self, octets: [u8; 4]) {
        for (index, octet) in octets.into_iter().enumerate() {
            if index != 0 {
                self.push(b'.');
            }
            self.number(u64::from(octet), 10, 100);
        }
    }
}

/// A port.
pub fn of_port(port: u64) -> Text {
    let mut text = Text::empty();
    text.number(port, 10, 10_000);
    text
}

/// An address. IPv6: the first of the longest stretches of several zeros is left out; where the first
/// six parts are zero, or five and then ffff, and the rest is not all zero, the rest is as in IPv4.
pub fn of_address(address: IpAddr) -> Text {
    let mut text = Text::empty();
    let address = match address {
        IpAddr::V4(address) => {
            text.v4(address.octets());
            return text;
        }
        IpAddr::V6(address) => address,
    };
    let parts = address.segments();
    let (mut from, mut length) = (0, 0);
    let mut run = 0;
    for (index, part) in parts.into_iter().enumerate() {
        run = if part == 0 { run + 1 } else { 0 };
        if run > length {
            (from, length) = (index + 1 - run, run);
        }
    }
    if length < 2 {
        (from, length) = (parts.len(), 0);
    }
    let mapped = from == 0 && length == 5 && parts.get(5) == Some(&0xffff);
    let as_v4 = mapped || (from == 0 && length == 6);
    for (index, part) in parts.into_iter().enumerate() {
        if index == from {
            text.push(b':');
        }
        if (from..from + length).contains(&index) {
            continue;
        }
        if index != 0 {
            text.push(b':');
        }
        if index == 6 && as_v4 {
            let [.., a, b, c, d] = address.octets();
            text.v4([a, b, c, d]);
            return text;
        }
        text.number(u64::from(part), 16, 0x1000);
    }
    if from + length == parts.len() && length != 0 {
        text.push(b':');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_as_inet_ntop_writes_them() {
        for (given, expected) in [
            ("0.0.0.0", "0.0.0.0"),
            ("10.200.0.37", "10.200.0.37"),
            ("255.255.255.255", "255.255.255.255"),
            ("::", "::"),
            ("::1", "::1"),
            ("1::", "1::"),
            ("FD00:0:0::A0b", "fd00::a0b"),
            ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"),
            ("1:0:0:2:0:0:0:3", "1:0:0:2::3"),
            ("1:0:0:2:3:0:0:4", "1::2:3:0:0:4"),
            ("::2:3:4:5:6:7", "::2:3:4:5:6:7"),
            ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
            ("::1.2.3.4", "::1.2.3.4"),
            ("::fffe:1.2.3.4", "::fffe:102:304"),
            ("::1:0:0", "::1:0:0"),
            (
                "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            ),
        ] {
            let text = of_address(given.parse().expect("an address"));
            assert_eq!(
                core::str::from_utf8(text.bytes()),
                Ok(expected),
                "of {given}"
            );
        }
    }

    #[test]
    fn ports_have_no_leading_zeros() {
        for (port, expected) in [
            (0, &b"0"[..]),
            (80, b"80"),
            (10_000, b"10000"),
            (65_535, b"65535"),
        ] {
            assert_eq!(of_port(port).bytes(), expected);
        }
    }
}
