//! The gateway's own client certificate towards XSPs' CTI: is it one for which [`crate::broadworks::cti`] has its rules,
//! and does it keep them? Separate from the other identities, because it may be let off.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::Authorities;
use super::chain::{Chain, Link};
use crate::broadworks::cti::{self, Fault};
use crate::config::error::{Problem, Severity};
use crate::config::model::{Certificate, Config, Farm, Strictness};
use crate::config::place::Spot;
use crate::tls::peer::{Role, day};

/// A certificate that farms of [[cti]] blocks show.
pub(super) struct Client<'a> {
    certificate: &'a Certificate,
    farms: Vec<&'a Farm>,
    chain: Option<Range<usize>>,
    key: Option<Range<usize>>,
}

impl<'a> Client<'a> {
    /// `None`: no farm of a [[cti]] block shows this certificate.
    pub(super) fn of(config: &'a Config, certificate: &'a Certificate) -> Option<Self> {
        let farms = config.cti.iter().map(|cti| &*cti.farm);
        let shows = |farm: &&Farm| farm.certificate.as_ref().is_some_and(|shown| shown.name == certificate.name);
        let farms: Vec<&Farm> = farms.filter(shows).collect();
        let name = &certificate.name;
        (!farms.is_empty()).then(|| Self {
            certificate,
            farms,
            chain: config.places.of(&Spot::CertificateChain(name.clone())),
            key: config.places.of(&Spot::CertificateKey(name.clone())),
        })
    }

    /// What a broken rule amounts to, unless it is that of [`Self::other_key`].
    const fn severity(&self) -> Severity {
        self.at_most(Severity::Error)
    }

    /// `severity`, if the certificate is not let off.
    pub(super) const fn at_most(&self, severity: Severity) -> Severity {
        match self.certificate.strict {
            Strictness::Errors => severity,
            Strictness::Warnings => Severity::Warning,
        }
    }

    /// Which of these is the certificate, if the key does not tell: the first that is no CA.
    pub(super) fn presumed(links: &[Link]) -> usize {
        links.iter().position(|link| link.facts.role == Role::EndEntity).unwrap_or(0)
    }

    /// Reports that the key is another certificate's. Nobody is let off that: there is no XSP that would take it, and
    /// where the two files are renewed one after the other, the old pair serves until both are there.
    pub(super) fn other_key(&self, problems: &mut Vec<Problem>) {
        let shown = |path: &std::path::Path| path.display().to_string();
        let fault = Fault::OtherKey { key: shown(&self.certificate.key), chain: shown(&self.certificate.chain) };
        problems.push(self.problem(&fault, self.key.clone(), Severity::Error));
    }

    /// Reports each rule that the certificate breaks. A bundle that could not be read says nothing of a chain's end: that
    /// is a problem of its own.
    pub(super) fn check(
        &self,
        chain: &Chain,
        authorities: &BTreeMap<String, Arc<Authorities>>,
        now: i64,
        problems: &mut Vec<Problem>,
    ) {
        let proofs = self.farms.iter().filter_map(|farm| farm.proof.as_ref());
        let bundles = proofs.filter_map(|proof| authorities.get(&proof.trust.name));
        let broken = bundles.filter_map(|bundle| chain.fault(&bundle.roots)).next();
        let Some(leaf) = chain.links.first() else { return };
        let alone = chain.links.len() == 1;
        for fault in cti::faults(&leaf.der, now).into_iter().chain(broken) {
            let problem = self.problem(&fault, self.chain.clone(), self.severity());
            problems.push(match &fault {
                // Only time has broken these, and only of these it is of interest since when.
                Fault::NotYetValid { .. } | Fault::Expired { .. } => {
                    let told = leaf.facts.validity().told(now, day).unwrap_or_default();
                    let (severity, message) = (self.at_most(Severity::Lapsed), self.message(&format!("it {told}")));
                    Problem { severity, message, ..problem }
                }
                Fault::IssuerMissing { .. } if alone => Problem {
                    severity: self.at_most(Severity::Warning),
                    message: format!(
                        "XSPs that don't have its issuer will turn [certificate.{}] away on their CTI port: {fault}",
                        self.certificate.name
                    ),
                    ..problem
                },
                Fault::Unreadable
                | Fault::NoUsage
                | Fault::NotForCti { .. }
                | Fault::NotForClients { .. }
                | Fault::CommonName { .. }
                | Fault::AlternativeNames { .. }
                | Fault::OtherKey { .. }
                | Fault::SelfSigned
                | Fault::IssuerMissing { .. }
                | Fault::IssuerDiffers { .. }
                | Fault::IssuerIsNoCa { .. } => problem,
            });
        }
    }

    fn problem(&self, fault: &Fault, span: Option<Range<usize>>, severity: Severity) -> Problem {
        let message = self.message(&fault.to_string());
        Problem { severity, ..Problem::error(span, message) }.help(fault.remedy())
    }

    fn message(&self, what: &str) -> String {
        format!("XSPs will turn [certificate.{}] away on their CTI port: {what}", self.certificate.name)
    }
}
