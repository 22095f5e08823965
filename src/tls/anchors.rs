//! CAs that are believed by themselves while they are valid, and what they have revoked. Separate from the verifiers of both
//! sides, which share it: webpki believes an anchor for ever, and when a file was read must not decide whom it admits.

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, ExpirationPolicy, OwnedCertRevocationList, RevocationCheckDepth, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};

use super::certs::{Anchor, Authorities};
use super::setup::SetupError;
use crate::config::model::CrlOverdue;

/// CAs that a path may end at.
#[derive(Debug)]
pub(super) struct Anchors {
    anchors: Vec<TrustAnchor<'static>>,
    /// From when to when each of them is valid.
    validity: Vec<(UnixTime, UnixTime)>,
    /// Each of them as it stands in its file.
    ders: Vec<CertificateDer<'static>>,
}

/// What the CAs have revoked.
#[derive(Debug)]
pub(super) struct Revocations {
    choices: Vec<Vec<CertRevocationList<'static>>>,
    overdue: ExpirationPolicy,
}

impl Anchors {
    pub(super) fn new(anchors: &[Anchor]) -> Self {
        Self {
            anchors: anchors.iter().map(|anchor| anchor.anchor.clone()).collect(),
            validity: anchors.iter().map(|anchor| (anchor.not_before, anchor.not_after)).collect(),
            ders: anchors.iter().map(|anchor| anchor.der.clone()).collect(),
        }
    }

    /// All of them, valid or not.
    pub(super) fn all(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// Whether the one that `path` ends at is valid.
    pub(super) fn admit(&self, path: &VerifiedPath<'_>, now: UnixTime) -> Result<(), webpki::Error> {
        let mut anchors = self.anchors.iter().zip(&self.validity);
        match anchors.find(|(anchor, _)| std::ptr::eq(*anchor, path.anchor())) {
            Some((_, validity)) => valid(validity, now),
            None => Err(webpki::Error::UnknownIssuer),
        }
    }

    /// Whether `certificate` itself is one of them, byte for byte, and valid; `None`: it is none of them.
    pub(super) fn holds(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Option<Result<(), webpki::Error>> {
        let index = self.ders.iter().position(|der| der == certificate)?;
        self.validity.get(index).map(|validity| valid(validity, now))
    }
}

fn valid(&(not_before, not_after): &(UnixTime, UnixTime), now: UnixTime) -> Result<(), webpki::Error> {
    if now < not_before {
        return Err(webpki::Error::CertNotValidYet { time: now, not_before });
    }
    if now > not_after {
        return Err(webpki::Error::CertExpired { time: now, not_after });
    }
    Ok(())
}

impl Revocations {
    /// # Errors
    /// A list can't be read; [`super::certs::load`] has looked.
    pub(super) fn new(authorities: &Authorities, overdue: CrlOverdue) -> Result<Self, SetupError> {
        let read = |list: &rustls::pki_types::CertificateRevocationListDer<'_>| {
            OwnedCertRevocationList::from_der(list).map(CertRevocationList::from).map_err(SetupError::RevocationList)
        };
        let choices = authorities.revoked.iter().map(|lists| lists.iter().map(read).collect());
        let overdue = match overdue {
            CrlOverdue::Accept => ExpirationPolicy::Ignore,
            CrlOverdue::Refuse => ExpirationPolicy::Enforce,
        };
        Ok(Self { choices: choices.collect::<Result<_, _>>()?, overdue })
    }

    /// Whether nothing is revoked.
    pub(super) const fn is_empty(&self) -> bool {
        self.choices.is_empty()
    }

    /// The sets of lists of which any one decides.
    pub(super) fn choices(&self) -> impl Iterator<Item = Vec<&CertRevocationList<'_>>> {
        self.choices.iter().map(|lists| lists.iter().collect())
    }

    /// What is demanded of a path, given one of the choices.
    pub(super) fn options<'a>(
        &self,
        lists: &'a [&'a CertRevocationList<'a>],
        depth: RevocationCheckDepth,
        unknown: UnknownStatusPolicy,
    ) -> Option<RevocationOptions<'a>> {
        // It fails for want of lists only.
        let options = RevocationOptionsBuilder::new(lists).ok()?;
        Some(options.with_depth(depth).with_status_policy(unknown).with_expiration_policy(self.overdue).build())
    }
}
