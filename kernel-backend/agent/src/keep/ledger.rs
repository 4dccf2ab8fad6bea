//! What only the agent knows while it runs and what the next one needs: how many of an endpoint's
//! active requests are the proxy's, and which connections it is in the middle of. Memory that a file
//! backs, so that it is there when the process is not.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use twinmesh_kernel_backend::Region;
use twinmesh_kernel_backend::datapath::Sizes;

const FILE: &str = "ledger";

/// What an agent can be in the middle of on a client's connection. Both may go on at once: a client
/// that pipelines sends its next request while the response before is relayed.
#[derive(Debug, Clone, Copy)]
pub enum Busy {
    /// It reads a request, or answers it by the proxy.
    Proxying = 1,
    /// It ends a spliced request in the endpoint's place, which the kernel takes for ended.
    Ending = 2,
}

/// The ledger.
#[derive(Debug)]
pub struct Ledger {
    region: Region,
    endpoints: usize,
}

impl Ledger {
    /// In memory of the process: nobody takes it over.
    pub fn owned(sizes: Sizes) -> Self {
        let (endpoints, words) = words(sizes);
        Self {
            region: Region::owned(words),
            endpoints,
        }
    }

    /// In a file; what another agent wrote there stays only where it is to be `kept`.
    ///
    /// # Errors
    /// The file cannot be made or mapped.
    pub fn open(folder: &Path, sizes: Sizes, kept: bool) -> io::Result<Self> {
        let file = File::options()
            .create(true)
            .truncate(!kept)
            .read(true)
            .write(true)
            .open(folder.join(FILE))?;
        let (endpoints, words) = words(sizes);
        file.set_len(words as u64 * 8)?;
        Ok(Self {
            region: Region::mapped(file.as_fd(), words)?,
            endpoints,
        })
    }

    /// Removes the file.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(folder: &Path) -> Result<(), String> {
        let path = folder.join(FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(format!("{}: {error}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// By endpoint number: active requests that the proxy has.
    pub fn held(&self) -> &[AtomicU64] {
        let words = self.region.words();
        words.get(..self.endpoints).unwrap_or_default()
    }

    /// The agent is in the middle of something on a client's connection, by the index of its record.
    pub fn begin(&self, client: u64, what: Busy) {
        if let Some(word) = self.word(client) {
            word.fetch_or(what as u64, Ordering::SeqCst);
        }
    }

    /// It is no longer.
    pub fn end(&self, client: u64, what: Busy) {
        if let Some(word) = self.word(client) {
            word.fetch_and(!(what as u64), Ordering::SeqCst);
        }
    }

    /// The record is another connection's, of which nothing has been done.
    pub fn forget(&self, client: u64) {
        if let Some(word) = self.word(client) {
            word.store(0, Ordering::SeqCst);
        }
    }

    /// Whether an agent is, or was when it ended, in the middle of anything.
    pub fn is_busy(&self, client: u64) -> bool {
        self.word(client)
            .is_some_and(|word| word.load(Ordering::SeqCst) != 0)
    }

    fn word(&self, client: u64) -> Option<&AtomicU64> {
        self.region.words().get(self.endpoints + client as usize)
    }
}

fn words(sizes: Sizes) -> (usize, usize) {
    let endpoints = sizes.endpoints as usize;
    (endpoints, endpoints + sizes.clients as usize)
}
