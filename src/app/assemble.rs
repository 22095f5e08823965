//! What a configuration and its files become: farms, and the snapshot that requests are served by. Apart from the
//! composition root, because files that change make them anew while everything else stays.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::RootCertStore;

use crate::config::model::{self, Config};
use crate::farm::Farm;
use crate::http1::head;
use crate::policy::affinity::{Key, Keyring};
use crate::proxy::snapshot::{Block, Face, Listener, Snapshot};
use crate::telemetry::metrics::Metrics;
use crate::tls::certs::Material;
use crate::tls::client::ClientTls;
use crate::tls::server::{ClientAuth, server_config};

/// The farms, without endpoints yet.
pub(super) fn farms(config: &Config, material: &Material, metrics: &Arc<Metrics>) -> Result<Vec<Arc<Farm>>> {
    let keyring = shared_keyring(material).unwrap_or_else(own_keyring);
    let farm = |farm: &Arc<model::Farm>| -> Result<Arc<Farm>> {
        let tls = client_tls(farm, material)?;
        Ok(Farm::new(Arc::clone(farm), tls, Arc::clone(&keyring), metrics))
    };
    config.farms.values().map(|model| farm(model).with_context(|| format!("[farm.{}]", model.name))).collect()
}

/// How a farm's XSPs are dialled.
pub(super) fn client_tls(farm: &model::Farm, material: &Material) -> Result<ClientTls> {
    let roots = match &farm.proof {
        Some(proof) => {
            let authorities = material.authorities.get(&proof.trust.name).context("its trust is not loaded")?;
            Arc::clone(&authorities.roots)
        }
        None => Arc::new(RootCertStore::empty()),
    };
    let identity = farm.certificate.as_ref().and_then(|certificate| material.identities.get(&certificate.name));
    Ok(ClientTls::new(farm, roots, identity.cloned())?)
}

/// The keys that gateways share; `None` without a file of them.
pub(super) fn shared_keyring(material: &Material) -> Option<Arc<Keyring>> {
    let mut keys = material.affinity_keys.iter().copied().map(Key::new);
    Some(Arc::new(Keyring::new(keys.next()?, keys)))
}

fn own_keyring() -> Arc<Keyring> {
    tracing::warn!("no [affinity] key_file: sessions will not survive a restart, nor be shared with another gateway");
    Arc::new(Keyring::new(Key::new(rand::random()), []))
}

/// What clients of a block get to see: `old`, if it is made of the same, so that session tickets go on being good.
fn face(https: &model::Https, material: &Material, old: Option<&Face>) -> Result<Face> {
    let identity = material.identities.get(&https.certificate.name).context("its certificate is not loaded")?;
    let clients = https.clients.iter().chain(https.interfaces.iter().filter_map(|route| route.clients.as_ref())).next();
    let authorities = match clients {
        Some(clients) => Some(material.authorities.get(&clients.trust.name).context("its client_trust is not loaded")?),
        None => None,
    };
    if let Some(old) = old.filter(|old| old.is_of(identity, authorities)) {
        return Ok(old.clone());
    }
    let tls = server_config(&https.tls, Arc::clone(identity), ClientAuth::None)?;
    Ok(Face { tls, identity: Arc::clone(identity), authorities: authorities.cloned() })
}

/// What requests are served by, on the addresses that are bound; `faces` are those of the snapshot before.
pub(super) fn snapshot(
    config: &Config,
    material: &Material,
    farms: &[Arc<Farm>],
    metrics: &Metrics,
    addresses: &[SocketAddr],
    bound: &[SocketAddr],
    faces: &[Face],
) -> Result<Snapshot> {
    let mut listeners: Vec<Listener> = bound.iter().map(|address| Listener::new(*address, metrics)).collect();
    let mut shown = Vec::new();
    for (index, https) in config.https.iter().enumerate() {
        let face = face(https, material, faces.get(index))
            .with_context(|| format!("[[https]] of {}", https.hosts.join(", ")))?;
        for (listener, _) in listeners.iter_mut().zip(addresses).filter(|(_, address)| https.listen.contains(address)) {
            let block =
                Block::new(https, Arc::clone(&face.tls), farms, &config.affinity.cookie, &listener.label, metrics);
            listener.add(Arc::new(block));
        }
        shown.push(face);
    }
    Ok(Snapshot {
        head_limits: head::Limits { head_size: config.limits.request_head_size, fields: config.limits.request_fields },
        limits: config.limits.clone(),
        tcp: config.tcp,
        listeners,
        faces: shown,
        farms: farms.to_vec(),
    })
}
