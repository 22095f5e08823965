//! The gateway as TLS server: each `[[https]]` and `[[cti]]` block has its own configurations, chosen by SNI before any of them
//! answers. Separate from a certificate resolver, because blocks differ in versions, suites, tickets and client authentication,
//! not only in names.

use std::io;
use std::sync::Arc;

use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CommonState, Error, ServerConfig};

use super::certs::{self, Identity};
use super::clients::{ClientVerifier, Fault, Optional, Peer};
use super::hello::{Favourite, Offer};
use super::setup::{SetupError, provider, versions};
use crate::config::model::TlsPolicy;
use crate::config::types::suite::is_chacha20;

/// Whether clients are asked for a certificate, and who judges it.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// They are not.
    None,
    /// They are, and must show one.
    Demanded(Arc<ClientVerifier>),
    /// They are, and may show none, or any; an interface may demand one later.
    Asked(Arc<ClientVerifier>),
}

impl ClientAuth {
    /// Who judges certificates, if any are asked for.
    pub const fn verifier(&self) -> Option<&Arc<ClientVerifier>> {
        match self {
            Self::None => None,
            Self::Demanded(verifier) | Self::Asked(verifier) => Some(verifier),
        }
    }

    /// Who is at the other end of a session of this block's.
    pub fn peer(&self, session: &CommonState) -> Peer {
        match self {
            Self::None => Peer::Nobody,
            Self::Demanded(_) => Peer::verified(session),
            Self::Asked(verifier) => Peer::judged(session, verifier),
        }
    }

    /// Who is at the other end of a session that began by other demands, when these have taken their place; `None`: whoever it
    /// was. Where a certificate is demanded in the handshake, connections that have got through one last.
    pub fn peer_again(&self, before: &Self, session: &CommonState) -> Option<Peer> {
        match (before, self) {
            (Self::None, Self::None) | (Self::Demanded(_), Self::Demanded(_)) => None,
            (Self::Asked(before), Self::Asked(now)) if Arc::ptr_eq(before, now) => None,
            (_, Self::None) => Some(Peer::Nobody),
            (_, Self::Demanded(verifier) | Self::Asked(verifier)) => Some(Peer::judged(session, verifier)),
        }
    }
}

/// What clients of one block get to see. The order of cipher suites is the gateway's, but rustls can't except some clients from
/// it: these have a configuration of their own, which differs in nothing else.
#[derive(Debug)]
pub struct ServerTls {
    /// In the order of `cipher_suites`.
    configured: Arc<ServerConfig>,
    /// The same with ChaCha20 first, for clients that like it best.
    chacha20_first: Arc<ServerConfig>,
}

impl ServerTls {
    /// What a client that offers this is answered with.
    pub const fn for_client(&self, offer: Offer) -> &Arc<ServerConfig> {
        match offer.favourite {
            Favourite::ChaCha20 => &self.chacha20_first,
            Favourite::Other => &self.configured,
        }
    }

    fn new(
        policy: &TlsPolicy,
        identities: &[Arc<Identity>],
        clients: &ClientAuth,
        protocols: &[&[u8]],
    ) -> Result<Self, SetupError> {
        let mut configured = config(policy, identities, clients)?;
        configured.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let mut policy = policy.clone();
        policy.cipher_suites.sort_by_key(|suite| !is_chacha20(*suite));
        let mut chacha20_first = config(&policy, identities, clients)?;
        chacha20_first.alpn_protocols.clone_from(&configured.alpn_protocols);
        // One ticket is good for either.
        chacha20_first.ticketer = Arc::clone(&configured.ticketer);
        Ok(Self { configured: Arc::new(configured), chacha20_first: Arc::new(chacha20_first) })
    }
}

/// What clients of one `[[https]]` block get to see. Tickets can be resumed on every worker, but not in another block, and
/// not at all where client certificates are asked for: a ticket must not stand in for a certificate.
///
/// # Errors
/// See [`SetupError`].
pub fn server_config(
    policy: &TlsPolicy,
    identities: &[Arc<Identity>],
    clients: &ClientAuth,
) -> Result<Arc<ServerTls>, SetupError> {
    Ok(Arc::new(ServerTls::new(policy, identities, clients, &[b"http/1.1"])?))
}

/// What clients of one `[[cti]]` block get to see: they show a certificate in every handshake, and what they speak has no
/// name in ALPN (R-CTI-6).
///
/// # Errors
/// See [`SetupError`].
pub fn cti_server_config(
    policy: &TlsPolicy,
    identities: &[Arc<Identity>],
    clients: Arc<ClientVerifier>,
) -> Result<Arc<ServerTls>, SetupError> {
    Ok(Arc::new(ServerTls::new(policy, identities, &ClientAuth::Demanded(clients), &[])?))
}

fn config(policy: &TlsPolicy, identities: &[Arc<Identity>], clients: &ClientAuth) -> Result<ServerConfig, SetupError> {
    let config = ServerConfig::builder_with_provider(provider(policy))
        .with_protocol_versions(&versions(policy))
        .map_err(SetupError::Policy)?;
    let tickets = matches!(clients, ClientAuth::None);
    let config = match clients {
        ClientAuth::None => config.with_no_client_auth(),
        ClientAuth::Demanded(verifier) => config.with_client_cert_verifier(Arc::clone(verifier) as _),
        ClientAuth::Asked(verifier) => config.with_client_cert_verifier(Arc::new(Optional(Arc::clone(verifier)))),
    };
    let mut config = config.with_cert_resolver(Arc::new(Shown(identities.to_vec())));
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if tickets {
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(SetupError::Tickets)?;
    } else {
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

/// The certificates of a block, the preferred one first.
#[derive(Debug)]
struct Shown(Vec<Arc<Identity>>);

impl ResolvesServerCert for Shown {
    /// The first one that the client can verify. One that knows none gets the first, and the alert that its handshake ends with
    /// says why.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = |shown: &&Arc<Identity>| shown.key.key.choose_scheme(hello.signature_schemes()).is_some();
        Some(self.0.iter().find(fits).or(self.0.first())?.shown_at(certs::now()))
    }
}

/// Why a handshake with a client failed, as a word for logs and metrics.
pub fn refusal(error: &io::Error) -> &'static str {
    match error.get_ref().and_then(|source| source.downcast_ref::<Error>()) {
        Some(Error::PeerIncompatible(_)) => "incompatible",
        Some(Error::AlertReceived(_)) => "alert",
        Some(Error::NoApplicationProtocol) => "no-common-protocol",
        Some(Error::NoCertificatesPresented) => "client-certificate-missing",
        Some(Error::InvalidCertificate(error)) => Fault::of(error).reason(),
        Some(Error::InvalidCertRevocationList(_)) => "client-certificate-unknown-status",
        Some(Error::InvalidMessage(_) | Error::InappropriateMessage { .. }) => "malformed",
        Some(_) => "tls",
        None => "closed",
    }
}
