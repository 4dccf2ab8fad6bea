//! `twinmesh convert`: traffic that others recorded, as a traffic file.

pub mod access_json;
pub mod access_text;
pub mod capture;
pub mod fields;
pub mod form;
pub mod har;
pub mod reading;
pub mod time;

use std::path::{Path, PathBuf};

use clap::Args;
use twinmesh_engine::format::traffic;

use self::fields::{Mapping, parse_mapping};
use self::form::Form;
use self::reading::{Found, Reading};
use crate::failure::{Failure, Status};
use crate::input;
use crate::output::{self, Output};
use crate::words::counted;

/// Makes a traffic file of what others recorded: HAR, Envoy's access logs, packet captures.
///
/// What a format cannot tell is said on standard error, with how many requests it concerns.
/// Authorization and cookies are left out. docs/convert.md tells what becomes of what.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The files; `-`, or none: standard input.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What the files are; found out for each, and said, where it is not given.
    #[arg(long, value_name = "FORMAT")]
    from: Option<Form>,
    /// Where the traffic goes; standard output where it is not given.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// In JSON logs, take a key (dots go into objects) for a field; may be repeated.
    #[arg(long, value_name = "KEY=FIELD", value_parser = parse_mapping)]
    map: Vec<Mapping>,
    /// Leave out what cannot be read, and name it, instead of refusing the file.
    #[arg(long)]
    skip_bad: bool,
    /// Keep authorization, proxy-authorization and cookie headers.
    #[arg(long)]
    keep_secrets: bool,
}

/// Headers that are left out.
const SECRETS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "cookie2"];

/// Runs the command.
///
/// # Errors
/// A file cannot be read, is of no format that is read, or holds something unreadable; or the
/// output is not taken.
pub fn run(arguments: &Arguments) -> Result<Status, Failure> {
    let standard_input = vec![PathBuf::from("-")];
    let files = if arguments.files.is_empty() {
        &standard_input
    } else {
        &arguments.files
    };
    output::has_folder(arguments.output.as_deref())?;
    let mut found = Vec::new();
    for file in files {
        let (name, read) = input::content(file);
        let bytes = read.map_err(|error| Failure(format!("{name}: cannot be read: {error}")))?;
        let form = match arguments.from {
            Some(form) => form,
            None => {
                let form = form::detect(&bytes).map_err(|problem| {
                    Failure(format!("{name}: {problem}; --from names the format"))
                })?;
                output::note(format!("{name}: read as {form}, by its content"));
                form
            }
        };
        let mut reading = form::read(form, &bytes, &arguments.map)
            .map_err(|problem| Failure(format!("{name}: {problem}")))?;
        bad(&name, &reading, arguments.skip_bad)?;
        if !arguments.keep_secrets {
            leave_out_secrets(&mut reading);
        }
        for note in reading.notes.lines() {
            output::note(format!("{name}: {note}"));
        }
        let prefix = if files.len() > 1 {
            format!("{name}:")
        } else {
            String::new()
        };
        for mut one in reading.found {
            one.request.id = format!("{prefix}{}", one.request.id);
            if let Some(connection) = &mut one.request.connection {
                connection.insert_str(0, &prefix);
            }
            found.push(one);
        }
    }
    if found.is_empty() {
        return Err(Failure("no request was found".to_owned()));
    }
    let count = found.len();
    let bytes = write(found)?;
    match &arguments.output {
        Some(file) => output::file(file, &bytes)?,
        None => {
            let mut output = Output::stdout();
            std::io::Write::write_all(&mut output, &bytes).map_err(output::not_taken)?;
            output.finish()?;
        }
    }
    output::note(counted(count, "request"));
    Ok(Status::Agreement)
}

/// Refuses what cannot be read, or names it.
fn bad(name: &str, reading: &Reading, skip: bool) -> Result<(), Failure> {
    let Some(first) = reading.bad.first() else {
        return Ok(());
    };
    if !skip {
        let more = match reading.bad.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        return Err(Failure(format!(
            "{name}:{first}{more}; --skip-bad leaves it out"
        )));
    }
    for bad in &reading.bad {
        output::note(format!("{name}:{bad}; left out"));
    }
    output::note(format!(
        "{name}: {} left out that cannot be read",
        reading.bad.len()
    ));
    Ok(())
}

fn leave_out_secrets(reading: &mut Reading) {
    let mut left_out = 0;
    for found in &mut reading.found {
        let headers = &mut found.request.headers;
        let before = headers.len();
        headers.retain(|(name, _)| !SECRETS.contains(&name.to_ascii_lowercase().as_str()));
        left_out += before - headers.len();
    }
    reading.notes.count_many(
        left_out,
        "authorization or cookie headers are left out; --keep-secrets keeps them",
    );
}

/// The lines of the traffic file, in order of arrival, virtual time from the first of them.
fn write(mut found: Vec<Found>) -> Result<Vec<u8>, Failure> {
    let first = found.iter().filter_map(|found| found.time_us).min();
    // One without a time arrives with the one before it.
    let mut now = first;
    for one in &mut found {
        one.time_us = one.time_us.or(now);
        now = one.time_us;
    }
    found.sort_by_key(|found| found.time_us);
    let mut requests = Vec::with_capacity(found.len());
    for one in found {
        let mut request = one.request;
        if let (Some(time), Some(first)) = (one.time_us, first) {
            request.time_us = u64::try_from(time - first).ok();
        }
        requests.push(request);
    }
    if let Some(first) = first {
        output::note(format!("time 0 is {}", time::text(first)));
    }
    let mut bytes = Vec::new();
    traffic::write(&requests, &mut bytes)
        .map_err(|error| Failure(format!("the traffic cannot be written: {error}")))?;
    // Nothing leaves that the other commands would refuse.
    traffic::parse(Path::new("the traffic"), &bytes)?;
    Ok(bytes)
}
