//! Says when the committed BPF objects were built from other sources than those that are here.

use std::path::{Path, PathBuf};
use std::{fs, io};

use sha2::{Digest, Sha256};

/// The files under a folder, or the file itself, as `ci/build-bpf` lists them.
fn files(path: &Path, into: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_file() {
        into.push(path.to_owned());
        return Ok(());
    }
    if path.file_name().is_some_and(|name| name == "target") {
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        files(&entry?.path(), into)?;
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash over the lines `<sha256>  <path>`, sorted by path.
fn sources_hash(root: &Path) -> io::Result<String> {
    let mut found = Vec::new();
    for part in ["model/src", "model/Cargo.toml", "kernel-backend/ebpf"] {
        println!("cargo::rerun-if-changed={}", root.join(part).display());
        files(&root.join(part), &mut found)?;
    }
    let mut lines: Vec<(String, String)> = Vec::new();
    for file in found {
        let name = file
            .strip_prefix(root)
            .unwrap_or(&file)
            .to_string_lossy()
            .into_owned();
        lines.push((name, hex(&Sha256::digest(fs::read(&file)?))));
    }
    lines.sort();
    let text: String = lines
        .iter()
        .map(|(name, hash)| format!("{hash}  {name}\n"))
        .collect();
    Ok(hex(&Sha256::digest(text.as_bytes())))
}

/// The value of `sha256` in a section of the manifest.
fn listed<'a>(manifest: &'a str, section: &str) -> Option<&'a str> {
    let (_, rest) = manifest.split_once(&format!("[{section}]\n"))?;
    let rest = rest.split("\n[").next()?;
    rest.lines()
        .find_map(|line| line.strip_prefix("sha256 = \"")?.strip_suffix('"'))
}

fn main() -> io::Result<()> {
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let root = here.parent().unwrap_or(&here);
    let manifest = here.join("object/manifest.toml");
    println!("cargo::rerun-if-changed={}", manifest.display());
    let text = fs::read_to_string(&manifest)?;
    for name in ["twinmesh", "datapath"] {
        let object = here.join(format!("object/{name}.bpf.o"));
        println!("cargo::rerun-if-changed={}", object.display());
        if listed(&text, name) != Some(hex(&Sha256::digest(fs::read(&object)?)).as_str()) {
            println!(
                "cargo::warning=kernel-backend/object/{name}.bpf.o is not the object that manifest.toml beside \
                 it names: run ci/build-bpf"
            );
        }
    }
    if listed(&text, "sources") != Some(sources_hash(root)?.as_str()) {
        println!(
            "cargo::warning=model/ or kernel-backend/ebpf/ changed since kernel-backend/object/ was built: \
             the engines bpf-vm and kernel, and the datapath, decide as the sources did then; run ci/build-bpf"
        );
    }
    Ok(())
}
