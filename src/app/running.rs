//! What runs, and what it was made of: another configuration and other files are taken over while everything goes on, all
//! that has changed or nothing. Separate from the decision whether to, which is for those who are asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::mpsc;

use super::handover_state::{ForSuccessor, Inherited};
use super::lost;
use super::peers;
use super::sockets::Sockets;
use super::{assemble, sockets};
use crate::config::error::Source;
use crate::config::model::{self, Config};
use crate::core::Core;
use crate::discover::Change;
use crate::discover::dns::DnsResolver;
use crate::farm::Farm;
use crate::policy::affinity::{Key, Keyring};
use crate::proxy::listener;
use crate::proxy::snapshot::Snapshot;
use crate::telemetry::traces;
use crate::tls::certs::Material;
use crate::tls::certs::files;
use crate::tls::client::ClientTls;

/// How long a farm that is new may take to find its first XSP before clients come.
pub(super) const FIRST_XSP: Duration = Duration::from_secs(2);
/// How often it is looked at meanwhile.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A gateway that runs, seen from its parts.
pub(super) struct Running {
    pub(super) core: Core,
    pub(super) config: Config,
    /// What the configuration was read from.
    pub(super) source: Source,
    pub(super) material: Arc<Material>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) sockets: Sockets,
    pub(super) discovery: mpsc::UnboundedSender<Change<DnsResolver>>,
    pub(super) for_successor: ForSuccessor,
}

/// Farms, and how they are dialled from now on.
type Redialled = Vec<(Arc<Farm>, ClientTls)>;

/// Everything new, made and not yet in use.
struct Made {
    /// The farms that are dialled in another way now.
    tls: Redialled,
    keyring: Arc<Keyring>,
    sockets: sockets::Plan,
    /// With every farm, those that are retired too.
    snapshot: Snapshot,
    /// `None`: as before.
    traces: Option<traces::Next>,
}

impl Running {
    /// Goes by `config` and `material` from now on; what is lost by that is returned in words.
    ///
    /// # Errors
    /// What stands in the way. Nothing has changed then.
    pub(super) fn take_over(&mut self, config: Config, material: Material) -> Result<Vec<String>> {
        let material = material.keeping(&self.material);
        let made = self.make(&config, &material)?;
        Ok(self.publish(config, material, made))
    }

    fn make(&self, config: &Config, material: &Material) -> Result<Made> {
        let sockets = self.sockets.plan(config, &mut Inherited::default())?;
        // Keys that were made for want of a file go on being good.
        let keyring = match assemble::shared_keyring(material) {
            Some(shared) if !material.read.agrees(&self.material.read, files::AFFINITY) => shared,
            Some(_) | None => Arc::clone(&self.keyring),
        };
        let (farms, tls) = self.farms(config, material, &keyring)?;
        let Core { shared, metrics, .. } = &self.core;
        let old = shared.snapshot.load();
        let snapshot = assemble::snapshot(config, material, &farms, metrics, &sockets.slots, Some(&old))?;
        let traces = match config.traces == self.config.traces {
            true => None,
            false => Some(shared.traces.prepare(config.traces.as_ref(), metrics).context("[traces]")?),
        };
        Ok(Made { tls, keyring, sockets, snapshot, traces })
    }

    /// Every farm: those of `config`, which run already or are new, and those that are retired, to which nothing leads, but whose
    /// streams are looked after. And how those are dialled that are dialled in another way now.
    fn farms(
        &self,
        config: &Config,
        material: &Material,
        keyring: &Arc<Keyring>,
    ) -> Result<(Vec<Arc<Farm>>, Redialled)> {
        let Core { metrics, timeline, looks, .. } = &self.core;
        let running = self.core.farms();
        let (mut farms, mut tls) = (Vec::new(), Vec::new());
        for model in config.farms.values() {
            let dialled = || assemble::client_tls(model, material).with_context(|| format!("[farm.{}]", model.name));
            let Some(farm) = running.iter().find(|farm| farm.name() == model.name) else {
                farms.push(Farm::new(Arc::clone(model), dialled()?, Arc::clone(keyring), metrics, timeline, looks));
                continue;
            };
            // Who is passed through from now on is dialled as before for the sake of what is still bridged.
            if model.proof.is_some() && is_dialled_otherwise(&farm.config(), model, &self.material, material) {
                tls.push((Arc::clone(farm), dialled()?));
            }
            farms.push(Arc::clone(farm));
        }
        for farm in running.iter().filter(|farm| !config.farms.contains_key(farm.name())) {
            let model = farm.config();
            // What it needs may have left the configuration, too; then it stays as it is.
            if is_dialled_otherwise(&model, &model, &self.material, material)
                && let Ok(dialled) = assemble::client_tls(&model, material)
            {
                tls.push((Arc::clone(farm), dialled));
            }
            farms.push(Arc::clone(farm));
        }
        Ok((farms, tls))
    }

