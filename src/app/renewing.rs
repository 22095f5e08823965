//! Certificates, keys and CAs that are taken over while everything runs: all that has changed, or nothing. Apart from the
//! start, because a fault here must leave what runs as it is.

use std::sync::Arc;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use tracing::{info, warn};

use super::{Bound, assemble};
use crate::config::error::{Problem, Severity};
use crate::config::model::{self, Config};
use crate::farm::Farm;
use crate::proxy::context::Shared;
use crate::proxy::snapshot::Snapshot;
use crate::telemetry::metrics::{Metrics, Renewal};
use crate::tls::certs::files::{self, Files};
use crate::tls::certs::{self, Material};
use crate::tls::client::ClientTls;
use crate::tls::peer::Instant;

/// What it takes to make the files' part of a running gateway anew.
pub(super) struct Renewing {
    pub(super) config: Config,
    pub(super) farms: Vec<Arc<Farm>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shared: Arc<Shared>,
    /// The addresses that are bound.
    pub(super) bound: Vec<Bound>,
    /// What is in use.
    pub(super) material: ArcSwap<Material>,
}

/// Everything new, made and not yet in use.
struct Made {
    farms: Vec<(Arc<Farm>, ClientTls)>,
    snapshot: Snapshot,
}

impl Renewing {
    /// Reads the files again, and takes over what has changed in them if all of it can be used.
    pub(super) fn renew(&self) {
        let outcome = self.outcome();
        self.metrics.renewal(outcome);
    }

    fn outcome(&self) -> Renewal {
        let old = self.material.load_full();
        if old.read.is_current() {
            info!("certificates, keys and CAs are what they were");
            return Renewal::Unchanged;
        }
        let (material, problems) = certs::load(&self.config);
        let Some(material) = material else {
            self.refuse(&problems);
            return Renewal::Refused;
        };
        let material = material.keeping(&old);
        match self.make(&old, &material) {
            Ok(made) => {
                self.warn_of(&problems, &old, &material);
                self.publish(made, &old, material);
                Renewal::Renewed
            }
            Err(error) => {
                let problem = format!("{error:#}");
                warn!(problem, "certificates not renewed, the old ones stay in use");
                Renewal::Refused
            }
        }
    }

    fn make(&self, old: &Material, new: &Material) -> Result<Made> {
        let made = |farm: &Arc<Farm>| {
            let tls = assemble::client_tls(&farm.config(), new).with_context(|| format!("[farm.{}]", farm.name()));
            Ok((Arc::clone(farm), tls?))
        };
        let changed = self.farms.iter().filter(|farm| farm_changed(&farm.config(), old, new));
        let farms = changed.map(made).collect::<Result<_>>()?;
        let running = self.shared.snapshot.load();
        let faces = &running.faces;
        let snapshot = assemble::snapshot(&self.config, new, &self.farms, &self.metrics, &self.bound, faces)?;
        Ok(Made { farms, snapshot })
    }

    /// Nothing in here can fail.
    fn publish(&self, made: Made, old: &Material, new: Material) {
        for (farm, tls) in made.farms {
            farm.renew_tls(tls);
        }
        if let Some(keyring) = assemble::shared_keyring(&new)
            && !new.read.agrees(&old.read, files::AFFINITY)
        {
            self.farms.iter().for_each(|farm| farm.renew_keys(Arc::clone(&keyring)));
        }
        self.shared.snapshot.store(Arc::new(made.snapshot));
        self.metrics.certificates_expire(new.expiries.iter().cloned());
        let now = certs::now();
        for section in new.read.changed(&old.read) {
            // What is over already has been told of by a warning.
            let expiries = new.expiries.iter().filter(|expiry| expiry.section == section && expiry.at >= now);
            let ends = expiries.map(|expiry| expiry.at).min().and_then(Instant::of).map(|end| end.day);
            info!(section, ends, "certificates renewed");
        }
        self.material.store(Arc::new(new));
    }

    fn refuse(&self, problems: &[Problem]) {
        let files = Files::of(&self.config);
        for problem in problems.iter().filter(|problem| problem.severity == Severity::Error) {
            self.tell(&files, problem, "certificates not renewed, the old ones stay in use");
        }
    }

    /// What is odd about files that are taken over all the same.
    fn warn_of(&self, problems: &[Problem], old: &Material, new: &Material) {
        let files = new.read.files();
        for problem in problems {
            let unchanged = |(section, _): (&str, _)| new.read.agrees(&old.read, section);
            if !files.origin(&self.config, problem).is_some_and(unchanged) {
                self.tell(files, problem, "certificates renewed, but see what is odd about them");
            }
        }
    }

    fn tell(&self, files: &Files, problem: &Problem, consequence: &'static str) {
        let (section, file) = files.origin(&self.config, problem).unzip();
        let file = file.map(|file| file.display().to_string());
        warn!(section, file, problem = problem.message, help = problem.help, "{consequence}");
    }
}

/// Whether what a farm's XSPs are dialled with has changed. [`Material::keeping`] keeps what has not at its address.
fn farm_changed(farm: &model::Farm, old: &Material, new: &Material) -> bool {
    let trust = farm.proof.as_ref().is_some_and(|proof| {
        let authorities = |material: &Material| material.authorities.get(&proof.trust.name).map(Arc::as_ptr);
        authorities(old) != authorities(new)
    });
    let identity = farm.certificate.as_ref().is_some_and(|certificate| {
        let identity = |material: &Material| material.identities.get(&certificate.name).map(Arc::as_ptr);
        identity(old) != identity(new)
    });
    trust || identity
}
