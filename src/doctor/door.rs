//! A door to knock at: an address, and what must be proved there. Separate from what is asked behind it. A peer whose
//! certificate is not believed is told nothing: a second handshake merely looks at what it shows, and hangs up.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, CommonState, Error, ProtocolVersion};
use tokio::time::timeout;

use super::finding::{Finding, Subject};
use super::verdict::Side;
use super::verdict::certificate::{self, Demand};
use super::verdict::reach::{self, Unproven};
use super::witness::{Nothing, Witness};
use crate::config::model::Tcp;
use crate::config::types::suite::suite_name;
use crate::tls::certs::now;
use crate::tls::peer::{Facts, facts};
use crate::tls::refusal::{Refused, explain};
use crate::tls::stream::Stream;
use crate::upstream::connect::{ConnectError, Dial, connect, handshake_fault, open};

/// What is tried, and what must be proved there.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    /// The name that the certificate must prove.
    pub(super) name: ServerName<'static>,
    /// Whom to believe, and what to show. Its sessions are not used: each handshake is a whole one.
    pub(super) tls: Arc<ClientConfig>,
    /// Who must have signed the certificate, for messages.
    pub(super) trust: String,
    pub(super) side: Side,
    /// The longest that each step may take.
    pub(super) patience: Duration,
}

impl Door {
    /// The same door for somebody who has no certificate.
    pub(super) fn without_certificate(&self) -> Self {
        let mut tls = ClientConfig::clone(&self.tls);
        tls.client_auth_cert_resolver = Arc::new(Nothing);
        Self { tls: Arc::new(tls), ..self.clone() }
    }

    /// Connects, and says nothing.
    pub(super) async fn reach(&self) -> Result<(), ConnectError> {
        open(&self.dial(Arc::clone(&self.tls))).await.map(drop)
    }

    /// Connects and shakes hands; the certificate is believed then.
    pub(super) async fn open(&self) -> Result<Stream, ConnectError> {
        connect(self.dial(Arc::clone(&self.tls))).await
    }

    /// Looks at TCP, TLS and the certificate; the connection, if it can be gone through.
    pub(super) async fn knock(&self, subject: &mut Subject) -> Option<Stream> {
        let begun = Instant::now();
        let opened = self.open().await;
        self.reached(&opened, subject)?;
        match opened {
            Ok(stream) => {
                self.believed(stream.common(), begun.elapsed(), subject);
                Some(stream)
            }
            Err(error) => {
                self.explain(&error, subject).await;
                None
            }
        }
    }

    /// As [`Door::knock`], where a certificate is demanded that nobody here has: also whether it is missed. In TLS 1.2 that
    /// shows in the handshake, when the peer's own certificate has been seen already; `belief` judges it.
    pub(super) async fn knock_unproven(&self, belief: Arc<WebPkiServerVerifier>, subject: &mut Subject) {
        let (witness, begun) = (Arc::new(Witness::strict(belief)), Instant::now());
        let opened = connect(self.dial(self.watched(&witness))).await;
        if self.reached(&opened, subject).is_none() {
            return;
        }
        let outcome = match opened {
            Ok(mut stream) => {
                self.believed(stream.common(), begun.elapsed(), subject);
                self.missed(&mut stream).await
            }
            Err(error) if witness.is_content() => {
                let chain = facts_of(&witness.seen());
                subject.add(Finding::ok("tls", "it goes as far as it can without a certificate"));
                subject.add(certificate::believed(&chain, &self.demand(&self.called())));
                turned_away(&error)
            }
            Err(error) => return self.explain(&error, subject).await,
        };
        subject.add(reach::unproven(outcome, self.side));
    }

    /// Whether there was a connection, as a finding.
    fn reached(&self, opened: &Result<Stream, ConnectError>, subject: &mut Subject) -> Option<()> {
        if let Some(finding) = opened.as_ref().err().and_then(|error| reach::tcp(error, self.side)) {
            subject.add(finding);
            return None;
        }
        subject.add(Finding::ok("tcp", "connected"));
        Some(())
    }

    fn believed(&self, session: &CommonState, took: Duration, subject: &mut Subject) {
        subject.add(Finding::ok("tls", format!("{} after {} ms", agreed(session), took.as_millis())));
        let chain = facts_of(session.peer_certificates().unwrap_or_default());
        subject.add(certificate::believed(&chain, &self.demand(&self.called())));
    }

