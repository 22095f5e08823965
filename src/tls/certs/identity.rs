//! Certificates that the gateway shows, with their keys: do they fit each other, the calendar, and the hosts that they
//! serve? Separate from CAs, because here one mistake is enough to be rejected by every client.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{Error, InconsistentKeys, SignatureAlgorithm};

use super::chain::{self, Chain, Link, Order};
use super::cti::Client;
use super::staple::{self, Staple};
use super::{Authorities, expiry, pem};
use crate::config::error::{Problem, Severity};
use crate::config::model::{Certificate, Config, TlsVersion};
use crate::config::place::Spot;
use crate::config::types::suite::is_tls13;
use crate::telemetry::metrics::Expiry;
use crate::telemetry::validity::Standing;
use crate::tls::peer::{Facts, Naming, day};

const RENEW: &str = "have it renewed, and put the new files in the old ones' place";
const EXPIRED: &str = "peers refuse it: have it renewed, and put the new files in the old ones' place";

/// A certificate that the gateway can show.
#[derive(Debug)]
pub struct Identity {
    /// The chain, leaf first, with its key.
    pub key: Arc<CertifiedKey>,
    /// The same with an OCSP response, if a file brings one.
    pub staple: Option<Staple>,
}

impl Identity {
    /// What clients are shown at `now`, in seconds since 1970.
    pub fn shown_at(&self, now: i64) -> Arc<CertifiedKey> {
        let staple = self.staple.as_ref().filter(|staple| staple.validity.holds(now));
        Arc::clone(staple.map_or(&self.key, |staple| &staple.key))
    }
}

/// Chain and key, and when each certificate of the chain expires; `None` after an error that leaves nothing to use. Every
/// problem is reported, of all files.
pub(super) fn load(
    config: &Config,
    certificate: &Certificate,
    authorities: &BTreeMap<String, Arc<Authorities>>,
    now: i64,
    problems: &mut Vec<Problem>,
) -> Option<(Identity, Vec<Expiry>)> {
    let client = Client::of(config, certificate);
    let spot = config.places.of(&Spot::CertificateChain(certificate.name.clone()));
    let links = chain(certificate, &spot).map_err(|problem| problems.push(problem));
    let key_spot = config.places.of(&Spot::CertificateKey(certificate.name.clone()));
    let key = key(certificate, &key_spot).map_err(|problem| problems.push(problem)).ok();
    let links = links.ok()?;
    let fitting = key.as_ref().map(|key| links.iter().position(|link| fits(link, key)));
    let leaf = match (fitting, &client) {
        (Some(Some(leaf)), _) => leaf,
        (None, Some(_)) => Client::presumed(&links),
        (Some(None), Some(client)) => {
            client.other_key(problems);
            Client::presumed(&links)
        }
        (None, None) => return None,
        (Some(None), None) => {
            problems.push(other_key(certificate, key_spot));
            return None;
        }
    };
    let chain = in_order(links, leaf, certificate, &spot, problems);
    dates(&chain.links, client.as_ref(), certificate, now, &spot, problems);
    if is_public(config, certificate) {
        public(&chain.links, certificate, &spot, problems);
    }
    hosts(config, certificate, &chain.links[0].facts, problems);
    if let Some(client) = &client {
        client.check(&chain, authorities, now, problems);
    }
    let key = key?;
    suites(config, certificate, &key, &spot, problems);
    let section = format!("certificate.{}", certificate.name);
    let mut expiries: Vec<_> =
        chain.links.iter().map(|link| expiry(&section, &certificate.chain, &link.facts)).collect();
    let response = staple::load(config, certificate, &chain.links, now, problems);
    let certified = CertifiedKey::new(chain.links.into_iter().map(|link| link.der).collect(), key);
    let staple = response.map(|(ocsp, validity, due)| {
        expiries.extend(due);
        Staple { key: Arc::new(CertifiedKey { ocsp: Some(ocsp), ..certified.clone() }), validity }
    });
    Some((Identity { key: Arc::new(certified), staple }, expiries))
}

fn other_key(certificate: &Certificate, span: Option<Range<usize>>) -> Problem {
    let (key, chain) = (certificate.key.display(), certificate.chain.display());
    let message = format!("the key in {key} does not belong to the certificate in {chain}");
    Problem::error(span, message).help("a renewed certificate often comes with a new key")
}

