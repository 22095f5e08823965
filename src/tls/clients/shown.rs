//! Whose certificate was refused, for the log. Separate from the verdict, because rustls passes on what was wrong with a
//! certificate, and not which one it was.

use std::cell::RefCell;

use rustls::pki_types::CertificateDer;

use crate::tls::peer::facts;

/// The longest name that is told, in characters: a stranger has written it.
const LONGEST: usize = 200;

thread_local! {
    /// What was refused last on this thread.
    static REFUSED: RefCell<Option<CertificateDer<'static>>> = const { RefCell::new(None) };
}

/// The names in a certificate. They prove nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Whose it says it is.
    pub subject: Option<String>,
    /// Who it says has signed it.
    pub issuer: Option<String>,
}

impl Shown {
    /// Those of a certificate, if it can be read.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let facts = facts(certificate).ok()?;
        Some(Self { subject: Some(cut(&facts.subject_text)), issuer: Some(cut(&facts.issuer_text)) })
    }

    /// Those of the certificate that the handshake has refused which has just failed on this thread.
    pub fn refused() -> Option<Self> {
        REFUSED.take().and_then(|certificate| Self::of(&certificate))
    }
}

/// Takes note that `certificate` is refused.
pub(super) fn note(certificate: &CertificateDer<'_>) {
    REFUSED.set(Some(certificate.clone().into_owned()));
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
