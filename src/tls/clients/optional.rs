//! What is asked of clients where only an interface demands a certificate. Separate from the verifier of certificates, because
//! the handshake then verifies nothing but that a client owns the key of the one that it shows.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use webpki::RawPublicKeyEntity;

use super::ClientVerifier;
use crate::tls::der::{SEQUENCE, wrap};
use crate::tls::signature::public_key;

/// Asks for a certificate, and takes any or none, as long as the client owns its key: [`Peer::judged`](super::Peer::judged) is
/// the verdict. A client with another CA's certificate is then served by whatever demands none.
#[derive(Debug)]
pub(in crate::tls) struct Optional(pub(in crate::tls) Arc<ClientVerifier>);

impl Optional {
    /// `verdict`, unless that speaks of the certificate rather than of the signature, as of one that was made by the first
    /// version of X.509, or has an extension that nobody here knows: there is a key in it anyway.
    fn owned(
        &self,
        verdict: Result<HandshakeSignatureValid, Error>,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match verdict {
            Err(Error::InvalidCertificate(fault)) if fault != CertificateError::BadSignature => {}
            verdict => return verdict,
        }
        let key = SubjectPublicKeyInfoDer::from(wrap(SEQUENCE, &public_key(certificate)));
        let key = RawPublicKeyEntity::try_from(&key).map_err(|_| CertificateError::BadEncoding)?;
        let known = self.0.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let mut fitting = known.into_iter().flat_map(|(_, algorithms)| algorithms.iter());
        match fitting.any(|algorithm| key.verify_signature(*algorithm, message, signed.signature()).is_ok()) {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }
}

impl ClientCertVerifier for Optional {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.owned(self.0.verify_tls12_signature(message, cert, dss), message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.owned(self.0.verify_tls13_signature(message, cert, dss), message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
