//! The configuration: one TOML file in, a [`model::Config`] that can't be invalid out, or every problem with its place.

mod compile;
pub mod complete;
pub mod error;
pub mod file;
pub mod model;
pub mod obstacle;
pub mod place;
pub mod recover;
pub mod schema;
mod syntax;
pub mod types;
pub mod written;

use std::io;
use std::path::Path;

pub use complete::COMPLETE;
use error::{Problem, Report, Source};
use model::Config;
use obstacle::Purpose;

use crate::files::{self, Kind, Streams, Unreadable};

/// No configuration is larger, in bytes.
const LARGEST: u64 = 1 << 20;

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What it hardly means, in the order of the file.
    pub warnings: Vec<Problem>,
    /// The file, to show the warnings with.
    pub source: Source,
}

/// Everything that can be said about a file by looking at nothing else.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What makes sense of it: complete only if no problem is an error.
    pub partial: Config,
    /// What does not, in no order.
    pub problems: Vec<Problem>,
    /// The file.
    pub source: Source,
}

/// Reads a configuration file.
///
/// # Errors
/// Every problem with its place if there is an error among them. Files that the configuration names are not looked at:
/// see [`crate::tls::certs::load`].
pub fn load(path: &Path) -> Result<Loaded, Report> {
    let reading = read(path)?;
    let report = Report::new(reading.source, reading.problems);
    match report.is_fatal() {
        true => Err(report),
        false => Ok(Loaded { config: reading.partial, warnings: report.problems, source: report.source }),
    }
}

/// Reads a configuration file as far as it makes sense, so that further checks can add their problems.
///
/// # Errors
/// The file could not be read, or is no text.
pub fn read(path: &Path) -> Result<Reading, Report> {
    read_from(path, Streams::Own)
}

fn read_from(path: &Path, streams: Streams) -> Result<Reading, Report> {
    let bytes = bytes(path, streams).map_err(|problem| {
        let source = Source { path: path.to_owned(), text: String::new() };
        Report::new(source, vec![problem])
    })?;
    read_bytes(path, bytes)
}

/// As [`read`], of what the file at `path` has held.
///
/// # Errors
/// It is no text.
pub fn read_bytes(path: &Path, bytes: Vec<u8>) -> Result<Reading, Report> {
    match String::from_utf8(bytes) {
        // Its lines would be shown otherwise, and a key's must not be.
        Ok(text) if text.contains("-----BEGIN ") => {
            let problem =
                Problem::error(None, "this is a PEM file").help("name the configuration, such as xspgate.toml");
            Err(Report::new(Source { path: path.to_owned(), text: String::new() }, vec![problem]))
        }
        Ok(text) => Ok(parse(Source { path: path.to_owned(), text })),
        Err(error) => Err(not_text(path, &error)),
    }
}

/// As [`read`], while a gateway runs: what was a file and is a pipe now, say, is not waited for.
///
/// # Errors
/// As [`read`], and it is no file.
pub fn read_again(path: &Path) -> Result<Reading, Report> {
    read_from(path, Streams::Refused)
}

/// What the file at `path` holds, to find out only whether that has changed.
///
/// # Errors
/// Why it can't be read.
pub fn content(path: &Path) -> Result<Vec<u8>, io::ErrorKind> {
    let read = files::read(path, LARGEST, Streams::Refused);
    read.map(|(bytes, _)| bytes).map_err(|error| error.into_io().kind())
}

/// Reads a configuration's text.
pub fn parse(source: Source) -> Reading {
    let recovered = recover::read(&source);
    let (partial, relations) = compile::compile(&recovered.file, &source, &recovered.gaps);
    let mut problems = recovered.problems;
    problems.extend(relations);
    Reading { partial, problems, source }
}

fn bytes(path: &Path, streams: Streams) -> Result<Vec<u8>, Problem> {
    let failed = |why: io::Error| {
        let start = "`xspgate check --print-defaults` prints a complete file to start from";
        let help =
            obstacle::help(path, &why, Purpose::Reading).map(|help| match why.kind() == io::ErrorKind::NotFound {
                true => format!("{help}; {start}"),
                false => help,
            });
        let problem = Problem::error(None, format!("the file can't be read: {}", error::reason(&why)));
        Problem { help, ..problem }
    };
    files::read(path, LARGEST, streams).map(|(bytes, _)| bytes).map_err(|error| match (error, streams) {
        (Unreadable::System(error), _) => failed(error),
        (Unreadable::TooLarge(_), _) => {
            Problem::error(None, "the file is larger than 1 MiB").help("is it the right one?")
        }
        (Unreadable::NotAFile(Kind::Folder), _) => {
            Problem::error(None, "this is a folder").help("name the file itself, such as xspgate.toml")
        }
        (Unreadable::NotAFile(kind), Streams::Own) => {
            Problem::error(None, format!("this is {kind}, not a file")).help("copy what it holds into a file")
        }
        (Unreadable::NotAFile(kind), Streams::Refused) => {
            Problem::error(None, format!("this is {kind}, not a file, so that it can't be read again"))
                .help("start the gateway with a file, or start it again with that input")
        }
    })
}

fn not_text(path: &Path, error: &std::string::FromUtf8Error) -> Report {
    let (bytes, at) = (error.as_bytes(), error.utf8_error().valid_up_to());
    let source = Source { path: path.to_owned(), text: String::from_utf8_lossy(bytes).into_owned() };
    let problem = match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Problem::error(None, "the file is UTF-16").help("save it as UTF-8"),
        _ => Problem::error(
            at..at + char::REPLACEMENT_CHARACTER.len_utf8(),
            format!("byte 0x{:02x} is not UTF-8", bytes[at]),
        )
        .help("save the file as UTF-8"),
    };
    Report::new(source, vec![problem])
}

#[cfg(test)]
mod tests;