    /// Why a handshake failed. A certificate that is not believed is looked at again, without believing it.
    async fn explain(&self, error: &ConnectError, subject: &mut Subject) {
        let reason = error.fault().name();
        if !reason.starts_with("certificate") {
            subject.add(reach::handshake(reason, self.side));
            return;
        }
        let witness = Arc::new(Witness::onlooker(self.tls.crypto_provider()));
        if let Ok(stream) = connect(self.dial(self.watched(&witness))).await {
            subject.add(Finding::ok("tls", agreed(stream.common())));
        }
        let (seen, name) = (witness.seen(), self.called());
        let demand = self.demand(&name);
        let detail = tls_error(error)
            .map(|error| explain(&Refused { error, chain: &seen, name: &name, trust: demand.trust, now: demand.now }));
        let (chain, detail) = (facts_of(&seen), detail.unwrap_or_default());
        subject.add(certificate::refused(reason, &detail, &chain, &demand));
    }

    /// What is dialled with when `witness` judges, and nothing is shown.
    fn watched(&self, witness: &Arc<Witness>) -> Arc<ClientConfig> {
        let mut tls = ClientConfig::clone(&self.without_certificate().tls);
        tls.dangerous().set_certificate_verifier(Arc::clone(witness) as _);
        Arc::new(tls)
    }

    /// What becomes of a client that shows no certificate. Nothing is said to the peer but the handshake.
    pub(super) async fn unproven(&self) -> Unproven {
        match self.without_certificate().open().await {
            Ok(mut stream) => self.missed(&mut stream).await,
            Err(error) => turned_away(&error),
        }
    }

    async fn missed(&self, stream: &mut Stream) -> Unproven {
        match Self::settle(stream, self.patience).await {
            Settled::Kept => Unproven::LetIn,
            Settled::Refused(how) => Unproven::TurnedAway(how),
        }
    }

    /// In TLS 1.3 a handshake is through before the peer has looked at the client's certificate: a refusal comes after it.
    /// Silence of `at_most` is none.
    pub(super) async fn settle(stream: &mut Stream, at_most: Duration) -> Settled {
        let mut heard = Vec::new();
        match timeout(at_most, poll_fn(|cx| stream.poll_read(cx, &mut heard))).await {
            Ok(Err(error)) if is_alert(&error) => Settled::Refused(handshake_fault(&error).name()),
            Ok(Err(_) | Ok(0)) => Settled::Refused("closed"),
            Ok(Ok(_)) | Err(_) => Settled::Kept,
        }
    }

    fn dial(&self, tls: Arc<ClientConfig>) -> Dial {
        let mut tls = ClientConfig::clone(&tls);
        tls.resumption = Resumption::disabled();
        let tls = Arc::new(tls);
        Dial {
            address: self.address,
            name: self.name.clone(),
            tls,
            resumed: None,
            tcp: Tcp::default(),
            patience: self.patience,
            refusal: Arc::default(),
        }
    }

    fn demand<'a>(&'a self, name: &'a str) -> Demand<'a> {
        Demand { name, trust: &self.trust, side: self.side, now: now() }
    }

    fn called(&self) -> String {
        self.name.to_str().into_owned()
    }
}

/// What a peer makes of a client whose handshake is through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// It has said something, or nothing against it for a while.
    Kept,
    /// It has ended the connection, by that alert or without one.
    Refused(&'static str),
}

/// What rustls said, if it was rustls.
fn tls_error(error: &ConnectError) -> Option<&Error> {
    let ConnectError::Handshake(cause) = error else { return None };
    cause.get_ref()?.downcast_ref()
}

fn is_alert(error: &io::Error) -> bool {
    matches!(error.get_ref().and_then(|cause| cause.downcast_ref()), Some(Error::AlertReceived(_)))
}

/// A server of TLS 1.2 refuses in the handshake, by an alert or by closing.
fn is_refusal(error: &io::Error) -> bool {
    is_alert(error) || matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}

/// What became of somebody whose handshake failed for want of a certificate.
fn turned_away(error: &ConnectError) -> Unproven {
    if let ConnectError::Handshake(cause) = error
        && is_refusal(cause)
    {
        return Unproven::TurnedAway(handshake_fault(cause).name());
    }
    Unproven::Unknown(error.fault().name())
}

/// What a handshake agreed on: version, suite and group.
fn agreed(session: &CommonState) -> String {
    let version = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3".to_owned(),
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2".to_owned(),
        other => format!("{other:?}"),
    };
    let suite = session.negotiated_cipher_suite().map(|suite| suite_name(suite.suite())).unwrap_or_default();
    let group = session.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name())).unwrap_or_default();
    format!("{version}, {suite}, {group}")
}

fn facts_of(chain: &[CertificateDer<'_>]) -> Vec<Facts> {
    chain.iter().filter_map(|der| facts(der).ok()).collect()
}
