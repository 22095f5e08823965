//! Whether a client's certificate is what `client_trust` and its companions demand (R-CTI-1, R-CTI-2, R-AUTH-2). Separate from
//! rustls' own verifier, which knows no names of clients, no depth, no purposes but one, and believes a CA for ever.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage, RequiredEkuNotFoundContext,
    RevocationCheckDepth, RevocationOptions, UnknownStatusPolicy, VerifiedPath,
};

use self::refusal::{refused, too_deep};
use super::anchors::{Anchors, Revocations};
use super::certs::{self, Authorities};
use super::peer::{self, Credentials};
use super::setup::{SetupError, provider};
use crate::config::model::{ClientPurpose, Clients, TlsPolicy};

mod optional;
mod proved;
mod refusal;
mod shown;
mod watch;

pub(super) use self::optional::Optional;
pub use self::proved::Peer;
pub use self::refusal::Fault;
pub use self::shown::Shown;
pub use self::watch::{TrustWatch, Trusted};

/// A chain has at most so many certificates between the client's own and the CA that is believed (R-CTI-1).
const INTERMEDIATES: usize = 2;
/// Certificates of a client's that could be part of its chain. Every order of them may have to be tried, so that more
/// than a few would be work for the gateway and none for the client.
const HELPERS: usize = 4;
/// Certificates that a client sends besides its own.
const SENT: usize = 16;

/// TLS client authentication (RFC 5280 section 4.2.1.12), as the content of a DER object identifier.
const CLIENT_AUTH: [u8; 8] = [0x2b, 6, 1, 5, 5, 7, 3, 2];
/// anyExtendedKeyUsage, the same way.
const ANY_USAGE: [u8; 4] = [0x55, 0x1d, 0x25, 0];

/// Verifies the certificates of clients.
#[derive(Debug)]
pub struct ClientVerifier {
    anchors: Anchors,
    intermediates: Vec<CertificateDer<'static>>,
    /// The CAs' subjects, those that are valid for longest first.
    subjects: Vec<DistinguishedName>,
    /// When the CAs of these expire, in seconds since 1970.
    ends: Vec<i64>,
    revocations: Revocations,
    names: Vec<String>,
    purpose: ClientPurpose,
    usages: Vec<Vec<u8>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    /// Believes `authorities`, and demands what `demand` says.
    ///
    /// # Errors
    /// There is no CA that a chain could end at, or a revocation list can't be read; [`super::certs::load`] has looked.
    pub fn new(authorities: &Authorities, demand: &Clients, policy: &TlsPolicy) -> Result<Arc<Self>, SetupError> {
        if authorities.anchors.is_empty() {
            return Err(SetupError::NoAuthority);
        }
        let (ends, subjects) = authorities.subjects.iter().cloned().unzip();
        Ok(Arc::new(Self {
            anchors: Anchors::new(&authorities.anchors),
            intermediates: authorities.intermediates.clone(),
            subjects,
            ends,
            revocations: Revocations::new(authorities, demand.trust.crl_overdue)?,
            names: demand.names.clone(),
            purpose: demand.purpose,
            usages: demand.eku.iter().map(|usage| usage.der.clone()).collect(),
            algorithms: provider(policy).signature_verification_algorithms,
        }))
    }

