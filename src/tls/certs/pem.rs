//! PEM files as operators have them: with notes between the blocks, byte order marks, lost newlines. Separate from what is
//! in the blocks, because a file that is no PEM deserves an answer of its own.

use std::ops::Range;
use std::path::Path;

use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::config::error::{Problem, reason};
use crate::config::obstacle::{self, Purpose};
use crate::files::{self, Streams, Unreadable};

/// No file is larger, in bytes; all the CAs of a browser are a quarter of it.
const LARGEST: u64 = 1 << 20;
/// Except lists of revoked certificates, which grow with every one that a large CA takes back.
pub(super) const LARGEST_LIST: u64 = 64 << 20;

/// The keys that can be used, for messages.
pub(in crate::tls) const USABLE_KEYS: &str = "RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519";

/// What one file holds.
#[derive(Debug, Default)]
pub(in crate::tls) struct Pem {
    pub(in crate::tls) certificates: Vec<CertificateDer<'static>>,
    pub(in crate::tls) keys: Vec<PrivateKeyDer<'static>>,
    pub(super) lists: Vec<CertificateRevocationListDer<'static>>,
    /// What else is in it, for a message: `a certificate request`.
    pub(super) other: Option<&'static str>,
}

impl Pem {
    /// What is there instead of what was looked for.
    pub(in crate::tls) fn instead(&self) -> &'static str {
        match (self.certificates.is_empty(), self.keys.is_empty()) {
            (false, _) => "it holds certificates only",
            (true, false) => "it holds a private key",
            (true, true) if !self.lists.is_empty() => "it holds certificate revocation lists only",
            (true, true) => self.other.unwrap_or("it holds neither certificates nor keys"),
        }
    }
}

/// Reads a file that may hold a secret: others must not be able to read it.
pub(super) fn secret(path: &Path, span: &Option<Range<usize>>) -> Result<Vec<u8>, Problem> {
    let (bytes, mode) = open(path, span, LARGEST)?;
    if mode & 0o004 != 0 {
        let message = format!("{} holds a key, and every user of this machine may read it", path.display());
        return Err(Problem::error(span.clone(), message).help(format!("chmod o-rwx {}", path.display())));
    }
    Ok(bytes)
}

/// Reads a file.
pub(in crate::tls) fn public(path: &Path, span: &Option<Range<usize>>) -> Result<Vec<u8>, Problem> {
    Ok(open(path, span, LARGEST)?.0)
}

/// Reads a file of certificate revocation lists.
pub(super) fn lists(path: &Path, span: &Option<Range<usize>>) -> Result<Vec<u8>, Problem> {
    Ok(open(path, span, LARGEST_LIST)?.0)
}

fn open(path: &Path, span: &Option<Range<usize>>, largest: u64) -> Result<(Vec<u8>, u32), Problem> {
    use std::os::unix::fs::PermissionsExt;
    let shown = path.display();
    let failed = |error: std::io::Error| {
        let problem = Problem::error(span.clone(), format!("{shown} can't be read: {}", reason(&error)));
        Problem { help: obstacle::help(path, &error, Purpose::Reading), ..problem }
    };
    match files::read(path, largest, Streams::Refused) {
        Ok((bytes, _)) if bytes.is_empty() => Err(Problem::error(span.clone(), format!("{shown} is empty"))),
        Ok((bytes, metadata)) => Ok((bytes, metadata.permissions().mode())),
        Err(Unreadable::System(error)) => Err(failed(error)),
        Err(Unreadable::NotAFile(kind)) => {
            let problem = Problem::error(span.clone(), format!("{shown} is {kind}, not a file"));
            Err(problem.help("name the file itself"))
        }
        Err(Unreadable::TooLarge(_)) => {
            let message = format!("{shown} is larger than {} MiB", largest >> 20);
            Err(Problem::error(span.clone(), message).help("is it the right file?"))
        }
    }
}

/// Takes the blocks out of a file's bytes.
pub(in crate::tls) fn parse(path: &Path, bytes: &[u8], span: &Option<Range<usize>>) -> Result<Pem, Problem> {
    let shown = path.display();
    let text = String::from_utf8_lossy(bytes);
    if !text.contains("-----BEGIN ") {
        return Err(no_pem(path, bytes, span));
    }
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED") {
        let problem = Problem::error(span.clone(), format!("the key in {shown} is encrypted"));
        return Err(
            problem.help("the gateway asks for no passphrase: decrypt it with `openssl pkey -in FILE -out NEW`")
        );
    }
    // A block begins and ends on a line of its own, whatever an editor or `cat` made of it.
    let text = text.replace("-----BEGIN ", "\n-----BEGIN ").replace("-----END ", "\n-----END ");
    let mut pem = Pem { other: other(&text), ..Pem::default() };
    for (index, section) in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()).enumerate() {
        let (kind, der) = section.map_err(|_| {
            let message = format!("{shown} is damaged: block {} is not base64, or has no end", index + 1);
            Problem::error(span.clone(), message).help("copy the file again")
        })?;
        if kind == SectionKind::Certificate {
            pem.certificates.push(der.into());
        } else if kind == SectionKind::Crl {
            pem.lists.push(der.into());
        } else {
            pem.keys.extend(PrivateKeyDer::from_pem(kind, der));
        }
    }
    Ok(pem)
}

/// Whether every user of this machine may read a file.
pub(in crate::tls) fn is_exposed(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

fn other(text: &str) -> Option<&'static str> {
    [
        ("-----BEGIN CERTIFICATE REQUEST-----", "it holds a certificate request"),
        ("-----BEGIN NEW CERTIFICATE REQUEST-----", "it holds a certificate request"),
        (
            "-----BEGIN TRUSTED CERTIFICATE-----",
            "it holds OpenSSL's TRUSTED CERTIFICATE; `openssl x509` makes a plain one",
        ),
        ("-----BEGIN PUBLIC KEY-----", "it holds a public key"),
        ("-----BEGIN PKCS7-----", "it holds PKCS #7; `openssl pkcs7 -print_certs` takes the certificates out"),
    ]
    .into_iter()
    .find_map(|(label, what)| text.contains(label).then_some(what))
}

fn no_pem(path: &Path, bytes: &[u8], span: &Option<Range<usize>>) -> Problem {
    let problem = Problem::error(span.clone(), format!("{} is not PEM", path.display()));
    match bytes {
        [0x30, 0x80..=0x84, ..] => problem.help(
            "it looks like DER or PKCS #12: `openssl x509 -inform der`, `openssl crl -inform der` or \
             `openssl pkcs12 -nodes` makes PEM of it",
        ),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => problem.help("it is UTF-16: save it as plain text"),
        _ => problem.help("a PEM file has blocks that begin with -----BEGIN CERTIFICATE----- or the like"),
    }
}
