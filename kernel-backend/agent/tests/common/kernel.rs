//! The same tests once more with the kernel taking part: a test binary whose name starts with
//! `kernel_` has an agent with its programs attached, and clients whose connections they take.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Mutex;

use twinmesh_agent::datapath::start::{KernelMode, KernelOptions, Loaded};
use twinmesh_agent::keep::KeepOptions;
use twinmesh_agent::proxy::Resolve;
use twinmesh_kernel_backend::datapath::{Sizes, cgroup};

/// Whether this test binary has the kernel taking part.
pub fn takes_part() -> bool {
    let path = std::env::current_exe().expect("the binary has a path");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("kernel_")
}

/// Where a listener is: with the kernel at an address of its own, as the programs see all connections
/// of this process's cgroup, those of other tests too. A test's thread has its name.
pub fn listener_address(name: &str) -> SocketAddr {
    if !takes_part() {
        return (Ipv4Addr::LOCALHOST, 0).into();
    }
    static KNOWN: Mutex<BTreeMap<(String, String), SocketAddr>> = Mutex::new(BTreeMap::new());
    let thread = std::thread::current();
    let key = (
        thread.name().unwrap_or_default().to_owned(),
        name.to_owned(),
    );
    let mut known = KNOWN.lock().expect("not poisoned");
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    let next = known.len() as u8 + 1;
    let address = Ipv4Addr::new(127, 64 | high & 63, low, next);
    *known.entry(key).or_insert((address, 8080).into())
}

/// How the kernel takes part in tests.
pub fn options() -> KernelOptions {
    KernelOptions {
        mode: KernelMode::Required,
        cgroup: Some(cgroup::own().expect("cgroup2 is mounted")),
        redirect: vec![
            (Ipv4Addr::LOCALHOST, 0).into(),
            (Ipv6Addr::LOCALHOST, 0).into(),
        ],
        connect_time: false,
        sizes: Sizes {
            endpoints: 4096,
            clients: 1024,
            upstreams: 1024,
            pools: 256,
            ..Sizes::default()
        },
        keep: false,
        kept: KeepOptions::default(),
    }
}

/// Programs for one agent. Where this machine cannot run them (it takes root, a kernel of at least
/// 6.1 and cgroup2), the test says so and goes on without; with `TWINMESH_REQUIRE_KERNEL` set, as
/// in CI, that is a failure.
pub fn load(resolve: Option<Box<Resolve>>) -> Option<Loaded> {
    load_with(options(), resolve)
}

/// The same, with other options.
pub fn load_with(options: KernelOptions, resolve: Option<Box<Resolve>>) -> Option<Loaded> {
    match options.try_load(resolve) {
        Ok(loaded) => Some(loaded),
        Err(why) if is_required() => panic!("the kernel cannot take part: {why}"),
        Err(why) => {
            println!("the kernel does not take part: {why}");
            None
        }
    }
}

/// Whether a machine that cannot run the programs fails tests.
pub fn is_required() -> bool {
    std::env::var_os("TWINMESH_REQUIRE_KERNEL").is_some_and(|value| value != "0")
}

/// Whether the kernel can take part, which is asked as in [`load`].
pub fn is_here() -> bool {
    load(None).is_some()
}
