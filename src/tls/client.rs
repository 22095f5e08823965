//! The gateway as TLS client of a farm. Apart from the server's side, because whom to believe is the whole question here.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, IpAddr, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::certs::Authorities;
use super::clients::is_open;
use super::setup::{SetupError, provider, versions};
use crate::config::model::{Farm, Speaks};

/// Sessions that are remembered for one endpoint.
const SESSIONS: usize = 16;

/// What all connections to one farm's XSPs have in common.
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: ClientConfig,
    name: ServerName<'static>,
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
        let config = match authorities {
            Some(Authorities { roots, revoked, .. }) if revoked.is_empty() => {
                config.with_root_certificates(Arc::clone(roots))
            }
            Some(authorities) => {
                let verifier = Arc::new(Unrevoked::new(authorities, &provider)?);
                config.dangerous().with_custom_certificate_verifier(verifier)
            }
            None => config.with_root_certificates(RootCertStore::empty()),
        };
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

/// What rustls verifies, and that no list of the CAs' revokes it. A CA without a list has revoked nothing, since XSPs may have
/// several CAs and not all keep one. One verifier for each set of lists that can be used together.
#[derive(Debug)]
struct Unrevoked {
    verifiers: Vec<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Unrevoked {
    fn new(authorities: &Authorities, provider: &Arc<CryptoProvider>) -> Result<Self, SetupError> {
        let verifier = |lists: &Vec<_>| {
            let roots = Arc::clone(&authorities.roots);
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
                .with_crls(lists.iter().cloned())
                .allow_unknown_revocation_status()
                .build()
        };
        let verifiers = authorities.revoked.iter().map(verifier).collect::<Result<_, _>>();
        let verifiers = verifiers.map_err(SetupError::Verifier)?;
        Ok(Self { verifiers, algorithms: provider.signature_verification_algorithms })
    }
}

impl ServerCertVerifier for Unrevoked {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut verdict = Err(CertificateError::UnknownRevocationStatus.into());
        for verifier in &self.verifiers {
            verdict = verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
            if !verdict.as_ref().is_err_and(is_open) {
                break;
            }
        }
        verdict
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

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::config::error::Source;
    use crate::config::parse;
    use crate::tls::certs;
    use crate::tls::certs::fixture::{self, Authority};

    const DOMAIN: &str = "xsp.example.com";

    /// Whether an XSP with that certificate is believed when these CAs have revoked what these lists say.
    fn verdict(authorities: &[&Authority], lists: &[String], shown: &str) -> Result<(), Error> {
        let folder = tempfile::tempdir().unwrap();
        let bundle: String = authorities.iter().map(|authority| authority.pem.as_str()).collect();
        fixture::write(folder.path(), "ca.pem", &bundle);
        fixture::write(folder.path(), "crl.pem", &lists.concat());
        let text = "[trust.internal]\nca = \"ca.pem\"\ncrl = \"crl.pem\"\n".to_owned();
        let config = parse(Source { path: folder.path().join("xspgate.toml"), text }).partial;
        let material = certs::load(&config).0.unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = Unrevoked::new(&material.authorities["internal"], &provider).unwrap();
        let leaf = CertificateDer::from_pem_slice(shown.as_bytes()).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
        verifier.verify_server_cert(&leaf, &[], &ServerName::try_from(DOMAIN).unwrap(), &[], now).map(|_| ())
    }

    #[test]
    fn r_tls_4_an_xsp_whose_certificate_is_revoked_is_not_believed() {
        let (old, new) = (Authority::root("Internal"), Authority::root("Internal"));
        let other = Authority::root("Other");
        let leaf = |issuer: &Authority, serial: u64| {
            issuer.leaf_with("xsp1", &[DOMAIN], |params| params.serial_number = Some(serial.into())).pem
        };
        let revoked = Err(CertificateError::Revoked.into());
        assert_eq!(verdict(&[&old], &[old.revokes(&[7])], &leaf(&old, 7)), revoked);
        assert_eq!(verdict(&[&old], &[old.revokes(&[7])], &leaf(&old, 8)), Ok(()));
        // A CA that keeps no list has revoked nothing.
        assert_eq!(verdict(&[&old, &other], &[old.revokes(&[7])], &leaf(&other, 7)), Ok(()));
        // Two CAs of one name.
        let lists = [old.revokes(&[7]), new.revokes(&[8])];
        for (issuer, serial, expected) in
            [(&old, 7, &revoked), (&old, 8, &Ok(())), (&new, 7, &Ok(())), (&new, 8, &revoked)]
        {
            assert_eq!(verdict(&[&old, &new], &lists, &leaf(issuer, serial)), *expected, "{serial}");
        }
        // A list that somebody else has signed says nothing, and so nobody is believed whom it is about.
        let forged = verdict(&[&old], &[new.revokes(&[])], &leaf(&old, 7));
        assert!(matches!(forged, Err(Error::InvalidCertRevocationList(_))), "{forged:?}");
    }
}
