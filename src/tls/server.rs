//! The gateway as TLS server: one configuration per `[[https]]` block, chosen by SNI before any of them answers. Apart from
//! a certificate resolver, because blocks differ in versions, suites, tickets and client authentication, not only in names.

use std::sync::Arc;

use rustls::server::{Acceptor, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};

use super::client::{SetupError, provider, versions};
use crate::config::model::TlsPolicy;

/// Whether clients are asked for a certificate.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// They are not.
    None,
    /// They are, and one of these CAs must have signed it.
    Demanded(Arc<RootCertStore>),
    /// They are; an interface may demand it later.
    Asked(Arc<RootCertStore>),
}

/// What clients of one block get to see. Tickets can be resumed on every worker, but not in another block, and not at all
/// where client certificates are asked for: a ticket must not stand in for a certificate.
///
/// # Errors
/// See [`SetupError`].
pub fn server_config(
    policy: &TlsPolicy,
    identity: Arc<CertifiedKey>,
    clients: ClientAuth,
) -> Result<Arc<ServerConfig>, SetupError> {
    let provider = provider(policy);
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(policy))
        .map_err(SetupError::Policy)?;
    let tickets = matches!(clients, ClientAuth::None);
    let config = match clients {
        ClientAuth::None => config.with_no_client_auth(),
        ClientAuth::Demanded(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            config.with_client_cert_verifier(verifier.map_err(SetupError::Verifier)?)
        }
        ClientAuth::Asked(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).allow_unauthenticated().build();
            config.with_client_cert_verifier(verifier.map_err(SetupError::Verifier)?)
        }
    };
    let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if tickets {
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(SetupError::Tickets)?;
    } else {
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}

/// What a client's first bytes ask for.
#[derive(Debug, PartialEq, Eq)]
pub enum Hello {
    /// More bytes are needed.
    Incomplete,
    /// A whole ClientHello; the name is lower case.
    Name(Option<String>),
    /// No ClientHello; these bytes say so to the client.
    Garbage(Vec<u8>),
}

/// Reads the ClientHello at the beginning of `received`, across records, without answering it.
pub fn peek(received: &[u8]) -> Hello {
    let mut acceptor = Acceptor::default();
    let mut rest = received;
    while !rest.is_empty() {
        if acceptor.read_tls(&mut rest).is_err() {
            return Hello::Garbage(Vec::new());
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                return Hello::Name(accepted.client_hello().server_name().map(str::to_ascii_lowercase));
            }
            Err((_, mut alert)) => {
                let mut bytes = Vec::new();
                // A Vec takes every byte.
                drop(alert.write_all(&mut bytes));
                return Hello::Garbage(bytes);
            }
        }
    }
    Hello::Incomplete
}

/// The alert unrecognized_name (RFC 6066 section 3), fatal, as a whole record.
pub const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
