//! Attaching and detaching.

use std::fs::File;
use std::path::Path;

use aya::maps::{Map, SockHash};
use aya::programs::{CgroupAttachMode, Program, ProgramError};

use super::{Datapath, PROGRAMS};
use crate::Unavailable;
use crate::machine::causes;

impl Datapath {
    /// Attaches the programs to a cgroup (v2): connections of the processes in it are taken, and
    /// those that they accept are tracked. They stay attached as long as this lives.
    ///
    /// # Errors
    /// The folder is no cgroup, or the kernel refuses; then nothing stays attached once this is
    /// dropped.
    pub fn attach(&mut self, cgroup: &Path) -> Result<(), Unavailable> {
        let folder = File::open(cgroup).map_err(|failed| {
            Unavailable(format!(
                "cannot open the cgroup {}: {failed}",
                cgroup.display()
            ))
        })?;
        for (map, program) in [
            ("CLIENTS", "client_message"),
            ("UPSTREAMS", "upstream_message"),
        ] {
            self.attach_to_sockets(map, program)
                .map_err(|failed| refused(program, map, &failed))?;
        }
        for name in PROGRAMS {
            let Some(program) = self.ebpf.program_mut(name) else {
                continue;
            };
            attach_to_cgroup(program, &folder)
                .map_err(|failed| refused(name, &cgroup.display().to_string(), &failed))?;
        }
        Ok(())
    }

    fn attach_to_sockets(&mut self, map: &str, program: &str) -> Result<(), ProgramError> {
        let sockets = match self.ebpf.map(map) {
            Some(Map::SockHash(_)) => {
                let sockets: SockHash<_, u64> =
                    SockHash::try_from(self.ebpf.map(map).ok_or(ProgramError::NotLoaded)?)
                        .map_err(ProgramError::MapError)?;
                sockets.fd().try_clone().map_err(ProgramError::IOError)?
            }
            _ => return Err(ProgramError::NotLoaded),
        };
        match self.ebpf.program_mut(program) {
            Some(Program::SkMsg(program)) => program.attach(&sockets).map(|_| ()),
            _ => Err(ProgramError::UnexpectedProgramType),
        }
    }
}

fn attach_to_cgroup(program: &mut Program, folder: &File) -> Result<(), ProgramError> {
    let mode = CgroupAttachMode::AllowMultiple;
    match program {
        Program::CgroupSockAddr(program) => program.attach(folder, mode).map(|_| ()),
        Program::CgroupSock(program) => program.attach(folder, mode).map(|_| ()),
        Program::CgroupSockopt(program) => program.attach(folder, mode).map(|_| ()),
        Program::SockOps(program) => program.attach(folder, mode).map(|_| ()),
        _ => Ok(()),
    }
}

fn refused(program: &str, to: &str, failed: &ProgramError) -> Unavailable {
    Unavailable(format!(
        "cannot attach `{program}` to {to}: {}",
        causes(failed)
    ))
}
