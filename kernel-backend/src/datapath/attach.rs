//! Attaching and detaching.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use aya::maps::{Map, SockHash};
use aya::programs::{Program, ProgramError};

use super::pins::Pins;
use super::{Datapath, PROGRAMS, links};
use crate::Unavailable;
use crate::machine::causes;

/// The programs' links to a cgroup. Dropped, the programs are detached from it, but where the links
/// are pinned; sockets that are tracked stay so.
#[derive(Debug)]
pub struct Attached {
    links: Vec<OwnedFd>,
    pins: Option<Pins>,
}

impl Attached {
    /// Detaches the programs, pinned or not.
    ///
    /// # Errors
    /// A pin cannot be removed.
    pub fn detach(self) -> io::Result<()> {
        drop(self.links);
        match &self.pins {
            Some(pins) => pins.remove_links(),
            None => Ok(()),
        }
    }
}

/// Where a program is attached: `bpf_attach_type`. `None`: not to a cgroup.
fn attach_type(program: &str) -> Option<u32> {
    Some(match program {
        "connect4" => 10,
        "connect6" => 11,
        "stage" => 3,
        "getsockopt" => 21,
        "setsockopt" => 22,
        "getpeername4" => 29,
        "getpeername6" => 30,
        "sock_release" => 34,
        _ => return None,
    })
}

impl Datapath {
    /// Attaches the programs to a cgroup (v2): connections of the processes in it are taken. What
    /// tracks the agent's connections to endpoints is attached to `endpoints`, as an accepted
    /// socket belongs to the cgroup that its listening socket was made in. Links that are pinned
    /// already get these programs.
    ///
    /// # Errors
    /// A folder is no cgroup, or the kernel refuses; then nothing that was attached here stays so.
    pub fn attach(&self, cgroup: &Path, endpoints: &Path) -> Result<Attached, Unavailable> {
        let (clients, all) = (open(cgroup)?, open(endpoints)?);
        let mut ebpf = self.ebpf();
        for (map, program) in [
            ("CLIENTS", "client_message"),
            ("UPSTREAMS", "upstream_message"),
        ] {
            attach_to_sockets(&mut ebpf, map, program)
                .map_err(|failed| refused(program, map, &causes(&failed)))?;
        }
        let mut attached = Vec::new();
        let mut made = Vec::new();
        for name in PROGRAMS {
            let (Some(program), Some(attach_type)) = (ebpf.program(name), attach_type(name)) else {
                continue;
            };
            let (path, folder) = if OF_BOTH_ENDS.contains(&name) {
                (endpoints, &all)
            } else {
                (cgroup, &clients)
            };
            let pin = self.pins.as_ref().map(|pins| pins.link(name));
            let linked = program
                .fd()
                .map_err(|failed| causes(&failed))
                .and_then(|program| {
                    link(program.as_fd(), folder, attach_type, pin.as_deref())
                        .map_err(|error| error.to_string())
                });
            match linked {
                Ok((link, is_new)) => {
                    attached.push(link);
                    made.extend(pin.filter(|_| is_new));
                }
                Err(why) => {
                    for pin in made {
                        // Whatever stays there is named by what lists the pins.
                        let _ = std::fs::remove_file(pin);
                    }
                    return Err(refused(name, &path.display().to_string(), &why));
                }
            }
        }
        Ok(Attached {
            links: attached,
            pins: self.pins.clone(),
        })
    }
}

/// A link of this program to a cgroup, pinned where that is asked for; whether it is a new one.
fn link(
    program: std::os::fd::BorrowedFd<'_>,
    cgroup: &File,
    attach_type: u32,
    pin: Option<&Path>,
) -> io::Result<(OwnedFd, bool)> {
    let Some(pin) = pin else {
        return Ok((links::create(program, cgroup.as_fd(), attach_type)?, true));
    };
    match links::open(pin) {
        Ok(link) if links::cgroup(link.as_fd())? == cgroup.metadata()?.ino() => {
            links::update(link.as_fd(), program)?;
            return Ok((link, false));
        }
        // To another cgroup.
        Ok(_) => std::fs::remove_file(pin)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let link = links::create(program, cgroup.as_fd(), attach_type)?;
    links::pin(link.as_fd(), pin)?;
    Ok((link, true))
}

/// The programs that concern both ends: what sees connections established, and what refuses zero
/// copy.
const OF_BOTH_ENDS: [&str; 2] = ["stage", "setsockopt"];

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

fn refused(program: &str, to: &str, why: &str) -> Unavailable {
    Unavailable(format!("cannot attach `{program}` to {to}: {why}"))
}
