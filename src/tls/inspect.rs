//! What a file of certificates and keys holds, for an operator to read. Apart from `certs`, which asks whether one
//! configuration can be served with it.

mod blocks;
mod verdict;

use std::fmt::Write as _;
use std::path::Path;

use aws_lc_rs::digest;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{PemObject as _, SectionKind};

use self::blocks::{Block, Content, blocks};
use self::verdict::{Verdict, left, verdict};
use super::certs::chain::{Chain, Link, Order};
use super::certs::pem;
use super::der;
use super::peer::{self, Role, printable};
use super::portrait::{self, Judged, Portrait, Request, portrait};
use super::signature::public_key;
use crate::broadworks::cti::Fault;
use crate::config::error::Problem;

/// A certificate of a file, by its place there.
struct Found {
    number: usize,
    link: Link,
}

/// A private key of a file, by what is public of it.
struct Key {
    name: String,
    kind: Judged,
    /// The contents of its SubjectPublicKeyInfo.
    public: Vec<u8>,
}

/// What is in `file`, as text. `key` is a key file, whose certificate is looked for among those of `file`. `now`: seconds
/// since 1970, UTC.
///
/// # Errors
/// One of the files can't be read, or has no PEM block.
pub fn report(file: &Path, key: Option<&Path>, now: i64) -> Result<String, Problem> {
    let blocks = read(file)?;
    let mut out = format!("{}: {}\n", file.display(), plural(blocks.len(), "block"));
    let (mut certificates, mut keys, mut holders) = (Vec::new(), Vec::new(), Vec::new());
    for (index, block) in blocks.iter().enumerate() {
        out.push('\n');
        let number = index + 1;
        describe(&mut out, number, block, now);
        let Content::Der(bytes) = &block.content else { continue };
        if let Some(link) = certificate(block) {
            holders.push((number, public_key(&link.der)));
            certificates.push(Found { number, link });
        } else if let Some(request) = request(block) {
            holders.push((number, request.public_key));
        } else if let Some(found) = private(&block.label, bytes, format!("the key in block {number}")) {
            keys.push(found);
        }
    }
    if !keys.is_empty() && pem::is_exposed(file) {
        line(&mut out, "wrong", "every user of this machine may read it, and there is a key in it: chmod o-rwx");
    }
    if let Some(path) = key {
        keys.extend(named(path)?);
    }
    let belong = fits(&holders, &keys);
    let chains = chains(&certificates);
    if !belong.is_empty() || !chains.is_empty() {
        out.push('\n');
    }
    for said in chains {
        line(&mut out, "chain", &said);
    }
    for said in belong {
        line(&mut out, "key", &said);
    }
    Ok(out)
}

fn read(file: &Path) -> Result<Vec<Block>, Problem> {
    let bytes = pem::public(file, &None)?;
    let blocks = blocks(&String::from_utf8_lossy(&bytes));
    if blocks.is_empty() {
        // It knows what the file is instead.
        pem::parse(file, &bytes, &None)?;
        return Err(Problem::error(None, format!("{} has no PEM block that can be read", file.display())));
    }
    Ok(blocks)
}

/// The keys of a file that was named for its keys.
fn named(path: &Path) -> Result<Vec<Key>, Problem> {
    let of = |block: Block| match block.content {
        Content::Der(der) => private(&block.label, &der, format!("the key in {}", path.display())),
        Content::Encrypted | Content::Damaged => None,
    };
    let keys: Vec<Key> = read(path)?.into_iter().filter_map(of).collect();
    if keys.is_empty() {
        let problem = Problem::error(None, format!("{} has no private key that can be read", path.display()));
        return Err(problem.help("one that is encrypted is decrypted by `openssl pkey -in FILE -out NEW`"));
    }
    Ok(keys)
}

fn certificate(block: &Block) -> Option<Link> {
    let Content::Der(bytes) = &block.content else { return None };
    if !matches!(block.label.as_str(), "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE") {
        return None;
    }
    // What OpenSSL trusts it for stands behind it.
    let (certificate, _) = der::next(bytes)?;
    let facts = peer::facts(certificate.whole).ok()?;
    Some(Link { der: certificate.whole.to_vec().into(), facts })
}

