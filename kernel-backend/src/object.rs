//! The BPF objects: the committed ones, or others that the environment names.

use std::borrow::Cow;
use std::sync::OnceLock;

use crate::Unavailable;

/// The environment variable that names an object file to use in place of the committed
/// `twinmesh.bpf.o`; a `datapath.bpf.o` beside it takes the place of the other.
pub const OBJECT_VARIABLE: &str = "TWINMESH_BPF_OBJECT";

/// The bytes must be aligned for the ELF reader.
#[repr(C, align(8))]
struct Aligned<Bytes: ?Sized>(Bytes);

static DECIDES: &Aligned<[u8]> = &Aligned(*include_bytes!("../object/twinmesh.bpf.o"));
static DATAPATH: &Aligned<[u8]> = &Aligned(*include_bytes!("../object/datapath.bpf.o"));

/// A BPF object file.
#[derive(Debug, Clone)]
pub struct Object {
    bytes: Cow<'static, [u8]>,
    /// Where it came from, for messages.
    pub origin: String,
}

impl Object {
    /// The object that decides test runs: the file that [`OBJECT_VARIABLE`] names, else the
    /// committed one. Read once.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn get() -> Result<&'static Self, Unavailable> {
        static OBJECT: OnceLock<Result<Object, Unavailable>> = OnceLock::new();
        OBJECT
            .get_or_init(|| Self::read("twinmesh.bpf.o", &DECIDES.0))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// The object of the datapath: the file beside the one that [`OBJECT_VARIABLE`] names, else the
    /// committed one. Read once.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn datapath() -> Result<&'static Self, Unavailable> {
        static OBJECT: OnceLock<Result<Object, Unavailable>> = OnceLock::new();
        OBJECT
            .get_or_init(|| Self::read("datapath.bpf.o", &DATAPATH.0))
            .as_ref()
            .map_err(Clone::clone)
    }

    fn read(name: &str, committed: &'static [u8]) -> Result<Self, Unavailable> {
        let Some(path) = std::env::var_os(OBJECT_VARIABLE) else {
            return Ok(Self {
                bytes: Cow::Borrowed(committed),
                origin: format!("{name} in kernel-backend/object"),
            });
        };
        let mut path = std::path::PathBuf::from(path);
        if name != "twinmesh.bpf.o" {
            path.set_file_name(name);
        }
        let origin = format!("{} (from {OBJECT_VARIABLE})", path.display());
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Self {
                bytes: Cow::Owned(bytes),
                origin,
            }),
            Err(error) => Err(Unavailable(format!(
                "cannot read the BPF object {origin}: {error}; correct the variable or unset it"
            ))),
        }
    }

    /// The file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
