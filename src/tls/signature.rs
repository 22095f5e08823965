//! Who has signed a certificate or a revocation list. Separate from those who ask, because a name alone proves nothing: a CA
//! made again has the old one's name and another key.

use rustls::pki_types::alg_id;

use super::der::{self, BIT_STRING, Parts, SEQUENCE, Signed};

/// Shorter RSA keys, in bytes of DER, are beyond the verifiers.
const SHORTEST_RSA: usize = 256;

/// What a key says of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has made it.
    Fits,
    /// It has not.
    Differs,
    /// Nobody here can tell: SHA-1, say.
    Unknown,
}

/// The contents of a certificate's SubjectPublicKeyInfo; empty if it has none.
pub(super) fn public_key(certificate: &[u8]) -> Vec<u8> {
    Parts::of(certificate).map_or_else(Vec::new, |parts| parts.public_key().to_vec())
}

/// Whether the key in `signer`, the contents of a SubjectPublicKeyInfo, has signed the certificate or revocation list
/// `signed`.
pub(super) fn verdict(signed: &[u8], signer: &[u8]) -> Verdict {
    let Some(signed) = Signed::of(signed) else { return Verdict::Unknown };
    let Some([kind, key]) = der::values(signer).and_then(|values| <[der::Value<'_>; 2]>::try_from(values).ok()) else {
        return Verdict::Unknown;
    };
    let (SEQUENCE, BIT_STRING, Some((0, key))) = (kind.tag, key.tag, key.content.split_first()) else {
        return Verdict::Unknown;
    };
    if kind.content == alg_id::RSA_ENCRYPTION.as_ref() && key.len() < SHORTEST_RSA {
        return Verdict::Unknown;
    }
    let known = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let mut made_so = known.iter().filter(|known| known.signature_alg_id().as_ref() == signed.algorithm).peekable();
    if made_so.peek().is_none() {
        return Verdict::Unknown;
    }
    let mut fitting = made_so.filter(|known| known.public_key_alg_id().as_ref() == kind.content);
    match fitting.any(|known| known.verify_signature(key, signed.content.whole, signed.signature).is_ok()) {
        true => Verdict::Fits,
        false => Verdict::Differs,
    }
}
