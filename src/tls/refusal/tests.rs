//! Words for each way in which a chain is refused. What leads to them is tested with the verifier.

use rustls::pki_types::pem::PemObject;

use super::*;
use crate::tls::certs::fixture::Authority;

const NAME: &str = "xsp.example.com";

fn said(error: &Error, chain: &[&str]) -> String {
    let chain: Vec<_> = chain.iter().map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).collect();
    explain(&Refused { error, chain: &chain, name: NAME, trust: "[trust.internal]", now: 1_800_000_000 })
}

#[test]
fn every_fault_has_words_that_lead_to_the_mend_and_no_rust() {
    use webpki::Error as E;
    let root = Authority::root("Internal");
    let issuing = root.intermediate("Issuing");
    let leaf = issuing.leaf("xsp1", &[NAME]);
    let other = |fault: E| Error::from(CertificateError::Other(OtherError(std::sync::Arc::new(fault))));
    let faults = [
        other(E::CaUsedAsEndEntity),
        other(E::EndEntityUsedAsCa),
        other(E::UnsupportedCriticalExtension),
        other(E::UnsupportedCertVersion),
        other(E::NameConstraintViolation),
        other(E::MalformedNameConstraint),
        other(E::PathLenConstraintViolated),
        other(E::MaximumPathDepthExceeded),
        other(E::SignatureAlgorithmMismatch),
        other(E::InvalidSerialNumber),
        other(E::MalformedExtensions),
        CertificateError::Expired.into(),
        CertificateError::NotValidYet.into(),
        CertificateError::NotValidForName.into(),
        CertificateError::UnknownIssuer.into(),
        CertificateError::BadSignature.into(),
        CertificateError::Revoked.into(),
        CertificateError::InvalidPurpose.into(),
        CertificateError::BadEncoding.into(),
        CertificateError::ExpiredRevocationList.into(),
        rustls::CertRevocationListError::BadSignature.into(),
    ];
    for fault in faults {
        let words = said(&fault, &[&leaf.pem, &issuing.pem]);
        let is_rust = ["Error", "{", "Context", "OtherError", "::"].iter().any(|mark| words.contains(mark));
        assert!(!is_rust && words.contains(": "), "{fault:?}: {words}");
    }
    assert_eq!(
        said(&other(E::EndEntityUsedAsCa), &[&leaf.pem, &root.no_ca("Issuing").pem]),
        "certificate 2 of the chain (CN=Issuing) has signed a certificate and is not a CA: ask the CA for the right \
         intermediate"
    );
}

#[test]
fn a_chain_that_is_incomplete_says_where_it_ends() {
    let root = Authority::root("Internal");
    let leaf = root.intermediate("Issuing").leaf("xsp1", &[NAME]);
    let words = said(&CertificateError::UnknownIssuer.into(), &[&leaf.pem]);
    assert!(words.contains("was signed by CN=Issuing, which was not sent and is not in [trust.internal]"), "{words}");
    let words = said(&CertificateError::UnknownIssuer.into(), &[&leaf.pem, &root.pem]);
    assert!(words.contains("the chain ends at CN=Internal"), "{words}");
}
