//! Compiles every .proto file that envoy-types ships, and the few in `proto`, into one trimmed
//! descriptor set.
//!
//! Usage: `twinmesh-xds-descriptors <envoy-types>/proto <output>`

mod additions;

use std::{
    collections::BTreeSet,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};
use protox::{
    Compiler,
    file::{File, FileResolver, GoogleFileResolver},
};

/// Folders of envoy-types' `proto` that import paths start from.
const ROOTS: [&str; 9] = [
    "data-plane-api",
    "xds",
    "protoc-gen-validate",
    "googleapis",
    "cel-spec/proto",
    "client_model",
    "opentelemetry-proto",
    "ratelimit",
    "ratelimit/api",
];

/// Files that hold nothing but options which the reader has no use for.
const DROPPED_FILES: [&str; 4] = [
    "envoy/annotations/",
    "udpa/annotations/",
    "xds/annotations/",
    "google/api/annotations.proto",
];

/// Options that stay: the constraints by which Envoy validates a message, and what a descriptor
/// needs to be understood.
const KEPT_OPTIONS: [&str; 7] = [
    "validate.rules",
    "validate.required",
    "validate.disabled",
    "validate.ignored",
    "google.protobuf.FieldOptions.packed",
    "google.protobuf.MessageOptions.map_entry",
    "google.protobuf.EnumOptions.allow_alias",
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(protos), Some(output)) = (arguments.next(), arguments.next()) else {
        return Err("usage: twinmesh-xds-descriptors <envoy-types>/proto <output>".into());
    };
    let protos = PathBuf::from(protos);
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let roots: Vec<PathBuf> = ROOTS
        .iter()
        .map(|root| protos.join(root))
        .chain([own])
        .filter(|root| root.is_dir())
        .collect();
    let mut files = Vec::new();
    for root in &roots {
        collect(root, &mut files)?;
    }
    files.sort();

    let complete = compile(&roots, &files)?;
    let pool = DescriptorPool::decode(complete.as_slice())?;
    let set = pool
        .get_message_by_name("google.protobuf.FileDescriptorSet")
        .ok_or("no file imports google/protobuf/descriptor.proto")?;
    let mut message = DynamicMessage::decode(set, complete.as_slice())?;
    trim_set(&mut message);
    let trimmed = message.encode_to_vec();
    DescriptorPool::decode(trimmed.as_slice())?;
    fs::write(&output, &trimmed)?;
    println!(
        "{}: {} files, {} bytes ({} untrimmed)",
        Path::new(&output).display(),
        files.len(),
        trimmed.len(),
        complete.len()
    );
    Ok(())
}

/// A relative name that protoc resolves outwards past a package in which the rest of the name is
/// missing, and protox does not.
const ABSOLUTE: (&str, &str) = (
    " common.dynamic_forward_proxy.v3.",
    " .envoy.extensions.common.dynamic_forward_proxy.v3.",
);

/// Finds files below the roots, then those that protox brings along.
struct Resolver {
    roots: Vec<PathBuf>,
    well_known: GoogleFileResolver,
}

impl Resolver {
    fn new(roots: &[PathBuf]) -> Resolver {
        Resolver {
            roots: roots.to_vec(),
            well_known: GoogleFileResolver::new(),
        }
    }
}

impl FileResolver for Resolver {
    fn resolve_path(&self, path: &Path) -> Option<String> {
        self.roots
            .iter()
            .find_map(|root| path.strip_prefix(root).ok()?.to_str().map(str::to_owned))
    }

    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        for root in &self.roots {
            if let Ok(source) = fs::read_to_string(root.join(name)) {
                let source = source.replace(ABSOLUTE.0, ABSOLUTE.1);
                let source = additions::add_to(name, source).map_err(protox::Error::new)?;
                return File::from_source(name, &source);
            }
        }
        self.well_known.open_file(name)
    }
}

