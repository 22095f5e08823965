//! What both sides are set up with: versions, suites and groups as rustls knows them. Separate from either side, which then
//! need not know of the other.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

use crate::config::model::{TlsPolicy, TlsVersion};

/// Why a TLS side can't be set up. Configuration is checked before, so this speaks of combinations.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// rustls refuses the versions, suites and groups together.
    #[error("these TLS versions, cipher suites and groups don't work together")]
    Policy(#[source] rustls::Error),
    /// The name can't be verified.
    #[error("{0:?} is no name that a certificate can prove")]
    Name(String),
    /// No CA could have signed what a client shows.
    #[error("none of these certification authorities can verify clients")]
    NoAuthority,
    /// What was revoked is not known.
    #[error("a certificate revocation list can't be used")]
    RevocationList(#[source] webpki::Error),
    /// No session tickets.
    #[error("no keys for session tickets")]
    Tickets(#[source] rustls::Error),
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