fn chain(certificate: &Certificate, span: &Option<Range<usize>>) -> Result<Vec<Link>, Problem> {
    let path = &certificate.chain;
    let pem = pem::parse(path, &pem::public(path, span)?, span)?;
    if pem.certificates.is_empty() {
        return Err(Problem::error(span.clone(), format!("{} has no certificate: {}", path.display(), pem.instead())));
    }
    if !pem.keys.is_empty() {
        // A file with a key in it is a secret, whatever it is named for.
        pem::secret(path, span)?;
    }
    chain::links(path, pem.certificates, span)
}

fn key(certificate: &Certificate, span: &Option<Range<usize>>) -> Result<Arc<dyn SigningKey>, Problem> {
    let path = &certificate.key;
    let shown = path.display();
    let pem = pem::parse(path, &pem::secret(path, span)?, span)?;
    let mut keys = pem.keys.iter();
    let Some(key) = keys.next() else {
        return Err(Problem::error(span.clone(), format!("{shown} has no private key: {}", pem.instead())));
    };
    if keys.next().is_some() {
        return Err(
            Problem::error(span.clone(), format!("{shown} has several private keys")).help("keep the certificate's")
        );
    }
    any_supported_type(key).map_err(|_| {
        let message = format!("the key in {shown} is of a kind that can't be used");
        Problem::error(span.clone(), message).help(pem::USABLE_KEYS)
    })
}

fn fits(link: &Link, key: &Arc<dyn SigningKey>) -> bool {
    match CertifiedKey::new(vec![link.der.clone()], Arc::clone(key)).keys_match() {
        Ok(()) => true,
        Err(error) => error == Error::InconsistentKeys(InconsistentKeys::Unknown),
    }
}

/// The chain as it is sent: the leaf, then each one's issuer.
fn in_order(
    links: Vec<Link>,
    leaf: usize,
    certificate: &Certificate,
    span: &Option<Range<usize>>,
    problems: &mut Vec<Problem>,
) -> Chain {
    let chain = Chain::of(links, leaf);
    let shown = certificate.chain.display();
    if chain.order == Order::Changed {
        let message = format!("{shown} is out of order");
        let help = "the certificate comes first, then each one's issuer; the gateway sends it so";
        problems.push(Problem::warning(span.clone(), message).help(help));
    }
    for stray in &chain.strays {
        let message =
            format!("{shown} holds a certificate that is not part of the chain: {}", stray.facts.subject_text);
        problems.push(Problem::warning(span.clone(), message).help("the gateway does not send it"));
    }
    chain
}

/// The dates of a CTI client certificate are among its rules; those of its issuers are here.
fn dates(
    chain: &[Link],
    client: Option<&Client<'_>>,
    certificate: &Certificate,
    now: i64,
    span: &Option<Range<usize>>,
    problems: &mut Vec<Problem>,
) {
    let shown = certificate.chain.display();
    for (index, link) in chain.iter().enumerate() {
        let validity = link.facts.validity();
        let Some(told) = validity.told(now, day) else { continue };
        let message = format!("the certificate of {} in {shown} {told}", link.facts.subject_text);
        let (severity, help) = match validity.standing(now) {
            Standing::Valid => continue,
            Standing::EndsSoon => (Severity::Warning, RENEW),
            // These are rules of that certificate's.
            Standing::NotYetValid | Standing::Expired if index == 0 && client.is_some() => continue,
            Standing::NotYetValid => (Severity::Lapsed, "is this machine's clock right? Until then, peers refuse it"),
            Standing::Expired => (Severity::Lapsed, EXPIRED),
        };
        let severity = client.map_or(severity, |client| client.at_most(severity));
        problems.push(Problem { severity, ..Problem::warning(span.clone(), message) }.help(help));
    }
}

fn is_public(config: &Config, certificate: &Certificate) -> bool {
    let cti = config.cti.iter().map(|block| &block.certificates);
    config.https.iter().map(|block| &block.certificates).chain(cti).any(|shown| is_among(shown, certificate))
}

/// Whether a block that shows these shows this one.
fn is_among(shown: &[Arc<Certificate>], certificate: &Certificate) -> bool {
    shown.iter().any(|shown| shown.name == certificate.name)
}