    /// Nothing in here can fail.
    fn publish(&mut self, config: Config, material: Material, made: Made) -> Vec<String> {
        let Core { shared, metrics, .. } = self.core.clone();
        let farms = Arc::clone(&made.snapshot.farms);
        let (configured, retired): (Vec<_>, Vec<_>) =
            farms.iter().partition(|farm| config.farms.contains_key(farm.name()));
        for (farm, model) in configured.iter().filter_map(|farm| Some((farm, config.farms.get(farm.name())?))) {
            farm.reconfigure(Arc::clone(model));
        }
        for (farm, tls) in made.tls {
            farm.renew_tls(tls);
        }
        if !Arc::ptr_eq(&self.keyring, &made.keyring) || config.https.is_empty() != self.config.https.is_empty() {
            assemble::tell_keys(&config, &made.keyring, &metrics);
        }
        if !Arc::ptr_eq(&self.keyring, &made.keyring) {
            farms.iter().for_each(|farm| farm.renew_keys(Arc::clone(&made.keyring)));
            self.keyring = made.keyring;
            self.for_successor.keys = material.affinity_keys.iter().copied().map(Key::new).collect();
        }
        let renamed = self.renamed(&configured);
        for (farm, old) in &renamed {
            tracing::info!(farm = farm.name(), formerly = old.name(), "farm renamed");
            farm.take_over(&old.hand_over());
        }
        for farm in &configured {
            let names = farm.names();
            let former = retired.iter().filter(|old| names.iter().any(|name| name == old.name()));
            former.for_each(|old| peers::go_on(&self.core, farm, old));
        }
        self.discover(&config, &configured);
        let lost = self.lost(&configured, &retired, &renamed).tell();
        self.sockets.close(&made.sockets);
        shared.snapshot.store(Arc::new(made.snapshot));
        shared.cuts.set_spread(config.drain_spread);
        self.judge_clients();
        retired.iter().for_each(|farm| farm.retire());
        peers::hear_again(&self.core);
        shared.channels.set_remember(config.affinity.lost_channels_for);
        if let Some(traces) = made.traces {
            shared.traces.replace(traces);
        }
        self.sockets.adopt(made.sockets);
        metrics.certificates_expire(material.expiries.iter().cloned());
        metrics.certificates_are_current();
        self.config = config;
        self.material = Arc::new(material);
        lost
    }

    /// Has connections end whose clients are believed no longer, where the configuration says so: as far apart as if it were all
    /// that there are, since nobody knows yet how many it is.
    pub(super) fn judge_clients(&self) {
        let shared = &self.core.shared;
        shared.snapshot.load().judge_clients();
        shared.cuts.begin(listener::open());
        shared.cuts.call();
    }

    /// Those of `farms` that are new, with the farm that ran under the name that they had before.
    fn renamed(&self, farms: &[&Arc<Farm>]) -> Vec<(Arc<Farm>, Arc<Farm>)> {
        let running = self.core.farms();
        let is_new = |farm: &&&Arc<Farm>| !self.config.farms.contains_key(farm.name());
        let old = |farm: &&Arc<Farm>| {
            let config = farm.config();
            let mut former = config.formerly.iter().filter(|name| self.config.farms.contains_key(*name));
            let name = former.next()?;
            running.iter().find(|old| old.name() == name).map(|old| (Arc::clone(farm), Arc::clone(old)))
        };
        farms.iter().filter(is_new).filter_map(old).collect()
    }

    /// The farms that go and those that come, but for those that are `renamed`.
    fn lost(&self, farms: &[&Arc<Farm>], retired: &[&Arc<Farm>], renamed: &[(Arc<Farm>, Arc<Farm>)]) -> lost::Change {
        let ran = |farm: &Farm| self.config.farms.contains_key(farm.name());
        let is_new = |farm: &Farm| !ran(farm) && !renamed.iter().any(|(new, _)| new.name() == farm.name());
        let is_gone = |old: &Farm| ran(old) && !renamed.iter().any(|(_, known)| known.name() == old.name());
        let new = farms.iter().filter(|farm| is_new(farm)).map(|farm| Arc::clone(farm)).collect();
        let mut change = lost::Change { new, gone: Vec::new() };
        retired.iter().filter(|old| is_gone(old)).for_each(|old| change.goes(old));
        change
    }

    /// Has the XSPs of `farms` found, which the configuration has, and waits a moment for those of farms that are new to it.
    fn discover(&self, config: &Config, farms: &[&Arc<Farm>]) {
        if config.dns == self.config.dns && config.farms == self.config.farms {
            return;
        }
        // What is found is for farms that run.
        self.core.change_farms(|running| {
            let runs = |farm: &Arc<Farm>| running.iter().any(|known| Arc::ptr_eq(known, farm));
            running.iter().chain(farms.iter().copied().filter(|farm| !runs(farm))).map(Arc::clone).collect()
        });
        let change = Change {
            farms: config.farms.values().cloned().collect(),
            dns: config.dns.clone(),
            resolver: (config.dns != self.config.dns).then(|| DnsResolver::new(&config.dns)),
        };
        // The error says that discovery has ended, and the process is about to.
        self.discovery.send(change).ok();
        let new: Vec<_> = farms.iter().filter(|farm| !self.config.farms.contains_key(farm.name())).collect();
        let deadline = Instant::now() + FIRST_XSP;
        while new.iter().any(|farm| farm.has_nobody()) && Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Whether what a farm's XSPs are dialled with has changed. [`Material::keeping`] keeps what has not at its address.
fn is_dialled_otherwise(before: &model::Farm, now: &model::Farm, old: &Material, new: &Material) -> bool {
    let trust = now.proof.as_ref().is_some_and(|proof| {
        let authorities = |material: &Material| material.authorities.get(&proof.trust.name).map(Arc::as_ptr);
        authorities(old) != authorities(new)
    });
    let identity = now.certificate.as_ref().is_some_and(|certificate| {
        let identity = |material: &Material| material.identities.get(&certificate.name).map(Arc::as_ptr);
        identity(old) != identity(new)
    });
    let policy = before.proof != now.proof || before.certificate != now.certificate || before.tls != now.tls;
    trust || identity || policy
}
