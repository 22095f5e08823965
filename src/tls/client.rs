//! The gateway as TLS client of a farm. Apart from the server's side, because whom to believe is the whole question here.

use std::sync::Arc;

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{IpAddr, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};

use crate::config::model::{Farm, Speaks, TlsPolicy, TlsVersion};

/// Sessions that are remembered for one endpoint.
const SESSIONS: usize = 16;

/// Why a TLS side can't be set up. Configuration is checked before, so this speaks of combinations.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// rustls refuses the versions, suites and groups together.
    #[error("these TLS versions, cipher suites and groups don't work together")]
    Policy(#[source] rustls::Error),
    /// The name can't be verified.
    #[error("{0:?} is no name that a certificate can prove")]
    Name(String),
    /// The CAs can't be used.
    #[error("these certification authorities can't verify clients")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    /// No session tickets.
    #[error("no keys for session tickets")]
    Tickets(#[source] rustls::Error),
}

/// What all connections to one farm's XSPs have in common.
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: ClientConfig,
    name: ServerName<'static>,
}

impl ClientTls {
    /// Trust in `roots`, and `identity` for an XSP that asks.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub fn new(
        farm: &Farm,
        roots: Arc<RootCertStore>,
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
        let config = ClientConfig::builder_with_provider(provider(&farm.tls))
            .with_protocol_versions(&versions(&farm.tls))
            .map_err(SetupError::Policy)?
            .with_root_certificates(roots);
        let mut config = match identity {
            Some(identity) => config.with_client_cert_resolver(Arc::new(Shown(identity))),
            None => config.with_no_client_auth(),
        };
        if farm.proof.as_ref().is_some_and(|proof| proof.speaks == Speaks::Http) {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
        }
        Ok(Self { config, name })
    }

    /// The name that an XSP's certificate must prove (R-TLS-4).
    pub const fn name(&self) -> &ServerName<'static> {
        &self.name
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

/// aws-lc-rs with the suites and groups of `policy`.
pub(super) fn provider(policy: &TlsPolicy) -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    let known = rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;
    provider.cipher_suites = policy
        .cipher_suites
        .iter()
        .filter_map(|wanted| known.iter().find(|suite| suite.suite() == *wanted))
        .copied()
        .collect();
    let known = rustls::crypto::aws_lc_rs::ALL_KX_GROUPS;
    provider.kx_groups =
        policy.groups.iter().filter_map(|wanted| known.iter().find(|group| group.name() == *wanted)).copied().collect();
    Arc::new(provider)
}

pub(super) fn versions(policy: &TlsPolicy) -> Vec<&'static rustls::SupportedProtocolVersion> {
    let known = [(TlsVersion::Tls13, &rustls::version::TLS13), (TlsVersion::Tls12, &rustls::version::TLS12)];
    let wanted = policy.min_version..=policy.max_version;
    known.into_iter().filter(|(version, _)| wanted.contains(version)).map(|(_, version)| version).collect()
}
