//! The last good answers in `state_dir`, so that a restart during an outage of DNS finds its XSPs. Separate from the names'
//! types, because the file outlives the program that wrote it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::names::{Denied, LastGood};
use super::resolve::{Question, RecordKind, Records};
use crate::config::obstacle::{self, Purpose};
use crate::policy::srv::Target;
use crate::telemetry::Causes;

/// The file's name within `state_dir`.
pub const FILE: &str = "discovery.json";
/// The layout of the file; another one is not read.
const VERSION: u32 = 1;
/// A larger file is not ours.
const MAX_SIZE: u64 = 4 << 20;

/// What keeps the last good answers from being read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file system's word.
    #[error("the file can't be read or written")]
    Io(#[from] io::Error),
    /// Not the JSON that it should be.
    #[error("the file is broken")]
    Broken(#[from] serde_json::Error),
    /// Written by another version of this program.
    #[error("the file has layout {0}, not {VERSION}")]
    Version(u32),
    /// Larger than any that this program writes.
    #[error("the file is too large ({0} bytes)")]
    TooLarge(u64),
}

impl StateError {
    /// What to do about it, if that can be said of the folder `dir`.
    pub(super) fn help(&self, dir: &Path, purpose: Purpose) -> Option<String> {
        match self {
            Self::Io(error) => obstacle::help(&dir.join(FILE), error, purpose),
            Self::Broken(_) | Self::Version(_) | Self::TooLarge(_) => None,
        }
    }
}

/// The last good answers to every question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers(pub(super) BTreeMap<Question, LastGood>);

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    names: Vec<Name>,
}

/// Read before the rest, whose shape may have changed.
#[derive(Deserialize)]
struct Layout {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Name {
    name: String,
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<IpAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    targets: Vec<SavedTarget>,
    /// DNS said after the last good answer that there is no such record.
    #[serde(default)]
    denied: bool,
    /// And that the service is not offered.
    #[serde(default, skip_serializing_if = "is_false")]
    no_service: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(word: &bool) -> bool {
    !word
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Kind {
    A,
    Aaaa,
    Srv,
}

#[derive(Serialize, Deserialize)]
struct SavedTarget {
    priority: u16,
    weight: u16,
    port: u16,
    name: String,
}

/// The last good answers that [`save`] wrote into `dir`; none if there is no such file.
///
/// # Errors
/// When the file can't be read, is broken, too large, or of another layout. The caller goes on without it.
pub(super) fn load(dir: &Path) -> Result<Answers, StateError> {
    let path = dir.join(FILE);
    let bytes = match std::fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Answers::default()),
        Err(error) => return Err(error.into()),
        // A pipe would be waited for.
        Ok(metadata) if !metadata.is_file() => return Err(io::Error::from(io::ErrorKind::InvalidInput).into()),
        Ok(metadata) if metadata.len() > MAX_SIZE => return Err(StateError::TooLarge(metadata.len())),
        Ok(_) => std::fs::read(&path)?,
    };
    Answers::parse(&bytes)
}

impl Answers {
    /// What [`Answers::text`] wrote.
    ///
    /// # Errors
    /// When it is broken, or of another layout.
    pub fn parse(text: &[u8]) -> Result<Self, StateError> {
        let layout: Layout = serde_json::from_slice(text)?;
        if layout.version != VERSION {
            return Err(StateError::Version(layout.version));
        }
        let file: File = serde_json::from_slice(text)?;
        Ok(Self(file.names.into_iter().map(Name::into_last_good).collect()))
    }

    /// All of them as text.
    pub fn text(&self) -> String {
        let names = self.0.iter().map(|(question, good)| Name::of(question, good)).collect();
        serde_json::to_string_pretty(&File { version: VERSION, names }).expect("names are text, and numbers are JSON's")
    }
}

/// Writes the last good answers into `dir`, which is made if need be: whole or not at all.
///
/// # Errors
/// The file system's.
fn save(dir: &Path, answers: &Answers) -> Result<(), StateError> {
    std::fs::create_dir_all(dir)?;
    let draft = dir.join(format!(".{FILE}.{}", std::process::id()));
    let written = write_whole(&draft, answers.text().as_bytes()).and_then(|()| std::fs::rename(&draft, dir.join(FILE)));
    if written.is_err() {
        // A draft that can't be removed either harms nobody: no one reads it.
        let _ = std::fs::remove_file(&draft);
    }
    Ok(written?)
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Saves whatever is sent, off the runtime's thread, the newest only. Ends, with the last one saved, when the sender is
/// dropped.
pub(super) async fn keep(dir: PathBuf, mut answers: watch::Receiver<Answers>) {
    while answers.changed().await.is_ok() {
        let newest = answers.borrow_and_update().clone();
        let target = dir.clone();
        let saving = move || {
            let saved = save(&target, &newest);
            saved.map_err(|error| (error.help(&target, Purpose::Writing), error))
        };
        if let Ok(Err((help, error))) = tokio::task::spawn_blocking(saving).await {
            let error = Causes(&error);
            tracing::warn!(dir = %dir.display(), %error, help, "the last good DNS answers can't be saved");
        }
    }
}

impl Name {
    fn of(question: &Question, good: &LastGood) -> Self {
        let kind = match question.kind {
            RecordKind::A => Kind::A,
            RecordKind::Aaaa => Kind::Aaaa,
            RecordKind::Srv => Kind::Srv,
        };
        let records = good.records.as_ref();
        Self {
            name: question.name.to_string(),
            kind,
            addresses: records.map_or_else(Vec::new, |records| records.addresses().to_vec()),
            targets: records.map_or(&[][..], Records::targets).iter().map(SavedTarget::of).collect(),
            denied: good.denied != Denied::No,
            no_service: good.denied == Denied::NoService,
        }
    }

    fn into_last_good(self) -> (Question, LastGood) {
        let (kind, records) = match self.kind {
            Kind::A => (RecordKind::A, Records::Addresses(self.addresses)),
            Kind::Aaaa => (RecordKind::Aaaa, Records::Addresses(self.addresses)),
            Kind::Srv => {
                let targets = self.targets.iter().filter_map(SavedTarget::as_target).collect();
                (RecordKind::Srv, Records::Targets(targets))
            }
        };
        let denied = match (self.denied, self.no_service) {
            (true, true) => Denied::NoService,
            (true, false) => Denied::Yes,
            (false, _) => Denied::No,
        };
        let records = (!records.is_empty()).then_some(records);
        (Question::new(&self.name, kind), LastGood { records, denied })
    }
}

impl SavedTarget {
    fn of(target: &Target) -> Self {
        let Target { priority, weight, port, ref name } = *target;
        Self { priority, weight, port, name: name.to_string() }
    }

    fn as_target(&self) -> Option<Target> {
        Target::new(self.priority, self.weight, self.port, &self.name)
    }
}
