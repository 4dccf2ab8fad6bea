//! Sets the policy's capacity in the object file, before anyone parses it.
//!
//! The verifier must know two things of a policy: how large the memory is that functions take a
//! pointer to, which it reads from the type `Policy` in the BTF, and how offsets are bounded, which
//! it sees in the instructions' operands. Both are numbers, changed in place; the map's value size
//! follows from the type.

use std::ops::Range;

use object::read::elf::{FileHeader, SectionHeader};
use object::{Endianness, elf};

use crate::btf::{Btf, KIND_ARRAY, u32_at};
use crate::shape::{POLICY_BYTES, POLICY_MASKS};

/// `dst &= imm`, 64 bits wide.
const AND_IMMEDIATE: u8 = 0x57;
/// `dst = imm64`, which takes two instructions' room.
const LOAD_IMMEDIATE: u8 = 0x18;

/// Where the parts to change are.
struct Parts {
    btf: Range<usize>,
    code: Vec<Range<usize>>,
}

fn parts(bytes: &[u8]) -> Result<Parts, String> {
    let error = |error: object::Error| format!("is not an ELF object: {error}");
    let header = elf::FileHeader64::<Endianness>::parse(bytes).map_err(error)?;
    let endian = header.endian().map_err(error)?;
    if endian != Endianness::Little || header.e_machine(endian) != elf::EM_BPF {
        return Err("is not a little-endian BPF object".to_owned());
    }
    let sections = header.sections(endian, bytes).map_err(error)?;
    let mut btf = None;
    let mut code = Vec::new();
    for section in sections.iter() {
        let Some((offset, size)) = section.file_range(endian) else {
            continue;
        };
        let range = offset as usize..offset.saturating_add(size) as usize;
        if sections.section_name(endian, section).map_err(error)? == b".BTF" {
            btf = Some(range);
        } else if section.sh_flags(endian) & u64::from(elf::SHF_EXECINSTR) != 0 {
            code.push(range);
        }
    }
    Ok(Parts {
        btf: btf.ok_or("has no .BTF section")?,
        code,
    })
}

fn set_u32(bytes: &mut [u8], offset: usize, value: u32) -> Option<()> {
    *bytes.get_mut(offset..)?.first_chunk_mut()? = value.to_le_bytes();
    Some(())
}

/// Gives `struct Policy` and the array in it another size. `None` where the BTF is not as
/// expected.
fn set_policy_type(btf: &mut [u8], size: u32) -> Option<()> {
    let types = Btf::parse(btf)?;
    let policy = types.structure("Policy", Some(POLICY_BYTES as u32))?;
    let array = types.at(u32_at(btf, policy + 16)?)?;
    if types.kind(array)? != KIND_ARRAY || u32_at(btf, array + 20)? != POLICY_BYTES as u32 {
        return None;
    }
    set_u32(btf, policy + 8, size)?;
    set_u32(btf, array + 20, size)
}

/// Gives the masks of policy offsets another size. How many there were.
fn set_masks(code: &mut [u8], size: u64) -> usize {
    let masks = [size - 8, size - 2, size - 1];
    let mut changed = 0;
    let mut wide = false;
    for instruction in code.chunks_exact_mut(8) {
        let operation = instruction.first().copied().unwrap_or(0);
        if wide || operation != AND_IMMEDIATE {
            wide = !wide && operation == LOAD_IMMEDIATE;
            continue;
        }
        let operand = u32_at(instruction, 4).map(u64::from);
        let mask = POLICY_MASKS
            .iter()
            .zip(masks)
            .find(|(old, _)| Some(**old) == operand);
        if let Some((_, mask)) = mask {
            changed += usize::from(set_u32(instruction, 4, mask as u32).is_some());
        }
    }
    changed
}

/// The object with room for this many bytes of policy, a power of two.
///
/// # Errors
/// It is not an object as `ci/build-bpf` makes it; the words follow its name.
pub fn with_policy_bytes(object: &[u8], size: u64) -> Result<Vec<u8>, String> {
    let mut bytes = object.to_vec();
    let parts = parts(&bytes)?;
    let unfit = || {
        "has no BTF type `Policy` of the expected size: it was built from other sources".to_owned()
    };
    let btf = bytes.get_mut(parts.btf).ok_or_else(unfit)?;
    set_policy_type(btf, size as u32).ok_or_else(unfit)?;
    let mut masks = 0;
    for range in parts.code {
        masks += bytes.get_mut(range).map_or(0, |code| set_masks(code, size));
    }
    if masks == 0 {
        return Err("has no masked read of the policy: it was built from other sources".to_owned());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Object;

    fn object() -> Vec<u8> {
        Object::get().expect("the object is there").bytes().to_vec()
    }

    #[test]
    fn the_size_is_changed_everywhere() {
        let larger = with_policy_bytes(&object(), 1 << 24).expect("it is the project's object");
        let map = aya_obj::Object::parse(&larger).expect("it is an object");
        assert_eq!(
            map.maps.get("POLICY").map(aya_obj::Map::value_size),
            Some(1 << 24)
        );
        let count = |bytes: &[u8], masks: [u64; 3]| {
            let code = parts(bytes).expect("it is an object").code;
            let code = code
                .into_iter()
                .flat_map(|range| bytes[range].chunks_exact(8));
            code.filter(|one| {
                one[0] == AND_IMMEDIATE && masks.contains(&u64::from(u32_at(one, 4).unwrap_or(0)))
            })
            .count()
        };
        let new = [(1 << 24) - 8, (1 << 24) - 2, (1 << 24) - 1];
        assert!(count(&object(), POLICY_MASKS) > 0);
        assert_eq!(count(&larger, POLICY_MASKS), 0);
        assert_eq!(
            count(&larger, new),
            count(&object(), POLICY_MASKS) + count(&object(), new)
        );
    }

    #[test]
    fn what_is_not_the_object_is_refused() {
        assert!(
            with_policy_bytes(b"\x7fELF", 1 << 24)
                .is_err_and(|why| why.starts_with("is not an ELF object"))
        );
        let mut renamed = object();
        let name = renamed
            .windows(7)
            .position(|window| window == b"\0Policy")
            .expect("the type's name");
        renamed[name + 1] = b'p';
        assert!(
            with_policy_bytes(&renamed, 1 << 24)
                .is_err_and(|why| why.contains("no BTF type `Policy`"))
        );
        for length in (0..renamed.len()).step_by(997) {
            assert!(with_policy_bytes(&renamed[..length], 1 << 24).is_err());
        }
    }
}
