//! What a file of certificates and keys holds, for an operator to read. Separate from `certs`, which asks whether one
//! configuration can be served with it.

mod blocks;
mod item;
mod verdict;

use std::fmt::Write as _;
use std::path::Path;

use aws_lc_rs::digest;

use self::blocks::{Block, Content, blocks};
use self::item::{Item, Key};
use self::verdict::{Verdict, left, verdict};
use super::certs::chain::{Chain, Link, Order};
use super::certs::pem;
use super::peer::{ListFacts, Role};
use super::portrait::{self, Portrait, Revocations, portrait};
use super::signature::public_key;
use crate::broadworks::cti::Fault;
use crate::config::error::{Problem, printable};

/// A certificate of a file, by its place there.
struct Found {
    number: usize,
    link: Link,
}

/// What is in a file.
#[derive(Clone, Debug)]
pub struct Told {
    /// As text.
    pub text: String,
    /// Whether the key that was named belongs to a certificate or request in it.
    pub key: KeyFits,
}

/// Whether a key that was named belongs to what is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFits {
    /// It does; or none was named.
    Yes,
    /// It does not, though there is a certificate or a request.
    No,
}

/// What is in `file`. `key` is a key file, whose certificate is looked for among those of `file`. `now`: seconds
/// since 1970, UTC.
///
/// # Errors
/// One of the files can't be read, or has no PEM block.
pub fn report(file: &Path, key: Option<&Path>, now: i64) -> Result<Told, Problem> {
    let blocks = read(file)?;
    let mut out = format!("{}: {}\n", file.display(), plural(blocks.len(), "block"));
    let (mut certificates, mut keys, mut holders) = (Vec::new(), Vec::new(), Vec::new());
    for (index, block) in blocks.iter().enumerate() {
        out.push('\n');
        let number = index + 1;
        let item = Item::of(block, format!("the key in block {number}"));
        describe(&mut out, number, block, &item, now);
        match item {
            Item::Certificate(link) => {
                holders.push((number, public_key(&link.der)));
                certificates.push(Found { number, link: *link });
            }
            Item::Request(request) => holders.push((number, request.public_key)),
            Item::Key(key) => keys.push(key),
            Item::List(_) | Item::Other => {}
        }
    }
    if !keys.is_empty() && pem::is_exposed(file) {
        line(&mut out, "wrong", "every user of this machine may read it, and there is a key in it: chmod o-rwx");
    }
    let mut fit = KeyFits::Yes;
    if let Some(path) = key {
        let named = named(path)?;
        if named.iter().all(|key| owners(&holders, key).is_empty()) {
            fit = KeyFits::No;
        }
        keys.extend(named);
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
    Ok(Told { text: out, key: fit })
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
    let of = |block: &Block| match Item::of(block, format!("the key in {}", path.display())) {
        Item::Key(key) => Some(key),
        Item::Certificate(_) | Item::Request(_) | Item::List(_) | Item::Other => None,
    };
    let keys: Vec<Key> = read(path)?.iter().filter_map(of).collect();
    if keys.is_empty() {
        let problem = Problem::error(None, format!("{} has no private key that can be read", path.display()));
        return Err(problem.help("one that is encrypted is decrypted by `openssl pkey -in FILE -out NEW`"));
    }
    Ok(keys)
}

fn describe(out: &mut String, number: usize, block: &Block, item: &Item, now: i64) {
    let mut head = |what: &str| {
        let _ = writeln!(out, "[{number}] {}", printable(what));
    };
    match item {
        Item::Certificate(link) => {
            head(&format!("certificate {}", link.facts.subject_text));
            if let Ok(portrait) = portrait(&link.der) {
                shown(out, link, &portrait, now);
            }
            if block.label == "TRUSTED CERTIFICATE" {
                let openssl =
                    "it is OpenSSL's own form, which the gateway can't read: `openssl x509` makes a plain one";
                line(out, "wrong", openssl);
            }
        }
        Item::Key(key) => {
            head("private key");
            line(out, "key", &key.kind.name);
            line(out, "wrong", key.kind.against.unwrap_or("nothing"));
        }
        Item::Request(request) => {
            head(&format!("certificate request for {}", request.subject));
            line(out, "names", &list(&request.alternatives, "none"));
            line(out, "usage", &list(request.usages.as_deref().unwrap_or_default(), "none asked for"));
            line(out, "key", &request.key.name);
            line(out, "may be", "sent to a CA, which makes a certificate of it");
        }
        Item::List(list) => {
            head(&format!("certificate revocation list of {}", list.facts.issuer_text));
            revocations(out, list, now);
        }
        Item::Other => {
            let (what, wrong) = other(block);
            head(&what);
            wrong.into_iter().for_each(|wrong| line(out, "wrong", wrong));
        }
    }
}

fn revocations(out: &mut String, list: &Revocations, now: i64) {
    line(out, "revoked", &plural(list.count, "certificate"));
    let ListFacts { this_update, next_update, .. } = &list.facts;
    let next = match next_update {
        Some(next) => format!("the next one is due on {}", next.day),
        None => "no next one is told".to_owned(),
    };
    line(out, "made", &format!("on {}; {next}", this_update.day));
    line(out, "may be", "`crl` of [trust.NAME]");
    let late = next_update.as_ref().is_some_and(|next| next.unix < now);
    line(out, "wrong", if late { "it is out of date" } else { "nothing" });
}

/// What a block is that could not be read, or is of no use here; and what is wrong with it.
fn other(block: &Block) -> (String, Option<&'static str>) {
    let bytes = match &block.content {
        Content::Der(bytes) => bytes,
        Content::Encrypted => {
            let wrong = "the gateway asks for no passphrase: `openssl pkey -in FILE -out NEW` decrypts it";
            return ("an encrypted private key".to_owned(), Some(wrong));
        }
        Content::Damaged => {
            let wrong = "it is not base64, or has no end: copy the file again";
            return (format!("{}, damaged", block.label), Some(wrong));
        }
    };
    match block.label.as_str() {
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => {
            ("certificate request that can't be read".to_owned(), None)
        }
        "X509 CRL" => ("certificate revocation list that can't be read".to_owned(), None),
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
            ("certificate that can't be read".to_owned(), Some("it is no X.509 certificate"))
        }
        "PUBLIC KEY" => (format!("public key, {}", portrait::public_key(bytes).name), None),
        "PKCS7" => ("PKCS #7".to_owned(), Some("`openssl pkcs7 -print_certs` takes the certificates out")),
        other => (format!("{other}, of no use here"), None),
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
        let fault = chain.fault(&[]);
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
    let of = |key: &Key| match owners(holders, key).as_slice() {
        [] => format!("{} ({}) belongs to none of them", key.name, key.kind.name),
        theirs => format!("{} ({}) belongs to {}", key.name, key.kind.name, theirs.join(" and ")),
    };
    keys.iter().map(of).collect()
}

/// The numbers of those that a key belongs to, as they are shown.
fn owners(holders: &[(usize, Vec<u8>)], key: &Key) -> Vec<String> {
    let theirs = holders.iter().filter(|(_, public)| !key.public.is_empty() && *public == key.public);
    theirs.map(|(number, _)| format!("[{number}]")).collect()
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
