//! What a configuration and its files become: farms, and the snapshot that requests are served by. Separate from the
//! composition root, because files that change make them again while everything else stays.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::sockets::{Slot, Tenant};
use crate::broadworks::ranges;
use crate::config::model::{self, Config};
use crate::farm::{Farm, Looks};
use crate::handover;
use crate::http1::head;
use crate::policy::affinity::{Key, KeyUse, Keyring};
use crate::policy::drained::Drained;
use crate::proxy::snapshot::{Block, Face, Listener, Snapshot};
use crate::stream;
use crate::stream::block::CtiFace;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::timeline::Timeline;
use crate::tls::certs::{Authorities, Identity, Material};
use crate::tls::client::ClientTls;
use crate::tls::clients::{ClientVerifier, TrustWatch};
use crate::tls::server::{ClientAuth, cti_server_config, server_config};
use crate::tls::tickets::Secrets;

/// The farms, without endpoints yet.
pub(super) fn farms(
    config: &Config,
    material: &Material,
    keyring: &Arc<Keyring>,
    metrics: &Arc<Metrics>,
    timeline: &Timeline,
    looks: &Arc<Looks>,
) -> Result<Vec<Arc<Farm>>> {
    let farm = |farm: &Arc<model::Farm>| -> Result<Arc<Farm>> {
        let tls = client_tls(farm, material)?;
        Ok(Farm::new(Arc::clone(farm), tls, Arc::clone(keyring), metrics, timeline, looks))
    };
    config.farms.values().map(|model| farm(model).with_context(|| format!("[farm.{}]", model.name))).collect()
}

/// The farm `handed` of another process, which the configuration no longer has: what is open at its XSPs is open there still, and is
/// counted, drained and cut here as after a reload. `None`: nothing can be.
pub(super) fn retired(
    handed: &handover::Farm,
    config: &Config,
    keyring: &Arc<Keyring>,
    metrics: &Arc<Metrics>,
    timeline: &Timeline,
    looks: &Arc<Looks>,
) -> Result<Option<Arc<Farm>>> {
    let Some(any) = config.farms.values().next().filter(|_| !handed.endpoints.is_empty()) else { return Ok(None) };
    // This process has no section for it and never dials it, so that only the name matters.
    let model = model::Farm {
        name: handed.name.clone(),
        formerly: Vec::new(),
        proof: None,
        certificate: None,
        drain: Drained::default(),
        look_when_idle: None,
        ..model::Farm::clone(any)
    };
    let tls = ClientTls::new(&model, None, None)?;
    let farm = Farm::new(Arc::new(model), tls, Arc::clone(keyring), metrics, timeline, looks);
    farm.take_over(handed);
    farm.retire();
    Ok(Some(farm))
}

/// How a farm's XSPs are dialled.
pub(super) fn client_tls(farm: &model::Farm, material: &Material) -> Result<ClientTls> {
    let authorities = match &farm.proof {
        Some(proof) => Some(authorities(material, &proof.trust)?),
        None => None,
    };
    let identity = farm.certificate.as_ref().and_then(|certificate| material.identities.get(&certificate.name));
    Ok(ClientTls::new(farm, authorities.map(Arc::as_ref), identity.map(|identity| Arc::clone(&identity.key)))?)
}

/// The keys that gateways share; `None` without a file of them.
pub(super) fn shared_keyring(material: &Material) -> Option<Arc<Keyring>> {
    keyring(material.affinity_keys.iter().copied().map(Key::new))
}

/// Of `keys`, the first of which signs; `None`: there is none.
pub(super) fn keyring(keys: impl IntoIterator<Item = Key>) -> Option<Arc<Keyring>> {
    let mut keys = keys.into_iter();
    Some(Arc::new(Keyring::new(keys.next()?, keys)))
}

