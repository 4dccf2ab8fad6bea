//! What the kernel says of the programs.

use aya::programs::{Program, loaded_links};

use super::{Datapath, PROGRAMS};
use crate::Unavailable;
use crate::machine::causes;

/// A program that is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InKernel {
    /// Its name.
    pub name: &'static str,
    /// Its number in the kernel.
    pub id: u32,
    /// How many links attach it to a cgroup; `None` for those that are not attached by links.
    pub links: Option<usize>,
}

impl Datapath {
    /// The programs, as the kernel has them.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn in_kernel(&self) -> Result<Vec<InKernel>, Unavailable> {
        let ebpf = self.ebpf();
        let mut programs = Vec::with_capacity(PROGRAMS.len());
        for name in PROGRAMS {
            let program = ebpf
                .program(name)
                .ok_or_else(|| Unavailable(format!("there is no program `{name}`")))?;
            let by_link = matches!(
                program,
                Program::CgroupSockAddr(_)
                    | Program::CgroupSock(_)
                    | Program::CgroupSockopt(_)
                    | Program::SockOps(_)
            );
            let info = program.info();
            let info = info.map_err(|failed| Unavailable(causes(&failed)))?;
            programs.push(InKernel {
                name,
                id: info.id(),
                links: by_link.then_some(0),
            });
        }
        drop(ebpf);
        // A link that goes meanwhile is none.
        for link in loaded_links().filter_map(Result::ok) {
            let mut ours = programs.iter_mut();
            let program = ours.find(|program| program.id == link.program_id());
            if let Some(links) = program.and_then(|program| program.links.as_mut()) {
                *links += 1;
            }
        }
        Ok(programs)
    }
}