    /// What may stand between `leaf` and an anchor: certificates of the bundle, and those of the client that its chain
    /// could run through.
    fn helpers<'a>(
        &'a self,
        leaf: &EndEntityCert<'_>,
        sent: &'a [CertificateDer<'_>],
    ) -> Result<Vec<CertificateDer<'a>>, Error> {
        if sent.len() > SENT {
            return Err(too_deep());
        }
        let mut left: Vec<_> = sent
            .iter()
            .filter(|der| !self.intermediates.iter().any(|known| known[..] == der[..]))
            .filter_map(|der| Some((der, EndEntityCert::try_from(der).ok()?)))
            .collect();
        let mut issuers = vec![leaf.issuer().to_vec()];
        let mut helpers: Vec<CertificateDer<'a>> = Vec::new();
        while let Some(at) = left.iter().position(|(_, helper)| issuers.iter().any(|name| name == helper.subject())) {
            let (der, helper) = left.swap_remove(at);
            issuers.push(helper.issuer().to_vec());
            if !helpers.iter().any(|known| known[..] == der[..]) {
                helpers.push(CertificateDer::from(&der[..]));
            }
        }
        if helpers.len() > HELPERS {
            return Err(too_deep());
        }
        // A chain can run from the client's certificates into the bundle's, and from those nowhere else.
        helpers.extend(self.intermediates.iter().map(|der| CertificateDer::from(&der[..])));
        Ok(helpers)
    }

    /// Whether a chain leads from `leaf` to an anchor, and nothing on it is revoked.
    fn chain(&self, leaf: &EndEntityCert<'_>, helpers: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let revocations = &self.revocations;
        if revocations.is_empty() {
            return self.path(leaf, helpers, now, None);
        }
        let mut refusals = Vec::new();
        for lists in revocations.choices() {
            // Of an intermediate, a list is consulted if there is one; of the client itself, there must be one.
            let known = revocations.options(&lists, RevocationCheckDepth::Chain, UnknownStatusPolicy::Allow);
            let covered = revocations.options(&lists, RevocationCheckDepth::EndEntity, UnknownStatusPolicy::Deny);
            let verdict = self.path(leaf, helpers, now, known).and_then(|()| self.path(leaf, helpers, now, covered));
            match verdict {
                Err(error) if is_open(&error) => refusals.push(error),
                verdict => return verdict,
            }
        }
        // No list is at fault if the certificate fits no CA.
        refusals.sort_by_key(|refusal| matches!(refusal, Error::InvalidCertRevocationList(_)));
        Err(refusals.into_iter().next().unwrap_or(CertificateError::UnknownRevocationStatus.into()))
    }

    fn path(
        &self,
        leaf: &EndEntityCert<'_>,
        helpers: &[CertificateDer<'_>],
        now: UnixTime,
        revocation: Option<RevocationOptions<'_>>,
    ) -> Result<(), Error> {
        let admitted = |path: &VerifiedPath<'_>| self.admits(path, now);
        let algorithms = self.algorithms.all;
        leaf.verify_for_usage(algorithms, self.anchors.all(), helpers, now, self, revocation, Some(&admitted))
            .map(|_| ())
            .map_err(|error| refused(error, leaf))
    }

    /// What webpki leaves open about a path: its length, and whether its anchor is valid.
    fn admits(&self, path: &VerifiedPath<'_>, now: UnixTime) -> Result<(), webpki::Error> {
        if path.intermediate_certificates().count() > INTERMEDIATES {
            return Err(webpki::Error::MaximumPathDepthExceeded);
        }
        self.anchors.admit(path, now)
    }

    /// The verdict on a certificate.
    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let leaf = EndEntityCert::try_from(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        let helpers = self.helpers(&leaf, intermediates)?;
        self.chain(&leaf, &helpers, now)?;
        // Only now is it anything but a stranger's bytes.
        let credentials = peer::credentials(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        if !self.meant(&credentials) {
            return Err(CertificateError::InvalidPurpose.into());
        }
        if !self.named(&credentials) {
            return Err(CertificateError::NotValidForName.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    /// The subjects of the CAs that have not expired.
    fn hints(&self, now: i64) -> &[DistinguishedName] {
        &self.subjects[..self.ends.partition_point(|end| *end >= now)]
    }

    /// Whether the certificate is meant for what it is shown for.
    fn meant(&self, credentials: &Credentials) -> bool {
        let holds = |usage: &[u8]| credentials.usages.iter().flatten().any(|held| held == usage);
        let client = match self.purpose {
            ClientPurpose::Any => true,
            ClientPurpose::ClientAuth => credentials.usages.is_none() || holds(&CLIENT_AUTH),
        };
        client && self.usages.iter().all(|usage| holds(usage))
    }

    /// Whether the certificate names one of those that may come.
    fn named(&self, credentials: &Credentials) -> bool {
        let mut given = credentials.common_name.iter().chain(&credentials.dns_names);
        self.names.is_empty() || given.any(|name| self.names.iter().any(|known| known.eq_ignore_ascii_case(name)))
    }
}

/// Whether other lists may lead to another verdict: what is wrong with the signatures of a path may be no more than that it
/// was held against the key or the lists of another CA of that name. A verdict for the peer always stands, since every
/// signature on its way fits then, those of the lists included.
pub(super) const fn is_open(refusal: &Error) -> bool {
    use CertificateError::{BadSignature, UnknownIssuer, UnknownRevocationStatus};
    matches!(
        refusal,
        Error::InvalidCertRevocationList(_)
            | Error::InvalidCertificate(BadSignature | UnknownIssuer | UnknownRevocationStatus)
    )
}

/// Judges every certificate of a path. CAs may be good for anything; the client's own is looked at again by
/// `meant`, which is stricter.
impl ExtendedKeyUsageValidator for ClientVerifier {
    fn validate(&self, usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        match self.purpose {
            ClientPurpose::Any => return Ok(()),
            ClientPurpose::ClientAuth => {}
        }
        let mut present = Vec::new();
        for usage in usages {
            let usage = usage?;
            if [&CLIENT_AUTH[..], &ANY_USAGE].into_iter().any(|fit| usage == KeyPurposeId::new(fit)) {
                return Ok(());
            }
            present.push(usage.to_decoded_oid());
        }
        if present.is_empty() {
            return Ok(());
        }
        let required = KeyUsage::client_auth();
        Err(webpki::Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext { required, present }))
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.hints(certs::now())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(end_entity, intermediates, now).inspect_err(|_| shown::note(end_entity))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests;
