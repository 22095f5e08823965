//! The blocks of a PEM file (RFC 7468), with whatever stands between them left out. Separate from `certs::pem`, which takes
//! what it knows and refuses a file for one bad block: here every block is to be seen.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// One block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// What it says that it is: `CERTIFICATE`.
    pub(super) label: String,
    pub(super) content: Content,
}

/// What is between the lines of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// DER.
    Der(Vec<u8>),
    /// DER that needs a passphrase.
    Encrypted,
    /// No end, or no base64.
    Damaged,
}

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// All blocks of `text`.
pub(super) fn blocks(text: &str) -> Vec<Block> {
    let block = |part: &str| {
        let (label, rest) = part.split_once(DASHES)?;
        let known = |character: char| character.is_ascii_uppercase() || character.is_ascii_digit() || character == ' ';
        if !label.chars().all(known) {
            return None;
        }
        let content = match rest.split_once(&format!("-----END {label}{DASHES}")) {
            Some((body, _)) => content(label, body),
            None => Content::Damaged,
        };
        Some(Block { label: label.to_owned(), content })
    };
    text.split(BEGIN).skip(1).filter_map(block).collect()
}

fn content(label: &str, body: &str) -> Content {
    if label == "ENCRYPTED PRIVATE KEY" || body.contains("Proc-Type: 4,ENCRYPTED") {
        return Content::Encrypted;
    }
    // RFC 1421 has headers before the text.
    let lines = body.lines().filter(|line| !line.contains(':'));
    let text: String = lines.flat_map(|line| line.chars().filter(|character| !character.is_whitespace())).collect();
    match STANDARD.decode(text) {
        Ok(der) if !der.is_empty() => Content::Der(der),
        Ok(_) | Err(_) => Content::Damaged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_between_other_things() {
        let der = |label: &str, bytes: &[u8]| Block { label: label.into(), content: Content::Der(bytes.to_vec()) };
        let with = |label: &str, content| Block { label: label.into(), content };
        for (text, expected) in [
            ("", vec![]),
            ("hello -----BEGIN", vec![]),
            ("-----BEGIN A-----\nAAAA\n-----END A-----\n", vec![der("A", &[0, 0, 0])]),
            (
                "Issuing CA:\r\n-----BEGIN A-----\r\nAA\r\nAA\r\n-----END A----------BEGIN B-----\n /w== \n-----END B-----",
                vec![der("A", &[0, 0, 0]), der("B", &[255])],
            ),
            (
                "-----BEGIN A-----\nAAAA\n-----BEGIN B-----\n/w==\n-----END B-----",
                vec![with("A", Content::Damaged), der("B", &[255])],
            ),
            ("-----BEGIN A-----\n!!\n-----END A-----", vec![with("A", Content::Damaged)]),
            ("-----BEGIN A-----\n-----END A-----", vec![with("A", Content::Damaged)]),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----",
                vec![with("ENCRYPTED PRIVATE KEY", Content::Encrypted)],
            ),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\nAAAA\n-----END RSA PRIVATE KEY-----",
                vec![with("RSA PRIVATE KEY", Content::Encrypted)],
            ),
            ("-----BEGIN a\nb-----", vec![]),
        ] {
            assert_eq!(blocks(text), expected, "{text:?}");
        }
    }
}
