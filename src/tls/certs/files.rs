//! The files that a configuration names: which section names them, how they look from outside, and what they hold as one
//! number. Separate from reading them, because most of the time the only question is whether they are still the same.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::pem;
use crate::config::error::Problem;
use crate::config::model::Config;
use crate::config::place::Spot;
use crate::files::{Streams, Unreadable, open};

/// The section of the affinity keys.
pub const AFFINITY: &str = "affinity";
/// The section of Webex's ranges.
pub const WEBEX: &str = "webex";

/// Every file that a configuration names, in no order that matters.
#[derive(Clone, Debug)]
pub struct Files(Vec<Named>);

#[derive(Clone, Debug)]
struct Named {
    /// `certificate.public`.
    section: String,
    spot: Spot,
    path: PathBuf,
}

/// How files look from outside: equal as long as nobody has written, replaced or removed one of them, whatever the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamps(Vec<Result<Stamp, ErrorKind>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// The same of the inode: permissions that were repaired change nothing else.
    changed: (i64, i64),
}

/// SHA-256 over a file's bytes. Nothing can be learnt from it, and it is not shown either.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Print([u8; 32]);

/// What each section's files hold, in their order; what can't be read holds nothing.
type Prints = BTreeMap<String, Vec<(PathBuf, Option<Print>)>>;

/// What files were like when they were read.
#[derive(Clone)]
pub struct Reading {
    files: Files,
    stamps: Stamps,
    prints: Prints,
    exposed: Vec<PathBuf>,
}

impl Files {
    /// Those that `config` names.
    pub fn of(config: &Config) -> Self {
        let mut files = Vec::new();
        let mut named = |section: String, spot: Spot, path: &Path| {
            files.push(Named { section, spot, path: path.to_owned() });
        };
        for (name, certificate) in &config.certificates {
            let section = format!("certificate.{name}");
            named(section.clone(), Spot::CertificateChain(name.clone()), &certificate.chain);
            named(section.clone(), Spot::CertificateKey(name.clone()), &certificate.key);
            if let Some(ocsp) = &certificate.ocsp {
                named(section, Spot::CertificateOcsp(name.clone()), ocsp);
            }
        }
        for (name, trust) in &config.trusts {
            let section = format!("trust.{name}");
            named(section.clone(), Spot::TrustCa(name.clone()), &trust.ca);
            if let Some(crl) = &trust.crl {
                named(section, Spot::TrustCrl(name.clone()), crl);
            }
        }
        if let Some(path) = &config.affinity.key_file {
            named(AFFINITY.to_owned(), Spot::AffinityKeyFile, path);
        }
        if let Some(path) = &config.webex_ranges {
            named(WEBEX.to_owned(), Spot::WebexRanges, path);
        }
        Self(files)
    }

    /// How they look now; symbolic links are followed, and a missing file looks like one.
    pub fn stamps(&self) -> Stamps {
        Stamps(self.0.iter().map(|named| stamp(&named.path)).collect())
    }

    /// The section and the file that a problem of `config` is about.
    pub fn origin(&self, config: &Config, problem: &Problem) -> Option<(&str, &Path)> {
        let span = problem.span.as_ref()?;
        let is_there = |spot: &Spot| config.places.of(spot).as_ref() == Some(span);
        let served =
            config.https.iter().enumerate().find(|(block, https)| {
                (0..https.hosts.len()).any(|host| is_there(&Spot::Host { block: *block, host }))
            });
        // What is said of a host is said of the certificate that should name it.
        let chain =
            served.and_then(|(_, https)| Some(Spot::CertificateChain(https.certificates.first()?.name.clone())));
        let named = self.0.iter().find(|named| is_there(&named.spot) || Some(&named.spot) == chain.as_ref())?;
        Some((&named.section, &named.path))
    }

    /// The files of keys that every user may read.
    fn exposed(&self) -> Vec<PathBuf> {
        let keys = self.0.iter().filter(|named| matches!(named.spot, Spot::CertificateKey(_) | Spot::AffinityKeyFile));
        let exposed = keys.filter(|named| pem::is_exposed(&named.path));
        exposed.map(|named| named.path.clone()).collect()
    }

    fn prints(&self) -> Prints {
        let mut sections = Prints::new();
        for Named { section, path, .. } in &self.0 {
            sections.entry(section.clone()).or_default().push((path.clone(), print(path).ok()));
        }
        sections
    }
}

fn stamp(path: &Path) -> Result<Stamp, ErrorKind> {
    let stamp = |metadata: fs::Metadata| Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    };
    fs::metadata(path).map(stamp).map_err(|error| error.kind())
}

/// Of a file's bytes, as far as they would be read. What is no file has none: a pipe is not waited for.
fn print(path: &Path) -> io::Result<Print> {
    let (file, _) = open(path, Streams::Refused).map_err(Unreadable::into_io)?;
    let mut file = file.take(pem::LARGEST_LIST + 1);
    let (mut piece, mut context) = ([0; 16 * 1024], Context::new(&SHA256));
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(Print(context.finish().as_ref().try_into().expect("SHA-256 is 32 bytes"))),
            Ok(read) => context.update(&piece[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Reading {
    /// What the files that `config` names are like now. To be taken before they are read: what changes in between then
    /// shows later, instead of never.
    pub fn now(config: &Config) -> Self {
        let files = Files::of(config);
        Self { stamps: files.stamps(), prints: files.prints(), exposed: files.exposed(), files }
    }

    /// Whether they still hold the same bytes, and keys are as secret as they were.
    pub fn is_current(&self) -> bool {
        self.files.prints() == self.prints && self.files.exposed() == self.exposed
    }

    /// Which files these are.
    pub const fn files(&self) -> &Files {
        &self.files
    }

    /// How they looked.
    pub const fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// Whether a section's files, such as those of `certificate.public`, held the same bytes in `other`.
    pub fn agrees(&self, other: &Self, section: &str) -> bool {
        self.prints.get(section) == other.prints.get(section)
    }

    /// Whether one of these files, whichever, held what the file at `path` held in `other`.
    pub fn holds_the_bytes_of(&self, path: &Path, other: &Self) -> bool {
        let mut theirs = other.prints.values().flatten();
        let wanted = theirs.find_map(|(known, print)| (known == path).then_some(*print)).flatten();
        wanted.is_some() && self.prints.values().flatten().any(|(_, print)| *print == wanted)
    }

    /// The sections whose files held other bytes in `other`.
    pub fn changed<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a str> {
        self.prints.keys().map(String::as_str).filter(|section| !self.agrees(other, section))
    }
}
