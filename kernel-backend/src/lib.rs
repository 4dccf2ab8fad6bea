//! The engines `bpf-vm` and `kernel`: the BPF object in a userspace VM, and in the kernel.
//!
//! Both load the same object ([`Object`]), fill the same maps in the same way, and read the answer
//! from the same words; they differ in who runs the instructions.

mod areas;
mod backend;
mod btf;
mod capacity;
pub mod datapath;
mod elf;
mod kernel;
mod machine;
mod object;
mod region;
#[path = "../ebpf/src/shape.rs"]
#[allow(
    dead_code,
    reason = "shared with the BPF program, which uses all of it"
)]
mod shape;
mod vm;

pub use capacity::{Capacity, MOST_HEAD_BYTES};
pub use kernel::{Decider, Kernel, Verified};
pub use object::{OBJECT_VARIABLE, Object};
pub use region::Region;
pub use vm::BpfVm;

/// An engine cannot run here: why, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);
