//! One name at one address, tried as Webex reaches it: the gateway's own front, or whatever stands there. The same checks
//! from the inside, where the configuration says what to expect, and from outside, where only the URL does.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use rustls::client::WebPkiServerVerifier;

use super::ask::{Ask, ask};
use super::channel::{self, Contexts, Login};
use super::door::Door;
use super::finding::{Finding, Subject};
use super::old;
use super::verdict::answer::{Expected, Seen};
use super::verdict::{Side, affinity, answer, clock};
use super::xsp::silence;
use crate::broadworks::interface::Interface;
use crate::upstream::connect::ConnectError;

/// No BroadWorks interface for Webex is there.
const STRAY: &str = "/webservice/";
/// Requests that bring a session's cookie back.
const REPEATS: usize = 2;

/// What is tried.
#[derive(Clone, Debug)]
pub(super) struct Front {
    pub(super) door: Door,
    /// What judges its certificate by itself; `None`: there are no CAs to believe.
    pub(super) belief: Option<Arc<WebPkiServerVerifier>>,
    /// The Host field.
    pub(super) host: String,
    pub(super) speaks: Speaks,
    pub(super) absence: Absence,
    /// Who may connect, as far as that is known; empty: anyone.
    pub(super) allow: Vec<IpNet>,
}

/// What is said there.
#[derive(Clone, Debug)]
pub(super) enum Speaks {
    Https(Https),
    /// Mutual TLS, and nothing that could be said without Webex's own certificate.
    Cti,
    /// TLS that is another's: nothing.
    Unread,
}

/// What is known of an HTTPS front.
#[derive(Clone, Debug)]
pub(super) struct Https {
    pub(super) demands: Demands,
    pub(super) interfaces: Vec<Served>,
    /// The name of the gateway's cookie, if it is known.
    pub(super) cookie: Option<String>,
    /// Where event channels are opened, and as whom.
    pub(super) events: Option<(Contexts, Login)>,
}

/// One interface of a front.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) interface: Interface,
    pub(super) path: String,
    pub(super) expected: Expected,
    pub(super) demands: Demands,
    /// Who may ask, as far as that is known; empty: anyone.
    pub(super) allow: Vec<IpNet>,
}

/// Whether a client certificate is demanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demands {
    Certificate,
    Nothing,
}

/// What it means if nothing listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// The gateway does not run just now.
    Expected,
    /// Webex reaches nobody.
    Wrong,
}

impl Front {
    /// Looks at it.
    pub(super) async fn look(self, mut subject: Subject) -> (Subject, ()) {
        self.knock(&mut subject).await;
        (subject, ())
    }

    async fn knock(&self, subject: &mut Subject) {
        if self.absence == Absence::Expected
            && let Err(ConnectError::Connect(error)) = self.door.reach().await
            && error.kind() == std::io::ErrorKind::ConnectionRefused
        {
            subject.add(Finding::skip("tcp", "nothing listens there: the gateway does not run"));
            return;
        }
        if !self.admits(&self.allow) {
            subject.add(Finding::skip("tcp", "`allow` does not have this machine's address"));
            return;
        }
        let demanded = match &self.speaks {
            Speaks::Https(https) => https.demands == Demands::Certificate,
            Speaks::Cti => true,
            Speaks::Unread => false,
        };
        if let Some(belief) = self.belief.clone().filter(|_| demanded) {
            self.door.knock_unproven(belief, subject).await;
            subject.extend(old::look(&self.door, &self.host).await);
            return;
        }
        if self.door.knock(subject).await.is_none() {
            return;
        }
        subject.extend(old::look(&self.door, &self.host).await);
        if let Speaks::Https(https) = &self.speaks {
            self.requests(https, subject).await;
        }
    }

    async fn requests(&self, https: &Https, subject: &mut Subject) {
        let mut offset = None;
        for served in &https.interfaces {
            if !self.admits(&served.allow) {
                let why = "`allow` does not have this machine's address";
                subject.add(Finding::skip(served.interface.name(), why));
                continue;
            }
            match ask(&self.door, &Ask::get(&self.host, &served.path)).await {
                Ok(answer) => {
                    offset = offset.or(answer.offset);
                    subject.add(served.judge(answer.status, answer.location.as_deref(), answer.took.as_millis()));
                }
                Err(trouble) => subject.add(silence(served.interface, &served.path, &trouble, Side::Front)),
            }
        }
        if let Ok(answer) = ask(&self.door, &Ask::get(&self.host, STRAY)).await {
            subject.add(answer::stray(STRAY, answer.status));
        }
        if offset.is_some() {
            subject.add(clock::one(offset));
        }
        self.session(https, subject).await;
        if let Some((contexts, login)) = &https.events {
            channel::check(&self.door, &self.host, contexts, login, subject).await;
        }
    }

    /// Several requests of one session, each over a connection of its own.
    async fn session(&self, https: &Https, subject: &mut Subject) {
        let open = |served: &&Served| {
            matches!(served.interface, Interface::XsiActions | Interface::XsiEvents)
                && served.demands == Demands::Nothing
                && self.admits(&served.allow)
        };
        let Some(served) = https.interfaces.iter().find(open) else { return };
        let Ok(first) = ask(&self.door, &Ask::get(&self.host, &served.path)).await else { return };
        if first.status >= 400 {
            return;
        }
        let mut later = Vec::new();
        if let Some(cookies) = affinity::returned(&first.cookies) {
            for _ in 0..REPEATS {
                let fields = vec![("Cookie", cookies.clone())];
                let again = Ask { fields, ..Ask::get(&self.host, &served.path) };
                let Ok(answer) = ask(&self.door, &again).await else { return };
                later.push(answer.cookies);
            }
        }
        subject.add(affinity::affinity(&first.cookies, &later, https.cookie.as_deref()));
    }

    /// Whether this machine is among those; a listener of its own sees the address that it listens on.
    fn admits(&self, allow: &[IpNet]) -> bool {
        let own: IpAddr = self.door.address.ip();
        allow.is_empty() || allow.iter().any(|range| range.contains(&own))
    }
}

impl Served {
    fn judge(&self, status: u16, location: Option<&str>, ms: u128) -> Finding {
        if self.demands == Demands::Certificate {
            return answer::guarded(self.interface, &self.path, status);
        }
        let seen = Seen { interface: self.interface, path: &self.path, status, location, ms };
        answer::interface(&seen, Side::Front, self.expected)
    }
}
