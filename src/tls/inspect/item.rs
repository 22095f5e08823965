//! What the blocks of a file turn out to be. Separate from what is said of them, because the report asks twice: what each is,
//! and which belong together.

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{PemObject as _, SectionKind};

use super::blocks::{Block, Content};
use crate::tls::certs::chain::Link;
use crate::tls::der;
use crate::tls::portrait::{self, Judged, Request, Revocations};

/// What a block holds.
pub(super) enum Item {
    Certificate(Box<Link>),
    Key(Key),
    Request(Request),
    List(Revocations),
    /// Nothing that could be read, or is of use here.
    Other,
}

/// A private key, by what is public of it.
pub(super) struct Key {
    pub(super) name: String,
    pub(super) kind: Judged,
    /// The contents of its SubjectPublicKeyInfo; empty if it can't be used.
    pub(super) public: Vec<u8>,
}

impl Item {
    /// Reads a block. A key in it is called `key_name`.
    pub(super) fn of(block: &Block, key_name: String) -> Self {
        let Content::Der(der) = &block.content else { return Self::Other };
        let item = match block.label.as_str() {
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => certificate(der),
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => portrait::request(der).ok().map(Self::Request),
            "X509 CRL" => portrait::revocations(der).ok().map(Self::List),
            "PRIVATE KEY" => Some(key(SectionKind::PrivateKey, der, key_name)),
            "RSA PRIVATE KEY" => Some(key(SectionKind::RsaPrivateKey, der, key_name)),
            "EC PRIVATE KEY" => Some(key(SectionKind::EcPrivateKey, der, key_name)),
            _ => None,
        };
        item.unwrap_or(Self::Other)
    }
}

fn certificate(der: &[u8]) -> Option<Item> {
    // What OpenSSL trusts it for stands behind it.
    let (certificate, _) = der::next(der)?;
    let link = Link::read(certificate.whole.to_vec().into()).ok()?;
    Some(Item::Certificate(Box::new(link)))
}

fn key(kind: SectionKind, der: &[u8], name: String) -> Item {
    let public = PrivateKeyDer::from_pem(kind, der.to_vec())
        .and_then(|key| any_supported_type(&key).ok())
        .and_then(|key| key.public_key().map(|public| public.as_ref().to_vec()));
    Item::Key(match public {
        Some(public) => {
            let contents = der::next(&public).map(|(info, _)| info.content.to_vec());
            Key { name, kind: portrait::public_key(&public), public: contents.unwrap_or_default() }
        }
        None => {
            let against = Some("it is damaged, or of a kind that the gateway can't use");
            Key { name, kind: Judged { name: "of a kind unknown here".to_owned(), against }, public: Vec::new() }
        }
    })
}