fn request(block: &Block) -> Option<Request> {
    let Content::Der(bytes) = &block.content else { return None };
    let labelled = matches!(block.label.as_str(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST");
    labelled.then(|| portrait::request(bytes).ok()).flatten()
}

fn private(label: &str, der: &[u8], name: String) -> Option<Key> {
    let kind = match label {
        "PRIVATE KEY" => SectionKind::PrivateKey,
        "RSA PRIVATE KEY" => SectionKind::RsaPrivateKey,
        "EC PRIVATE KEY" => SectionKind::EcPrivateKey,
        _ => return None,
    };
    let public = PrivateKeyDer::from_pem(kind, der.to_vec())
        .and_then(|key| any_supported_type(&key).ok())
        .and_then(|key| key.public_key().map(|public| public.as_ref().to_vec()));
    Some(match public {
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

fn describe(out: &mut String, number: usize, block: &Block, now: i64) {
    let head = |out: &mut String, what: &str| {
        let _ = writeln!(out, "[{number}] {}", printable(what));
    };
    let bytes = match &block.content {
        Content::Der(bytes) => bytes,
        Content::Encrypted => {
            head(out, "an encrypted private key");
            line(out, "wrong", "the gateway asks for no passphrase: `openssl pkey -in FILE -out NEW` decrypts it");
            return;
        }
        Content::Damaged => {
            head(out, &format!("{}, damaged", block.label));
            line(out, "wrong", "it is not base64, or has no end: copy the file again");
            return;
        }
    };
    if let Some(link) = certificate(block) {
        head(out, &format!("certificate {}", link.facts.subject_text));
        if let Ok(portrait) = portrait(&link.der) {
            shown(out, &link, &portrait, now);
        }
        if block.label == "TRUSTED CERTIFICATE" {
            line(
                out,
                "wrong",
                "it is OpenSSL's own form, which the gateway can't read: `openssl x509` makes a plain one",
            );
        }
    } else if let Some(key) = private(&block.label, bytes, String::new()) {
        head(out, "private key");
        line(out, "key", &key.kind.name);
        line(out, "wrong", key.kind.against.unwrap_or("nothing"));
    } else {
        other(out, number, &block.label, bytes, now);
    }
}

/// What is neither a certificate nor a key.
fn other(out: &mut String, number: usize, label: &str, bytes: &[u8], now: i64) {
    let mut head = |what: &str| {
        let _ = writeln!(out, "[{number}] {}", printable(what));
    };
    match label {
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => match portrait::request(bytes) {
            Ok(request) => {
                head(&format!("certificate request for {}", request.subject));
                line(out, "names", &list(&request.alternatives, "none"));
                line(out, "usage", &list(request.usages.as_deref().unwrap_or_default(), "none asked for"));
                line(out, "key", &request.key.name);
                line(out, "may be", "sent to a CA, which makes a certificate of it");
            }
            Err(_) => head("certificate request that can't be read"),
        },
        "X509 CRL" => match portrait::revocations(bytes) {
            Ok(list) => {
                head(&format!("certificate revocation list of {}", list.issuer));
                line(out, "revoked", &plural(list.count, "certificate"));
                let next = list
                    .next
                    .as_ref()
                    .map_or("no next one is told".to_owned(), |next| format!("the next one is due on {}", next.day));
                line(out, "made", &format!("on {}; {next}", list.since.day));
                line(out, "may be", "`crl` of [trust.NAME]");
                let late = list.next.is_some_and(|next| next.unix < now);
                line(out, "wrong", if late { "it is out of date" } else { "nothing" });
            }
            Err(_) => head("certificate revocation list that can't be read"),
        },
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
            head("certificate that can't be read");
            line(out, "wrong", "it is no X.509 certificate");
        }
        "PUBLIC KEY" => head(&format!("public key, {}", portrait::public_key(bytes).name)),
        "PKCS7" => {
            head("PKCS #7");
            line(out, "wrong", "`openssl pkcs7 -print_certs` takes the certificates out");
        }
        other => head(&format!("{other}, of no use here")),
    }
}

fn shown(out: &mut String, link: &Link, portrait: &Portrait, now: i64) {
    let facts = &portrait.facts;
    let issuer = if link.is_self_signed() { "itself".to_owned() } else { facts.issuer_text.clone() };
    line(out, "issuer", &issuer);
    line(out, "serial", &portrait.serial);
    line(out, "names", &list(&portrait.alternatives, "none"));
    line(out, "key", &portrait.key.name);
    line(out, "signature", &portrait.signature.name);
    line(out, "usage", &portrait.usages.as_deref().map_or("any".to_owned(), |usages| list(usages, "none")));
    let left = left(facts.not_after.unix, now);
    line(out, "valid", &format!("{} to {}, {left}", facts.not_before.day, facts.not_after.day));
    let fingerprint = digest::digest(&digest::SHA256, &link.der);
    let fingerprint: Vec<String> = fingerprint.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    line(out, "SHA-256", &fingerprint.join(":"));
    let Verdict { uses, faults, remedies } = verdict(link, portrait, now);
    lines(out, "may be", &uses, "nothing here");
    lines(out, "wrong", &faults, "nothing");
    for remedy in remedies {
        line(out, "help", &remedy);
    }
}

/// For each certificate that is no CA, its chain; for CAs alone, what is missing above them.
fn chains(certificates: &[Found]) -> Vec<String> {
    let links = || certificates.iter().map(|found| found.link.clone()).collect::<Vec<_>>();
    let number = |link: &Link| {
        let found = certificates.iter().find(|found| found.link.der == link.der);
        found.map_or_else(String::new, |found| format!("[{}]", found.number))
    };
    let mut said = Vec::new();
    for (index, found) in certificates.iter().enumerate() {
        let chain = Chain::of(links(), index);
        let numbers: Vec<String> = chain.links.iter().map(number).collect();
        let numbers = numbers.join(" ");
        let fault = chain.fault(&RootCertStore::empty());
        match (found.link.facts.role, fault) {
            (Role::EndEntity, None) => {
                let order = match chain.order {
                    Order::Kept => "in order",
                    Order::Changed => "out of order: each one's issuer should come after it",
                };
                said.push(format!("{numbers}: complete, {order}"));
            }
            (Role::EndEntity, Some(Fault::SelfSigned)) => said.push(format!("{numbers}: has signed itself")),
            (Role::EndEntity, Some(Fault::IssuerMissing { issuer, .. })) => {
                said.push(format!(
                    "{numbers}: ends before {issuer}, which is not in this file; [trust.NAME] may hold it"
                ));
            }
            (Role::EndEntity, Some(fault)) => said.push(format!("{numbers}: {fault}")),
            (Role::Authority, Some(Fault::IssuerMissing { issuer, .. })) if chain.links.len() == 1 => {
                said.push(format!("{numbers}: its issuer {issuer} is not in this file"));
            }
            (Role::Authority, _) => {}
        }
    }
    said
}

/// Which certificates and requests the keys belong to; `holders` are their numbers and public keys.
fn fits(holders: &[(usize, Vec<u8>)], keys: &[Key]) -> Vec<String> {
    if holders.is_empty() {
        return Vec::new();
    }
    let of = |key: &Key| {
        let theirs = holders.iter().filter(|(_, public)| !key.public.is_empty() && *public == key.public);
        let theirs: Vec<String> = theirs.map(|(number, _)| format!("[{number}]")).collect();
        match theirs.as_slice() {
            [] => format!("{} ({}) belongs to none of them", key.name, key.kind.name),
            theirs => format!("{} ({}) belongs to {}", key.name, key.kind.name, theirs.join(" and ")),
        }
    };
    keys.iter().map(of).collect()
}

fn line(out: &mut String, label: &str, value: &str) {
    let _ = writeln!(out, "    {label:<10} {}", printable(value));
}

fn lines(out: &mut String, label: &str, values: &[String], none: &str) {
    if values.is_empty() {
        line(out, label, none);
    }
    for value in values {
        line(out, label, value);
    }
}

fn list(values: &[String], none: &str) -> String {
    if values.is_empty() { none.to_owned() } else { values.join(", ") }
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
