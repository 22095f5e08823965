//! The gateway as TLS client of a farm. Separate from the server's side, because whom to believe is the whole question here.

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::{IpAddr, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, CommonState, Error, HandshakeKind, RootCertStore, SignatureScheme};

use self::verifier::XspVerifier;
use super::certs::Authorities;
use super::setup::{SetupError, provider, versions};
use crate::config::model::{Farm, Speaks};

mod verifier;

/// Sessions that are remembered for one endpoint.
const SESSIONS: usize = 16;

/// What all connections to one farm's XSPs have in common.
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: ClientConfig,
    name: ServerName<'static>,
    /// `None`: nobody shakes hands there.
    verifier: Option<Arc<XspVerifier>>,
}

impl ClientTls {
    /// Trust in `authorities`, as far as they have revoked nothing (none for a farm that nobody shakes hands with), and
    /// `identity` for an XSP that asks.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub fn new(
        farm: &Farm,
        authorities: Option<&Authorities>,
        identity: Option<Arc<CertifiedKey>>,
    ) -> Result<Self, SetupError> {
        let name = match &farm.proof {
            Some(proof) => {
                let name = &proof.server_name;
                ServerName::try_from(name.clone()).map_err(|_| SetupError::Name(name.clone()))?
            }
            // Nobody shakes hands there; without roots, nobody could.
            None => ServerName::IpAddress(IpAddr::V4([0; 4].into())),
        };
        let provider = provider(&farm.tls);
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions(&farm.tls))
            .map_err(SetupError::Policy)?;
        let verifier = match authorities.zip(farm.proof.as_ref()) {
            Some((authorities, proof)) => Some(XspVerifier::new(authorities, &proof.trust, &provider)?),
            None => None,
        };
        let config = match &verifier {
            Some(verifier) => config.dangerous().with_custom_certificate_verifier(Arc::<XspVerifier>::clone(verifier)),
            None => config.with_root_certificates(RootCertStore::empty()),
        };
        let mut config = match identity {
            Some(identity) => config.with_client_cert_resolver(Arc::new(Shown(identity))),
            None => config.with_no_client_auth(),
        };
        if farm.proof.as_ref().is_some_and(|proof| proof.speaks == Speaks::Http) {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
        }
        Ok(Self { config, name, verifier })
    }

    /// The name that an XSP's certificate must prove (R-TLS-4).
    pub const fn name(&self) -> &ServerName<'static> {
        &self.name
    }

    /// Holds the certificate of a session that was resumed against the clock: rustls verifies it in full handshakes alone, and
    /// what has been good once would be good for as long as tickets are renewed.
    ///
    /// # Errors
    /// As in a full handshake.
    pub fn verify_resumed(&self, session: &CommonState) -> Result<(), Error> {
        let (Some(verifier), Some(HandshakeKind::Resumed)) = (&self.verifier, session.handshake_kind()) else {
            return Ok(());
        };
        let shown = session.peer_certificates().and_then(<[_]>::split_first);
        let (leaf, chain) = shown.ok_or(Error::NoCertificatesPresented)?;
        verifier.verify_server_cert(leaf, chain, &self.name, &[], UnixTime::now()).map(|_| ())
    }

    /// Why the certificate was refused in whose handshake the calling thread has just been, in words; `None`: it was not.
    pub fn take_refusal() -> Option<String> {
        verifier::take_refusal()
    }

    /// A configuration for one endpoint, with sessions of its own: an XSP can't resume what another has begun.
    pub fn for_endpoint(&self) -> Arc<ClientConfig> {
        let mut config = self.config.clone();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Arc::new(config)
    }
}

/// One identity, whatever the XSP's list of CAs says.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _root_hint_subjects: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
