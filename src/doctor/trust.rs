//! Whom clients on the public side believe: the CAs of this machine, and one file more. Separate from `[trust.NAME]`, which says
//! whom the gateway believes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::config::error::reason;
use crate::config::obstacle::{self, Purpose};
use crate::files::{self, Streams, Unreadable};

/// Where systems keep the CAs that they believe, as one file.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// No file of CAs is larger, in bytes.
const LARGEST: u64 = 16 << 20;

/// The CAs that a front's certificate must lead to.
#[derive(Clone, Debug)]
pub struct Public {
    roots: Arc<RootCertStore>,
    name: String,
}

/// Why a file of CAs can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// It can't be read.
    #[error("{} can't be read: {}{}", path.display(), reason(source), obstacle::line(path, source, Purpose::Reading))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is nothing in it to believe.
    #[error("{} holds no CA certificate in PEM", .0.display())]
    Empty(PathBuf),
}

impl Public {
    /// This machine's CAs, and those of `more`.
    ///
    /// # Errors
    /// `more` can't be read, or holds no certificate. A machine without CAs is no error: nothing but `more` is believed then.
    pub fn load(more: Option<&Path>) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        let system = BUNDLES.iter().find_map(|path| read(Path::new(path)).ok()).unwrap_or_default();
        let mut names = Vec::new();
        if add(&mut roots, &system) > 0 {
            names.push("this machine's CAs".to_owned());
        }
        if let Some(path) = more {
            let pem = read(path).map_err(|source| TrustError::Unreadable { path: path.to_owned(), source })?;
            if add(&mut roots, &pem) == 0 {
                return Err(TrustError::Empty(path.to_owned()));
            }
            names.push(path.display().to_string());
        }
        let name = if names.is_empty() { "this machine (it has no CAs)".to_owned() } else { names.join(" or ") };
        Ok(Self { roots: Arc::new(roots), name })
    }

    /// The way to speak of them.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What verifies by them; `None`: there are none.
    pub(super) fn verifier(&self) -> Option<Arc<WebPkiServerVerifier>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        WebPkiServerVerifier::builder_with_provider(Arc::clone(&self.roots), provider).build().ok()
    }

    /// How a client believes them; `alpn`: what it wants to speak.
    pub(super) fn tls(&self, alpn: &[&[u8]]) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for TLS 1.2 and 1.3")
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    files::read(path, LARGEST, Streams::Own).map(|(bytes, _)| bytes).map_err(Unreadable::into_io)
}

/// How many of the certificates in `pem` can be believed.
fn add(roots: &mut RootCertStore, pem: &[u8]) -> usize {
    let readable = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    roots.add_parsable_certificates(readable).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_cas_must_hold_some() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        assert!(matches!(Public::load(Some(&path)), Err(TrustError::Unreadable { .. })));
        std::fs::write(&path, "no PEM").unwrap();
        assert!(matches!(Public::load(Some(&path)), Err(TrustError::Empty(_))));
    }
}