/// A client gets the first certificate of a block whose kind of key it knows: another one of that kind would never be shown.
pub(super) fn kinds(config: &Config, identities: &BTreeMap<String, Arc<Identity>>, problems: &mut Vec<Problem>) {
    let kind = |certificate: &Certificate| Some(identities.get(&certificate.name)?.key.key.algorithm());
    let cti = config.cti.iter().map(|block| &block.certificates);
    for shown in config.https.iter().map(|block| &block.certificates).chain(cti) {
        for (index, certificate) in shown.iter().enumerate() {
            let Some(own) = kind(certificate) else { continue };
            let Some(first) = shown[..index].iter().find(|earlier| kind(earlier) == Some(own)) else { continue };
            let message = format!(
                "[certificate.{}] has a key of the same kind as [certificate.{}] ({own:?}), and one block shows both",
                certificate.name, first.name
            );
            let help = "a client gets the first certificate of a kind that it knows: keep one of each kind";
            let span = config.places.of(&Spot::CertificateChain(certificate.name.clone()));
            problems.push(Problem::error(span, message).help(help));
        }
    }
}

/// R-TLS-2: publicly signed, with its intermediates.
fn public(chain: &[Link], certificate: &Certificate, span: &Option<Range<usize>>, problems: &mut Vec<Problem>) {
    let shown = certificate.chain.display();
    match chain {
        [only] if only.facts.is_self_issued() => {
            let problem = Problem::warning(span.clone(), format!("the certificate in {shown} is self-signed"));
            problems.push(problem.help("Webex accepts publicly signed certificates only"));
        }
        [_] => {
            let problem = Problem::warning(span.clone(), format!("{shown} holds no intermediate certificate"));
            problems.push(problem.help("append the issuing CA's certificates, unless a root signed it directly"));
        }
        _ => {}
    }
}

/// TLS 1.2 suites name the kind of key that they sign with; TLS 1.3's take any.
fn suites(
    config: &Config,
    certificate: &Certificate,
    key: &Arc<dyn SigningKey>,
    span: &Option<Range<usize>>,
    problems: &mut Vec<Problem>,
) {
    let kind = if key.algorithm() == SignatureAlgorithm::RSA { "_RSA_" } else { "_ECDSA_" };
    for https in config.https.iter().filter(|https| is_among(&https.certificates, certificate)) {
        let tls = &https.tls;
        let fits = |suite: &rustls::CipherSuite| !is_tls13(*suite) && format!("{suite:?}").contains(kind);
        let none_fits = tls.min_version == TlsVersion::Tls12 && !tls.cipher_suites.iter().any(fits);
        if !none_fits || tls.cipher_suites.iter().all(|suite| is_tls13(*suite)) {
            continue;
        }
        let kind = kind.trim_matches('_');
        let message = format!(
            "[certificate.{}] has an {kind} key, and no TLS 1.2 suite of its [[https]] block has",
            certificate.name
        );
        let help = format!("add a suite of TLS_ECDHE_{kind}_WITH_... to cipher_suites");
        let instead = tls.max_version == TlsVersion::Tls13 && tls.cipher_suites.iter().any(|suite| is_tls13(*suite));
        problems.push(match instead {
            true => Problem::warning(span.clone(), message).help(help),
            false => Problem::error(span.clone(), message).help(help),
        });
    }
}

/// R-TLS-2: it names the hosts that it serves.
fn hosts(config: &Config, certificate: &Certificate, facts: &Facts, problems: &mut Vec<Problem>) {
    for (block, https) in
        config.https.iter().enumerate().filter(|(_, https)| is_among(&https.certificates, certificate))
    {
        for (index, host) in https.hosts.iter().enumerate() {
            let span = config.places.of(&Spot::Host { block, host: index });
            let name = &certificate.name;
            match facts.naming(host) {
                Naming::Exact => {}
                Naming::Wildcard => {
                    let message = format!("[certificate.{name}] names {host} by a wildcard only");
                    problems.push(Problem::warning(span, message).help("Cisco advises against wildcard certificates"));
                }
                Naming::CommonName => {
                    let message = format!("[certificate.{name}] names {host} in its CN only");
                    problems
                        .push(Problem::warning(span, message).help("many clients look at the SANs and nowhere else"));
                }
                Naming::No => {
                    let message = format!("[certificate.{name}] does not name {host}");
                    problems.push(Problem::error(span, message).help(named(facts)));
                }
            }
        }
    }
}

fn named(facts: &Facts) -> String {
    match (facts.dns_names.as_slice(), &facts.common_name) {
        ([], Some(name)) => format!("its CN is {name}, and it has no DNS name"),
        ([], None) => "it names no host at all".to_owned(),
        (names, _) => format!("it names {}", names.join(", ")),
    }
}
