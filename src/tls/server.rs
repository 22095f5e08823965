//! The gateway as TLS server: one configuration per `[[https]]` block, chosen by SNI before any of them answers. Apart from
//! a certificate resolver, because blocks differ in versions, suites, tickets and client authentication, not only in names.

use std::sync::Arc;

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
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
