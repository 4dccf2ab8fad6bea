//! The engines by name: the one place where they are made.

use twinmesh_engine::Engine;

/// Every engine's name, in the order of the tables. `spec` goes first: the others are compared
/// with it.
pub const NAMES: [&str; 5] = ["spec", "sim", "bpf-vm", "kernel", LIVE];

/// The real Envoy, which runs only where it is asked for by name.
pub const LIVE: &str = "envoy";

/// Engines that run only where they are named: they are no Envoy, and diverge by design.
pub const ONLY_BY_NAME: [&str; 1] = ["kmesh"];

/// The engine that the others are compared with.
pub const REFERENCE: &str = "spec";

/// The engine of commands that run one.
pub const DEFAULT: &str = "sim";

/// Why an engine does not run here, for whoever wants it to.
pub type WhyNot = String;

/// Makes an engine.
///
/// # Errors
/// Why it does not run on this machine, or that there is none of this name.
pub fn make(name: &str) -> Result<Box<dyn Engine>, WhyNot> {
    match name {
        "spec" => Ok(Box::new(twinmesh_spec::Spec::default())),
        "sim" => Ok(Box::new(twinmesh_sim::Sim::default())),
        "bpf-vm" => match twinmesh_kernel_backend::BpfVm::new() {
            Ok(engine) => Ok(Box::new(engine)),
            Err(unavailable) => Err(unavailable.to_string()),
        },
        "kernel" => match twinmesh_kernel_backend::Kernel::new() {
            Ok(engine) => Ok(Box::new(engine)),
            Err(unavailable) => Err(unavailable.to_string()),
        },
        LIVE => match twinmesh_envoy::Envoy::new() {
            Ok(engine) => Ok(Box::new(engine)),
            Err(not_found) => Err(not_found.to_string()),
        },
        "kmesh" => Ok(Box::new(twinmesh_kmesh::Kmesh::default())),
        other => Err(unknown(other)),
    }
}

/// Whether there is an engine of this name.
pub fn is_known(name: &str) -> bool {
    NAMES.contains(&name) || ONLY_BY_NAME.contains(&name)
}

/// What is said of a name that no engine has.
pub fn unknown(name: &str) -> String {
    format!(
        "no engine is called `{name}`: expected one of {}, {}",
        NAMES.join(", "),
        ONLY_BY_NAME.join(", ")
    )
}
