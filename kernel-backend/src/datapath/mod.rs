//! The datapath's programs in the kernel: loaded, attached, and what they share with the agent.

pub mod attach;
mod attached;
pub mod cgroup;
mod links;
pub mod maps;
mod offsets;
pub mod pins;
pub mod probe;
#[path = "../../ebpf/src/datapath/shape.rs"]
pub mod shape;

use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aya::maps::Map;
use aya::programs::{Program, ProgramError, SchedClassifier};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};

use crate::capacity::Capacity;
use crate::machine::{causes, check_machine, load_error};
use crate::region::Region;
use crate::{Object, Unavailable, Verified, elf};

pub use attach::Attached;
pub use attached::InKernel;
pub use maps::Maps;
pub use pins::Pins;

/// How much the maps hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Of the policy and the balancers.
    pub policy: Capacity,
    /// Endpoints.
    pub endpoints: u32,
    /// Client connections that are tracked at one time.
    pub clients: u32,
    /// Upstream connections.
    pub upstreams: u32,
    /// Pools: addresses of endpoints on this node.
    pub pools: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            policy: Capacity::LEAST,
            endpoints: 131_072,
            clients: 16_384,
            upstreams: 16_384,
            pools: 4_096,
        }
    }
}

/// The programs, by name.
const PROGRAMS: [&str; 11] = [
    "connect4",
    "connect6",
    "getpeername4",
    "getpeername6",
    "getsockopt",
    "setsockopt",
    "sock_release",
    "stage",
    "client_message",
    "upstream_message",
    DRAINED,
];

/// The maps, by name.
const MAPS: [&str; 21] = [
    "WORK",
    "POLICY",
    "STATE",
    "CONTROL",
    "CONFIG",
    "SOCKETS",
    "CLIENTS",
    "UPSTREAMS",
    "CLIENT",
    "FREE",
    "UPSTREAM",
    "POOL",
    "ENDPOINT",
    "ACCEPTED",
    "EXPECTED",
    "HANDED",
    "COUNTS",
    "NOTHING",
    "ORDER",
    "EVENTS",
    "LOST",
];

/// The program that says whether a client has read what was redirected to it.
const DRAINED: &str = "drained";

/// The loaded object.
#[derive(Debug)]
pub struct Datapath {
    ebpf: Mutex<Ebpf>,
    maps: Maps,
    pins: Option<Pins>,
}

impl Datapath {
    /// Loads the object into this machine's kernel. Nothing is attached yet.
    ///
    /// # Errors
    /// Why it cannot be loaded here, and what to do.
    pub fn load(sizes: Sizes) -> Result<Self, Unavailable> {
        Self::load_noting(sizes, || ())
    }

    /// As [`Self::load_noting`], with pinned maps: those that are there or, unless they are to be
    /// adopted, new ones in their place.
    ///
    /// # Errors
    /// As [`Self::load`]; new pins are then removed.
    pub fn load_pinned(
        sizes: Sizes,
        pins: &Pins,
        adopts: bool,
        made: impl FnOnce(),
    ) -> Result<Self, Unavailable> {
        let failed = |error: std::io::Error| Unavailable(format!("pinning the datapath: {error}"));
        if !adopts {
            pins.remove().map_err(failed)?;
            pins.make_folder().map_err(failed)?;
        }
        let loaded = Self::load_with(sizes, Some(pins), adopts, made).and_then(|datapath| {
            let ebpf = datapath.ebpf();
            for name in PROGRAMS {
                if let Some(Ok(program)) = ebpf.program(name).map(Program::fd) {
                    pins.pin_program(name, program.as_fd()).map_err(failed)?;
                }
            }
            drop(ebpf);
            Ok(datapath)
        });
        if loaded.is_err() && !adopts {
            // The error that is told is the first one.
            let _ = pins.remove();
        }
        loaded
    }

    /// As [`Self::load`]; says when the maps are made, which take most of the memory, and before the
    /// programs are verified, which takes most of the time.
    ///
    /// # Errors
    /// As there.
    pub fn load_noting(sizes: Sizes, made: impl FnOnce()) -> Result<Self, Unavailable> {
        Self::load_with(sizes, None, false, made)
    }

