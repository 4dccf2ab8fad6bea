//! The numbers that endpoints have, in a file: the maps count by them.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use twinmesh_compile::{Numbered, Numbers};

const FILE: &str = "endpoints.json";

#[derive(Serialize, Deserialize)]
struct Written {
    version: String,
    given: u64,
    endpoints: Vec<Endpoint>,
}

#[derive(Serialize, Deserialize)]
struct Endpoint {
    cluster: String,
    /// Address, region, zone and sub-zone.
    identity: Option<[String; 4]>,
    alike: u32,
    number: u64,
}

/// The file.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    version: String,
    last: Mutex<Option<Vec<Numbered>>>,
}

impl File {
    /// In a folder, of this version of the maps.
    pub fn new(folder: &Path, version: &str) -> Self {
        Self {
            path: folder.join(FILE),
            version: version.to_owned(),
            last: Mutex::default(),
        }
    }

    /// What an earlier agent wrote; `None` where none of this version did.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(&mut self, capacity: u64) -> Result<Option<Numbers>, String> {
        let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", self.path.display());
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| failed(&error))?,
        };
        let written: Written = serde_json::from_str(&text).map_err(|error| failed(&error))?;
        if written.version != self.version {
            return Ok(None);
        }
        let endpoints = written.endpoints.into_iter().map(|endpoint| Numbered {
            cluster: endpoint.cluster,
            identity: endpoint.identity,
            alike: endpoint.alike,
            number: endpoint.number,
        });
        let endpoints: Vec<Numbered> = endpoints.collect();
        Ok(Some(Numbers::resume(capacity, written.given, &endpoints)))
    }

    /// Writes the numbers, all or nothing, where they have changed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, numbers: &Numbers) -> Result<(), String> {
        let list = numbers.endpoints();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() == Some(&list) {
            return Ok(());
        }
        let written = Written {
            version: self.version.clone(),
            given: numbers.given(),
            endpoints: list
                .iter()
                .map(|endpoint| Endpoint {
                    cluster: endpoint.cluster.clone(),
                    identity: endpoint.identity.clone(),
                    alike: endpoint.alike,
                    number: endpoint.number,
                })
                .collect(),
        };
        let done = serde_json::to_vec(&written)
            .map_err(io::Error::other)
            .and_then(|text| {
                let folder = self.path.parent().unwrap_or(&self.path);
                let mut file = tempfile::NamedTempFile::new_in(folder)?;
                file.write_all(&text)?;
                file.persist(&self.path).map_err(|error| error.error)?;
                Ok(())
            });
        done.map_err(|error| format!("{}: {error}", self.path.display()))?;
        *last = Some(list);
        Ok(())
    }

    /// Removes the file from a folder.
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
}