/// The keys to begin with: those of the file, or else those that were in use so far, or else one of the gateway's own.
pub(super) fn keys(config: &Config, material: &Material, so_far: Vec<Key>) -> Vec<Key> {
    if !material.affinity_keys.is_empty() {
        return material.affinity_keys.iter().copied().map(Key::new).collect();
    }
    // Nothing else has sessions.
    if !config.https.is_empty() {
        tracing::warn!(
            "no [affinity] key_file: sessions will not survive a restart, nor be shared with another gateway"
        );
    }
    match so_far.is_empty() {
        true => vec![Key::new(rand::random())],
        false => so_far,
    }
}

/// Tells which keys sessions go by, if there can be any.
pub(super) fn tell_keys(config: &Config, keyring: &Keyring, metrics: &Metrics) {
    let keys: Vec<_> = keyring.prints().filter(|_| !config.https.is_empty()).collect();
    let prints = |wanted| keys.iter().filter(move |(_, part)| *part == wanted).map(|(print, _)| print.to_string());
    if let Some(signs) = prints(KeyUse::Signs).next() {
        let accepted = prints(KeyUse::Accepted).collect::<Vec<_>>().join(", ");
        let accepted = Some(accepted).filter(|prints| !prints.is_empty());
        tracing::info!(signs, accepted, "affinity keys by fingerprint: all gateways need the same");
    }
    metrics.affinity_keys(keys);
}

/// What clients of a block get to see: what they got of it before, one of `faces`, if it is made of the same, so that session
/// tickets go on being good.
fn face(https: &model::Https, material: &Material, faces: &[Face]) -> Result<Face> {
    let webex_ranges = material.webex_ranges().map(Arc::from);
    let identities = identities(material, &https.certificates)?;
    let authorities = match https.demand() {
        Some(clients) => Some(authorities(material, &clients.trust)?),
        None => None,
    };
    let ticket_secrets = Secrets::new(&material.affinity_keys);
    if let Some(old) = faces.iter().find(|old| old.is_of(https, &identities, authorities, &ticket_secrets)) {
        return Ok(Face { https: https.clone(), webex_ranges, ..old.clone() });
    }
    let clients = client_auth(https, material)?;
    let tls = server_config(https, &identities, &clients, &ticket_secrets)?;
    let before = faces.iter().find(|old| old.is_for(https)).and_then(|old| old.trust.clone());
    let made = || Some(TrustWatch::new(clients.verifier()?, https.demand()?.untrusted));
    let trust = before.or_else(made);
    let (https, authorities) = (https.clone(), authorities.cloned());
    Ok(Face { https, tls, clients, identities, ticket_secrets, authorities, trust, webex_ranges })
}

/// What a block asks of clients in the handshake (R-AUTH-2): a certificate if the block demands it, and whether they have
/// one if only an interface does.
fn client_auth(https: &model::Https, material: &Material) -> Result<ClientAuth> {
    let verifier = |clients| verifier(clients, &https.tls, material);
    let mut interfaces = https.interfaces.iter().filter_map(|route| route.clients.as_ref());
    Ok(match (&https.clients, interfaces.next()) {
        (Some(clients), _) => ClientAuth::Demanded(verifier(clients)?),
        // All interfaces of a block that demand a certificate demand the same one.
        (None, Some(clients)) => ClientAuth::Asked(verifier(clients)?),
        (None, None) => ClientAuth::None,
    })
}

fn verifier(clients: &model::Clients, policy: &model::TlsPolicy, material: &Material) -> Result<Arc<ClientVerifier>> {
    Ok(ClientVerifier::new(authorities(material, &clients.trust)?, clients, policy)?)
}

