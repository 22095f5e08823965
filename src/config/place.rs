//! Where in the file the values stand that are only checked later, against other files. Separate from the model, because
//! where a value stands says nothing about what it means.

use std::collections::BTreeMap;
use std::ops::Range;

/// A value that a later check may complain about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spot {
    /// `chain` of `[certificate.NAME]`.
    CertificateChain(String),
    /// `key` of `[certificate.NAME]`.
    CertificateKey(String),
    /// `ocsp` of `[certificate.NAME]`.
    CertificateOcsp(String),
    /// `ca` of `[trust.NAME]`.
    TrustCa(String),
    /// `crl` of `[trust.NAME]`.
    TrustCrl(String),
    /// `key_file` of `[affinity]`.
    AffinityKeyFile,
    /// `ranges` of `[webex]`.
    WebexRanges,
    /// `access_file` of `[log]`.
    AccessFile,
    /// `socket` of `[control]`.
    ControlSocket,
    /// `state_dir`.
    StateDir,
    /// A host of an `[[https]]` block.
    Host {
        /// The block's place in [`super::model::Config::https`].
        block: usize,
        /// The host's place in [`super::model::Https::hosts`].
        host: usize,
    },
}

/// The places of [`Spot`]s in the file. All are equal: two configurations that say the same are the same, however they
/// are laid out.
#[derive(Clone, Debug, Default)]
pub struct Places(BTreeMap<Spot, Range<usize>>);

impl Places {
    /// Notes where a value stands.
    pub fn note(&mut self, spot: Spot, span: Range<usize>) {
        self.0.insert(spot, span);
    }

    /// Where a value stands; `None` if the configuration was not read from a file.
    pub fn of(&self, spot: &Spot) -> Option<Range<usize>> {
        self.0.get(spot).cloned()
    }
}

impl PartialEq for Places {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Places {}
