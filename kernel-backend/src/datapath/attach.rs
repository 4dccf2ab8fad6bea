//! Attaching and detaching.

use std::any::Any;
use std::fs::File;
use std::path::Path;

use aya::maps::{Map, SockHash};
use aya::programs::{CgroupAttachMode, Program, ProgramError};

use super::{Datapath, PROGRAMS};
use crate::Unavailable;
use crate::machine::causes;

/// The programs' links to a cgroup; dropped, they are detached from it. Sockets that are tracked
/// stay so.
pub struct Attached {
    _links: Vec<Link>,
}

/// A link of any program type; all are detached when they are dropped.
type Link = Box<dyn Any + Send + Sync>;

impl Datapath {
    /// Attaches the programs to a cgroup (v2): connections of the processes in it are taken. What
    /// tracks the agent's connections to endpoints is attached to `endpoints`, as an accepted
    /// socket belongs to the cgroup that its listening socket was made in.
    ///
    /// # Errors
    /// A folder is no cgroup, or the kernel refuses; then nothing stays attached.
    pub fn attach(&self, cgroup: &Path, endpoints: &Path) -> Result<Attached, Unavailable> {
        let (clients, all) = (open(cgroup)?, open(endpoints)?);
        let mut ebpf = self.ebpf();
        for (map, program) in [
            ("CLIENTS", "client_message"),
            ("UPSTREAMS", "upstream_message"),
        ] {
            attach_to_sockets(&mut ebpf, map, program)
                .map_err(|failed| refused(program, map, &failed))?;
        }
        let mut links = Vec::new();
        for name in PROGRAMS {
            let Some(program) = ebpf.program_mut(name) else {
                continue;
            };
            let (path, folder) = if name == STAGES {
                (endpoints, &all)
            } else {
                (cgroup, &clients)
            };
            let link = attach_to_cgroup(program, folder)
                .map_err(|failed| refused(name, &path.display().to_string(), &failed))?;
            links.extend(link);
        }
        Ok(Attached { _links: links })
    }
}

/// The program that sees connections established, at both ends.
const STAGES: &str = "stage";

fn open(cgroup: &Path) -> Result<File, Unavailable> {
    File::open(cgroup).map_err(|failed| {
        Unavailable(format!(
            "cannot open the cgroup {}: {failed}",
            cgroup.display()
        ))
    })
}

fn attach_to_sockets(ebpf: &mut aya::Ebpf, map: &str, program: &str) -> Result<(), ProgramError> {
    let sockets = match ebpf.map(map) {
        Some(found @ Map::SockHash(_)) => {
            let sockets: SockHash<_, u64> =
                SockHash::try_from(found).map_err(ProgramError::MapError)?;
            sockets.fd().try_clone().map_err(ProgramError::IOError)?
        }
        _ => return Err(ProgramError::NotLoaded),
    };
    match ebpf.program_mut(program) {
        Some(Program::SkMsg(program)) => program.attach(&sockets).map(|_| ()),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// Attaches a program that belongs to a cgroup; the others have no link.
fn attach_to_cgroup(program: &mut Program, folder: &File) -> Result<Option<Link>, ProgramError> {
    // A link is one of many by itself, and takes no flag that says so.
    let mode = CgroupAttachMode::Single;
    macro_rules! link {
        ($program:expr) => {{
            let id = $program.attach(folder, mode)?;
            let link: Link = Box::new($program.take_link(id)?);
            Ok(Some(link))
        }};
    }
    match program {
        Program::CgroupSockAddr(program) => link!(program),
        Program::CgroupSock(program) => link!(program),
        Program::CgroupSockopt(program) => link!(program),
        Program::SockOps(program) => link!(program),
        _ => Ok(None),
    }
}

fn refused(program: &str, to: &str, failed: &ProgramError) -> Unavailable {
    Unavailable(format!(
        "cannot attach `{program}` to {to}: {}",
        causes(failed)
    ))
}
