//! The protobuf wire format, as far as walking over a message needs it.

use crate::schema::Kind;

/// Stands for a field that the schema does not have: its content is the field's name as it was
/// written in a text form. The largest field number there is; no message of Envoy's uses it.
pub(crate) const UNKNOWN: u32 = (1 << 29) - 1;

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Raw<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// The fields of a message, in the order of the wire.
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
}

/// Walks over a message's fields; an error says what is wrong, and ends the walk.
pub(crate) fn fields(bytes: &[u8]) -> Fields<'_> {
    Fields { bytes }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Raw<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.bytes = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u32, Raw<'a>), String> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3)
            .ok()
            .filter(|number| (1..=UNKNOWN).contains(number))
            .ok_or_else(|| format!("field number {} is not valid", tag >> 3))?;
        let value = match tag & 7 {
            0 => Raw::Varint(self.varint()?),
            1 => Raw::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                Raw::Bytes(self.take(length)?)
            }
            5 => Raw::Fixed32(u32::from_le_bytes(self.array()?)),
            kind => return Err(format!("field {number} has the wire type {kind}")),
        };
        Ok((number, value))
    }

    fn varint(&mut self) -> Result<u64, String> {
        let (value, rest) = varint(self.bytes)?;
        self.bytes = rest;
        Ok(value)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let Some((taken, rest)) = self.bytes.split_at_checked(length) else {
            return Err(format!(
                "{length} more bytes expected, {} are left",
                self.bytes.len()
            ));
        };
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let Some((taken, rest)) = self.bytes.split_first_chunk() else {
            return Err(format!(
                "{N} more bytes expected, {} are left",
                self.bytes.len()
            ));
        };
        self.bytes = rest;
        Ok(*taken)
    }
}

/// The varint at the start of `bytes`, and what follows it.
pub(crate) fn varint(bytes: &[u8]) -> Result<(u64, &[u8]), String> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        if index == 9 && *byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((value, bytes.get(index + 1..).unwrap_or_default()));
        }
    }
    if bytes.len() < 10 {
        Err("cut off in the middle of a number".to_owned())
    } else {
        Err("a number has more than 64 bits".to_owned())
    }
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a field's tag.
pub(crate) fn put_tag(out: &mut Vec<u8>, number: u32, wire_type: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire_type));
}

/// Appends a length-delimited field.
pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    put_tag(out, number, 2);
    put_varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

/// Puts the length of what stands in `out` from `start` on before it.
pub(crate) fn put_length(out: &mut Vec<u8>, start: usize) {
    let length = out.len().saturating_sub(start);
    let mut prefix = Vec::with_capacity(5);
    put_varint(&mut prefix, length as u64);
    out.splice(start..start, prefix);
}

/// The wire type of a kind of field.
pub(crate) fn wire_type(kind: &Kind) -> u8 {
    match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => 1,
        Kind::String | Kind::Bytes | Kind::Message(_) => 2,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => 5,
        _ => 0,
    }
}

/// The values of a packed repeated field.
pub(crate) fn unpack<'a>(kind: &Kind, bytes: &'a [u8]) -> Result<Vec<Raw<'a>>, String> {
    let mut rest = Fields { bytes };
    let mut values = Vec::new();
    while !rest.bytes.is_empty() {
        values.push(match wire_type(kind) {
            1 => Raw::Fixed64(u64::from_le_bytes(rest.array()?)),
            5 => Raw::Fixed32(u32::from_le_bytes(rest.array()?)),
            _ => Raw::Varint(rest.varint()?),
        });
    }
    Ok(values)
}
