//! BTF, as far as sizes and places of structs are concerned: of the object, and of the kernel.

/// Kind of a type: array.
pub const KIND_ARRAY: u32 = 3;
/// Kind of a type: struct.
pub const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;

/// Reads a little-endian word.
pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// Bytes after a type's first twelve.
fn tail(kind: u32, members: usize) -> Option<usize> {
    Some(match kind {
        1 | 14 | 17 => 4,
        2 | 7..=12 | 16 | 18 => 0,
        3 => 12,
        4 | 5 | 15 | 19 => members * 12,
        6 | 13 => members * 8,
        _ => return None,
    })
}

/// Where the types are.
pub struct Btf<'a> {
    bytes: &'a [u8],
    strings: usize,
    types: Vec<usize>,
}

impl<'a> Btf<'a> {
    /// Finds the types. `None` where this is not BTF as known here.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = u32_at(bytes, 4)? as usize;
        let start = header.checked_add(u32_at(bytes, 8)? as usize)?;
        let end = start.checked_add(u32_at(bytes, 12)? as usize)?;
        let strings = header.checked_add(u32_at(bytes, 16)? as usize)?;
        let mut types = vec![0];
        let mut at = start;
        while at < end {
            let info = u32_at(bytes, at + 4)?;
            types.push(at);
            at += 12 + tail(info >> 24 & 0x1f, (info & 0xffff) as usize)?;
        }
        Some(Self {
            bytes,
            strings,
            types,
        })
    }

    /// Offset of the type with this id.
    pub fn at(&self, id: u32) -> Option<usize> {
        self.types.get(id as usize).copied()
    }

    /// A type's kind.
    pub fn kind(&self, at: usize) -> Option<u32> {
        Some(u32_at(self.bytes, at + 4)? >> 24 & 0x1f)
    }

    fn has_name(&self, at: usize, name: &str) -> Option<bool> {
        let start = self.strings.checked_add(u32_at(self.bytes, at)? as usize)?;
        let text = self.bytes.get(start..)?;
        Some(text.starts_with(name.as_bytes()) && text.get(name.len()) == Some(&0))
    }

    /// Offset of the struct of this name and size; of any size where none is given.
    pub fn structure(&self, name: &str, size: Option<u32>) -> Option<usize> {
        self.types.iter().skip(1).copied().find(|&at| {
            self.kind(at) == Some(KIND_STRUCT)
                && self.has_name(at, name) == Some(true)
                && size.is_none_or(|size| u32_at(self.bytes, at + 8) == Some(size))
        })
    }

    /// Bytes from the start of a struct to a member of it, or of a struct or union without a name
    /// in it; and the member's type.
    fn member(&self, structure: usize, name: &str) -> Option<(u32, u32)> {
        let info = u32_at(self.bytes, structure + 4)?;
        let bitfields = info >> 31 == 1;
        for index in 0..(info & 0xffff) as usize {
            let at = structure + 12 + index * 12;
            let (kind, place) = (u32_at(self.bytes, at + 4)?, u32_at(self.bytes, at + 8)?);
            let bytes = if bitfields { place & 0xff_ffff } else { place } / 8;
            if self.has_name(at, name)? {
                return Some((bytes, kind));
            }
            let inner = self.at(kind)?;
            if self.has_name(at, "")?
                && matches!(self.kind(inner)?, KIND_STRUCT | KIND_UNION)
                && let Some((more, kind)) = self.member(inner, name)
            {
                return Some((bytes + more, kind));
            }
        }
        None
    }

    /// The value of a name in an enum.
    pub fn enumerator(&self, of: &str, name: &str) -> Option<u32> {
        let at =
            self.types.iter().skip(1).copied().find(|&at| {
                self.kind(at) == Some(KIND_ENUM) && self.has_name(at, of) == Some(true)
            })?;
        let members = u32_at(self.bytes, at + 4)? & 0xffff;
        let mut members = (0..members as usize).map(|index| at + 12 + index * 8);
        let member = members.find(|&member| self.has_name(member, name) == Some(true))?;
        u32_at(self.bytes, member + 4)
    }

    /// Bytes from the start of a struct to the member at the end of a path.
    pub fn offset(&self, structure: &str, path: &[&str]) -> Option<u32> {
        let mut at = self.structure(structure, None)?;
        let mut offset = 0;
        for name in path {
            let (bytes, kind) = self.member(at, name)?;
            offset += bytes;
            at = self.at(kind)?;
        }
        Some(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_behind_names_and_without() {
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").expect("the kernel has BTF");
        let btf = Btf::parse(&bytes).expect("it is BTF");
        // `struct list_head { next, prev }`; `skc_daddr` stands in a union inside a struct.
        assert_eq!(btf.offset("list_head", &["prev"]), Some(8));
        assert_eq!(btf.offset("sock", &["__sk_common", "skc_daddr"]), Some(0));
        assert_eq!(btf.offset("sock", &["no_such_member"]), None);
        assert_eq!(btf.offset("no_such_struct", &["prev"]), None);
        // In no kernel's interface, but these two have never moved.
        assert_eq!(btf.enumerator("sock_flags", "SOCK_DONE"), Some(1));
        assert_eq!(btf.enumerator("sock_flags", "NO_SUCH_FLAG"), None);
    }

    #[test]
    fn what_is_no_btf_is_refused() {
        assert!(Btf::parse(&[]).is_none());
        let mut bytes = [0xff_u8; 64];
        assert!(Btf::parse(&bytes).is_none());
        bytes[8..24].copy_from_slice(&[0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes[4..8].copy_from_slice(&24_u32.to_le_bytes());
        assert!(Btf::parse(&bytes).is_none());
    }
}
