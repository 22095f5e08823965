//! The last good answers in `state_dir`, so that a restart during an outage of DNS finds its XSPs. Separate from the names'
//! types, because the file outlives the program that wrote it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::names::{Denied, LastGood};
use super::resolve::{Question, RecordKind, Records};
use super::status::DiscoveryStatus;
use crate::config::obstacle::{self, Purpose};
use crate::files::{self, Streams, Unreadable};
use crate::policy::srv::Target;
use crate::telemetry::Causes;

/// The file's name within `state_dir`.
pub const FILE: &str = "discovery.json";
/// The layout of the file; another one is not read.
const VERSION: u32 = 1;
/// How soon a write that has failed is tried again, the first time and at the latest.
const AGAIN: Duration = Duration::from_secs(1);
const AT_LEAST_EVERY: Duration = Duration::from_secs(60);
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
    /// Something else, or larger than any that this program writes.
    #[error("the file can't be used: {0}")]
    Unusable(Unreadable),
}

impl StateError {
    /// What to do about it, if that can be said of the folder `dir`.
    pub(super) fn help(&self, dir: &Path, purpose: Purpose) -> Option<String> {
        match self {
            Self::Io(error) => obstacle::help(&dir.join(FILE), error, purpose),
            Self::Broken(_) | Self::Version(_) | Self::Unusable(_) => None,
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
    match files::read(&dir.join(FILE), MAX_SIZE, Streams::Refused) {
        Ok((bytes, _)) => Answers::parse(&bytes),
        Err(Unreadable::System(error)) if error.kind() == io::ErrorKind::NotFound => Ok(Answers::default()),
        Err(Unreadable::System(error)) => Err(error.into()),
        Err(error) => Err(StateError::Unusable(error)),
    }
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
    // What a process of the same number has left behind, or anything else that would be waited for.
    let _ = std::fs::remove_file(path);
    let mut file = std::fs::File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Saves whatever is sent, off the runtime's thread, the newest only. What can't be saved is tried again until it can. Ends,
/// with the last one saved, when the sender is dropped.
pub(super) async fn keep(dir: PathBuf, mut answers: watch::Receiver<Answers>, status: DiscoveryStatus) {
    // How long it is until the next try, if one has failed.
    let mut pause: Option<Duration> = None;
    loop {
        let retry = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        let goes_on = tokio::select! {
            changed = answers.changed() => changed.is_ok(),
            () = retry => true,
        };
        if !goes_on && pause.is_none() {
            return;
        }
        let newest = answers.borrow_and_update().clone();
        let target = dir.clone();
        let saving = move || {
            let saved = save(&target, &newest);
            // Looking at folders may take as long as writing to them.
            saved.map_err(|error| (error.help(&target, Purpose::Writing), error))
        };
        match tokio::task::spawn_blocking(saving).await {
            Ok(Err((help, error))) => {
                if pause.is_none() {
                    tell_of_failure(&dir, help, &error);
                }
                pause = Some(pause.map_or(AGAIN, |pause| (pause * 2).min(AT_LEAST_EVERY)));
            }
            Ok(Ok(())) if pause.take().is_some() => {
                tracing::info!(file.path = %dir.join(FILE).display(), "the last good DNS answers are saved again");
            }
            // A panic has been logged.
            Ok(Ok(())) | Err(_) => {}
        }
        status.saved(if pause.is_some() { Err(()) } else { Ok(()) });
        if !goes_on {
            return;
        }
    }
}

fn tell_of_failure(dir: &Path, help: Option<String>, error: &StateError) {
    let (file, error) = (dir.join(FILE), Causes(error));
    tracing::warn!(
        file.path = %file.display(),
        error.message = %error,
        help,
        "the last good DNS answers can't be saved: a restart during a DNS outage would not find the XSPs; the gateway tries again"
    );
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
