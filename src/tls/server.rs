//! The gateway as TLS server: each `[[https]]` and `[[cti]]` block has its own configurations, chosen by SNI before any of them
//! answers. Separate from a certificate resolver, because blocks differ in versions, suites, tickets and client authentication,
//! not only in names.

use std::io;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CommonState, Error, ServerConfig};

use super::certs::{self, Identity};
use super::clients::{ClientVerifier, Fault, Optional, Peer};
use super::hello::{Favourite, Newest, Offer};
use super::setup::{SetupError, provider, versions};
use super::tickets::{Realm, Secrets, SharedTickets};
use crate::config::model::{Https, TlsPolicy, TlsVersion};
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

    /// Who is at the other end of a session that began by other demands, when these have taken their place; `None`: anyone who it
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

/// What clients of one block get to see. rustls makes no exceptions for some clients of a block, so that these have
/// configurations of their own, which differ in nothing else.
#[derive(Debug)]
pub struct ServerTls {
    /// For clients that speak TLS 1.3. Their tickets may be shared by gateways.
    tls13: Orders,
    /// For clients that don't. A ticket of TLS 1.2 holds the keys of its own session: none leaves the process.
    tls12: Orders,
}

/// The order of cipher suites is the gateway's, except for clients that have no AES in their hardware.
#[derive(Clone, Debug)]
struct Orders {
    /// As `cipher_suites` has it.
    configured: Arc<ServerConfig>,
    /// The same with ChaCha20 first, for clients that like it best.
    chacha20_first: Arc<ServerConfig>,
}

impl ServerTls {
    /// What a client that offers this is answered with.
    pub const fn for_client(&self, offer: Offer) -> &Arc<ServerConfig> {
        let orders = match offer.newest {
            Newest::Tls13 => &self.tls13,
            Newest::Tls12 => &self.tls12,
        };
        match offer.favourite {
            Favourite::ChaCha20 => &orders.chacha20_first,
            Favourite::Other => &orders.configured,
        }
    }
}

/// What clients of one `[[https]]` block get to see. Tickets can be resumed on every worker, and those of TLS 1.3 also at other
/// gateways that have the same `secrets`, but not in another block, and not at all where client certificates are asked for: a
/// ticket must not stand in for a certificate.
///
/// # Errors
/// See [`SetupError`].
pub fn server_config(
    https: &Https,
    identities: &[Arc<Identity>],
    clients: &ClientAuth,
    secrets: &Secrets,
) -> Result<Arc<ServerTls>, SetupError> {
    let orders = |tickets| Orders::new(&https.tls, identities, clients, &[b"http/1.1"], tickets);
    let own = match clients {
        ClientAuth::None => Some(Ticketer::new().map_err(SetupError::Tickets)?),
        ClientAuth::Demanded(_) | ClientAuth::Asked(_) => None,
    };
    let shared = SharedTickets::new(secrets, Realm::of(https, identities))
        .filter(|_| own.is_some() && https.tls.max_version == TlsVersion::Tls13);
    let tls12 = orders(own)?;
    let tls13 = match shared {
        Some(shared) => orders(Some(Arc::new(shared)))?,
        None => tls12.clone(),
    };
    Ok(Arc::new(ServerTls { tls13, tls12 }))
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
    let orders = Orders::new(policy, identities, &ClientAuth::Demanded(clients), &[], None)?;
    Ok(Arc::new(ServerTls { tls13: orders.clone(), tls12: orders }))
}

impl Orders {
    fn new(
        policy: &TlsPolicy,
        identities: &[Arc<Identity>],
        clients: &ClientAuth,
        protocols: &[&[u8]],
        tickets: Option<Arc<dyn ProducesTickets>>,
    ) -> Result<Self, SetupError> {
        let config = |policy: &TlsPolicy| {
            let mut config = config(policy, identities, clients)?;
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            match &tickets {
                Some(tickets) => config.ticketer = Arc::clone(tickets),
                None => config.send_tls13_tickets = 0,
            }
            Ok(Arc::new(config))
        };
        let mut chacha20_first = policy.clone();
        chacha20_first.cipher_suites.sort_by_key(|suite| !is_chacha20(*suite));
        Ok(Self { configured: config(policy)?, chacha20_first: config(&chacha20_first)? })
    }
}

fn config(policy: &TlsPolicy, identities: &[Arc<Identity>], clients: &ClientAuth) -> Result<ServerConfig, SetupError> {
    let config = ServerConfig::builder_with_provider(provider(policy))
        .with_protocol_versions(&versions(policy))
        .map_err(SetupError::Policy)?;
    let config = match clients {
        ClientAuth::None => config.with_no_client_auth(),
        ClientAuth::Demanded(verifier) => config.with_client_cert_verifier(Arc::clone(verifier) as _),
        ClientAuth::Asked(verifier) => config.with_client_cert_verifier(Arc::new(Optional(Arc::clone(verifier)))),
    };
    let mut config = config.with_cert_resolver(Arc::new(Shown(identities.to_vec())));
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
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