/// What is served on the addresses of `slots`; `old` is the snapshot before.
pub(super) fn snapshot(
    config: &Config,
    material: &Material,
    farms: &[Arc<Farm>],
    metrics: &Metrics,
    slots: &[Slot],
    old: Option<&Snapshot>,
) -> Result<Snapshot> {
    let mut listeners: Vec<Listener> = slots.iter().map(|slot| Listener::new(slot.real, metrics)).collect();
    let mut shown = Vec::new();
    for https in &config.https {
        let face = face(https, material, old.map_or(&[], |old| &old.faces))
            .with_context(|| format!("[[https]] of {}", https.hosts.join(", ")))?;
        for listener in at(&mut listeners, slots, Tenant::Hosts, &https.listen) {
            let block = Block::new(https, &face, farms, old, &config.affinity.cookie, &listener.label, metrics);
            listener.add(block, https);
        }
        shown.push(face);
    }
    for (index, cti) in config.cti.iter().enumerate() {
        let identities = identities(material, &cti.certificates)?;
        let judging = || -> Result<_> {
            let verifier = verifier(&cti.clients, &cti.tls, material)?;
            Ok((cti_server_config(&cti.tls, &identities, Arc::clone(&verifier))?, verifier))
        };
        let (tls, verifier) = judging().with_context(|| format!("[[cti]] with farm \"{}\"", cti.farm.name))?;
        for listener in at(&mut listeners, slots, Tenant::Cti(index), &cti.listen) {
            let farm = running(farms, &cti.farm)?;
            let allow = cti.allow.resolved(material.webex_ranges());
            let (tls, verifier) = (Arc::clone(&tls), Arc::clone(&verifier));
            let before = old.and_then(|old| old.listeners.iter().find(|before| before.address == listener.address));
            let trust = before.and_then(Listener::cti).map(|block| Arc::clone(&block.trust));
            let face = CtiFace { tls, verifier, trust };
            let block = stream::block::Cti::new(cti, face, farm, &listener.label, metrics, allow);
            listener.serve_cti(block, cti);
        }
    }
    for passthrough in &config.passthrough {
        for listener in at(&mut listeners, slots, Tenant::Hosts, &passthrough.listen) {
            let farm = running(farms, &passthrough.farm)?;
            let allow = passthrough.allow.resolved(material.webex_ranges());
            let block = stream::block::Passthrough::new(passthrough, farm, &listener.label, metrics, allow);
            listener.pass_through(block, passthrough);
        }
    }
    Ok(Snapshot {
        head_limits: head::HeadLimits {
            head_size: config.limits.request_head_size,
            fields: config.limits.request_fields,
        },
        limits: config.limits.clone(),
        webex: material.webex_ranges().map_or_else(ranges::all, <[_]>::to_vec).into(),
        tcp: config.tcp,
        via: config.via,
        listeners: listeners.into(),
        faces: shown.into(),
        drain_timeout: config.drain_timeout,
        handover_timeout: config.handover_timeout,
        farms: farms.into(),
    })
}

/// The listeners of `tenant` whose configured address is in `listen`.
fn at<'l>(
    listeners: &'l mut [Listener],
    slots: &'l [Slot],
    tenant: Tenant,
    listen: &'l [SocketAddr],
) -> impl Iterator<Item = &'l mut Listener> {
    let both = listeners.iter_mut().zip(slots);
    both.filter(move |(_, slot)| slot.is_of(tenant, listen)).map(|(listener, _)| listener)
}

fn identities(material: &Material, certificates: &[Arc<model::Certificate>]) -> Result<Vec<Arc<Identity>>> {
    let loaded = certificates.iter().map(|certificate| material.identities.get(&certificate.name).cloned());
    loaded.collect::<Option<_>>().context("its certificate is not loaded")
}

fn authorities<'m>(material: &'m Material, trust: &model::Trust) -> Result<&'m Arc<Authorities>> {
    material.authorities.get(&trust.name).context("its trust is not loaded")
}

fn running(farms: &[Arc<Farm>], farm: &model::Farm) -> Result<Arc<Farm>> {
    farms.iter().find(|running| running.name() == farm.name).map(Arc::clone).context("its farm does not run")
}
