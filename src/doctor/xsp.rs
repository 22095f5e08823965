//! One XSP, tried as the gateway reaches it: the farm's trust, name and certificate, and what each interface asks when it
//! probes.

use std::time::Duration;

use super::ask::{Ask, Trouble, ask};
use super::door::{Door, Settled};
use super::finding::{Finding, Subject};
use super::verdict::answer::{Expected, Seen};
use super::verdict::{Side, answer, clock, reach};
use crate::broadworks::interface::Interface;
use crate::config::model::{Config, Farm, Speaks};

/// How long an XSP that refuses the gateway's certificate may take to say so. One that takes it says nothing.
const VERDICT: Duration = Duration::from_secs(2);

/// One interface as the gateway probes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probed {
    interface: Interface,
    path: String,
    /// The Host field: a name that clients use.
    host: String,
}

impl Probed {
    /// What the routes of `config` ask the XSPs of `farm` for, each once.
    pub(super) fn of(config: &Config, farm: &Farm) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for block in &config.https {
            for route in block.interfaces.iter().filter(|route| route.farm.name == farm.name) {
                let known =
                    all.iter().any(|known| known.interface == route.interface && known.path == route.probe_path);
                if !known {
                    let host = block.hosts.first().cloned().unwrap_or_default();
                    all.push(Self { interface: route.interface, path: route.probe_path.clone(), host });
                }
            }
        }
        all
    }
}

/// What is said to an XSP.
#[derive(Clone, Debug)]
pub(super) enum Manner {
    /// Requests, if its certificate is believed.
    Http(Vec<Probed>),
    /// Nothing at all, over TLS.
    Cti,
    /// Nothing at all.
    Unread,
}

impl Manner {
    /// How the XSPs of `farm` are spoken to.
    pub(super) fn of(config: &Config, farm: &Farm) -> Self {
        match farm.proof.as_ref().map(|proof| proof.speaks) {
            Some(Speaks::Http) => Self::Http(Probed::of(config, farm)),
            Some(Speaks::Cti) => Self::Cti,
            None => Self::Unread,
        }
    }
}

/// Whether the gateway shows a certificate to the XSPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    Certificate,
    Nothing,
}

/// Looks at one XSP; with what is said about it, how far its clock is ahead in seconds.
pub(super) async fn look(door: Door, manner: Manner, shows: Shows, mut subject: Subject) -> (Subject, Option<i64>) {
    if let Manner::Unread = manner {
        subject.add(match door.reach().await {
            Ok(()) => Finding::ok("tcp", "connected; its TLS is between it and the clients"),
            Err(error) => reach::tcp(&error, Side::Xsp).unwrap_or_else(|| Finding::skip("tcp", error.fault().name())),
        });
        return (subject, None);
    }
    let Some(mut stream) = door.knock(&mut subject).await else { return (subject, None) };
    if shows == Shows::Certificate {
        let refusal = match Door::settle(&mut stream, VERDICT.min(door.patience)).await {
            Settled::Kept => None,
            Settled::Refused(how) => Some(how),
        };
        subject.add(reach::proven(refusal));
    }
    drop(stream);
    match manner {
        Manner::Http(probed) => {
            let offset = requests(&door, &probed, &mut subject).await;
            (subject, offset)
        }
        Manner::Cti => {
            subject.add(reach::unproven(door.unproven().await, Side::Xsp));
            (subject, None)
        }
        Manner::Unread => (subject, None),
    }
}

async fn requests(door: &Door, probed: &[Probed], subject: &mut Subject) -> Option<i64> {
    let (mut offset, mut answered) = (None, false);
    for Probed { interface, path, host } in probed {
        match ask(door, &Ask::get(host, path)).await {
            Ok(answer) => {
                answered = true;
                offset = offset.or(answer.offset);
                let seen = Seen {
                    interface: *interface,
                    path,
                    status: answer.status,
                    location: answer.location.as_deref(),
                    ms: answer.took.as_millis(),
                };
                subject.add(answer::interface(&seen, Side::Xsp, Expected::Yes));
            }
            Err(trouble) => subject.add(silence(*interface, path, &trouble, Side::Xsp)),
        }
    }
    if answered {
        subject.add(clock::one(offset));
    }
    offset
}

/// No answer to a request.
pub(super) fn silence(interface: Interface, path: &str, trouble: &Trouble, side: Side) -> Finding {
    let found = format!("GET {path}: {trouble}");
    let help = match (side, trouble.alert()) {
        (Side::Xsp, Some(_)) => {
            "a client certificate is demanded: `certificate` of the farm names what the gateway shows"
        }
        (Side::Front | Side::Through, Some(_)) => {
            "a client certificate is demanded of everybody: apps have none (R-AUTH-1)"
        }
        (_, None) => "it takes connections and does not answer: see its log, or restart it",
    };
    Finding::fail(interface.name(), found, help)
}