    fn load_with(
        sizes: Sizes,
        pins: Option<&Pins>,
        adopts: bool,
        made: impl FnOnce(),
    ) -> Result<Self, Unavailable> {
        check_machine()?;
        let object = Object::datapath()?;
        let refused = |why: String| Unavailable(format!("cannot load {}: {why}", object.origin));
        let bytes = elf::with_policy_bytes(object.bytes(), sizes.policy.policy_bytes)
            .map_err(|why| Unavailable(format!("{} {why}", object.origin)))?;
        let state = u64::from(sizes.endpoints) + crate::shape::SLOTS * sizes.policy.state_words;
        let mut loader = EbpfLoader::new();
        for name in MAPS {
            if let Some(pins) = pins {
                loader.map_pin_path(name, pins.map(name));
            }
        }
        let mut ebpf = loader
            .btf(None)
            .verifier_log_level(VerifierLogLevel::STATS)
            .map_max_entries("STATE", state as u32)
            .map_max_entries("WORK", shape::WORK_AREAS as u32)
            .map_max_entries("CLIENT", sizes.clients)
            .map_max_entries("CLIENTS", sizes.clients)
            .map_max_entries("ACCEPTED", sizes.clients.saturating_mul(2))
            .map_max_entries("UPSTREAM", sizes.upstreams)
            .map_max_entries("UPSTREAMS", sizes.upstreams)
            .map_max_entries("EXPECTED", sizes.upstreams)
            .map_max_entries("POOL", sizes.pools)
            .map_max_entries("ENDPOINT", sizes.endpoints)
            .load(&bytes)
            .map_err(|failed| refused(causes(&failed)))?;
        made();
        for name in PROGRAMS {
            let program = ebpf
                .program_mut(name)
                .ok_or_else(|| refused(format!("it has no program `{name}`")))?;
            load_program(program).map_err(|failed| refused(load_error(name, &failed)))?;
        }
        let maps = Maps::new(&mut ebpf, sizes).map_err(refused)?;
        if !adopts {
            maps.start();
        }
        maps.set_offsets(offsets::read());
        Ok(Self {
            ebpf: ebpf.into(),
            maps,
            pins: pins.cloned(),
        })
    }

    fn ebpf(&self) -> MutexGuard<'_, Ebpf> {
        self.ebpf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the programs share with the agent.
    pub fn maps(&self) -> &Maps {
        &self.maps
    }

    /// Waits until every program that is running now has ended. Takes some milliseconds.
    ///
    /// # Errors
    /// The kernel has no way to wait.
    pub fn wait() -> Result<(), String> {
        crate::machine::wait_for_programs()
    }

    /// Whether a client has read all that was redirected to it, by the index of its record.
    ///
    /// # Errors
    /// The program did not run.
    pub fn is_drained(&self, client: u32) -> Result<bool, Unavailable> {
        let ebpf = self.ebpf();
        let program: &SchedClassifier = ebpf
            .program(DRAINED)
            .ok_or_else(|| Unavailable(format!("there is no program `{DRAINED}`")))?
            .try_into()
            .map_err(|failed: ProgramError| Unavailable(causes(&failed)))?;
        let returned = crate::machine::test_run(program, client, 1);
        Ok(returned.map_err(Unavailable)?.0 != 0)
    }

    /// What the verifier and the JIT made of the programs.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn verified(&self) -> Result<Vec<Verified>, Unavailable> {
        let mut verified = Vec::with_capacity(PROGRAMS.len());
        let ebpf = self.ebpf();
        for name in PROGRAMS {
            let program = ebpf.program(name);
            let info = program
                .ok_or_else(|| Unavailable(format!("there is no program `{name}`")))?
                .info()
                .map_err(|failed| Unavailable(causes(&failed)))?;
            verified.push(Verified {
                program: name.to_owned(),
                instructions: info.verified_instruction_count(),
                jited_bytes: info.size_jitted(),
            });
        }
        Ok(verified)
    }
}

fn load_program(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::CgroupSockAddr(program) => program.load(),
        Program::CgroupSock(program) => program.load(),
        Program::CgroupSockopt(program) => program.load(),
        Program::SockOps(program) => program.load(),
        Program::SkMsg(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// The values of an array map.
fn region(ebpf: &Ebpf, name: &str, bytes: usize) -> Result<Region, String> {
    let Some(Map::Array(map)) = ebpf.map(name) else {
        return Err(format!("it has no array map `{name}`"));
    };
    Region::mapped(map.fd().as_fd(), bytes.div_ceil(8))
        .map_err(|failed| format!("cannot map `{name}` into memory: {failed}"))
}