/// The top level of a FileDescriptorSet, its files left as they are.
#[derive(Clone, PartialEq, prost::Message)]
struct RawSet {
    #[prost(bytes = "vec", repeated, tag = "1")]
    files: Vec<Vec<u8>>,
}

/// The name of a FileDescriptorProto.
#[derive(Clone, PartialEq, prost::Message)]
struct RawFile {
    #[prost(string, tag = "1")]
    name: String,
}

/// Each file has a compiler of its own: a relative type name may resolve only to what the file
/// imports, and one compiler for all of them would let it resolve to any package it has seen.
fn compile(roots: &[PathBuf], files: &[PathBuf]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut names = BTreeSet::new();
    let mut all = RawSet::default();
    for file in files {
        let mut compiler = Compiler::with_file_resolver(Resolver::new(roots));
        compiler.include_imports(true);
        compiler.open_file(file)?;
        let set = RawSet::decode(compiler.encode_file_descriptor_set().as_slice())?;
        for file in set.files {
            // Imports come first in each set, and so they do in the whole.
            if names.insert(RawFile::decode(file.as_slice())?.name) {
                all.files.push(file);
            }
        }
    }
    Ok(all.encode_to_vec())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            files.push(path);
        }
    }
    Ok(())
}

fn is_dropped(file: &str) -> bool {
    DROPPED_FILES
        .iter()
        .any(|dropped| file.starts_with(dropped))
}

fn trim_set(set: &mut DynamicMessage) {
    let Some(files) = set
        .get_field_by_name_mut("file")
        .and_then(|files| match files {
            Value::List(files) => Some(files),
            _ => None,
        })
    else {
        return;
    };
    files.retain(|file| !text(file, "name").is_some_and(|name| is_dropped(&name)));
    for file in files {
        if let Value::Message(file) = file {
            trim_file(file);
        }
    }
}

fn text(value: &Value, field: &str) -> Option<String> {
    value
        .as_message()?
        .get_field_by_name(field)?
        .as_str()
        .map(str::to_owned)
}

fn trim_file(file: &mut DynamicMessage) {
    for field in ["source_code_info", "options", "service"] {
        file.clear_field_by_name(field);
    }
    // Indices into `dependency`; they would go wrong as files are dropped.
    for field in ["public_dependency", "weak_dependency"] {
        file.clear_field_by_name(field);
    }
    if let Some(Value::List(dependencies)) = file.get_field_by_name_mut("dependency") {
        dependencies.retain(|name| !name.as_str().is_some_and(is_dropped));
    }
    trim_children(file);
}

/// Messages, enums, fields and oneofs hang below fields of the same names in files and messages.
fn trim_children(parent: &mut DynamicMessage) {
    for field in [
        "message_type",
        "nested_type",
        "enum_type",
        "field",
        "oneof_decl",
        "value",
    ] {
        let Some(Value::List(children)) = parent.get_field_by_name_mut(field) else {
            continue;
        };
        for child in children {
            if let Value::Message(child) = child {
                child.clear_field_by_name("json_name");
                trim_options(child);
                trim_children(child);
            }
        }
    }
}

fn trim_options(element: &mut DynamicMessage) {
    let Some(Value::Message(options)) = element.get_field_by_name_mut("options") else {
        return;
    };
    let dropped: Vec<_> = options
        .fields()
        .map(|(field, _)| field)
        .filter(|field| !KEPT_OPTIONS.contains(&field.full_name()))
        .collect();
    for field in dropped {
        options.clear_field(&field);
    }
    let dropped: Vec<_> = options
        .extensions()
        .map(|(extension, _)| extension)
        .filter(|extension| !KEPT_OPTIONS.contains(&extension.full_name()))
        .collect();
    for extension in dropped {
        options.clear_extension(&extension);
    }
    let is_empty = options.fields().next().is_none() && options.extensions().next().is_none();
    if is_empty {
        element.clear_field_by_name("options");
    }
}
