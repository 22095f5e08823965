//! `[[cti]]` and `[[passthrough]]`: blocks whose bytes the gateway does not read. Separate from `[[https]]`, because nothing in
//! them is routed by what a client says after the handshake.

use toml::Spanned;

use super::listener::{allow, certificates, hosts, listen, nameless, ranges};
use super::{Check, Kind, Known, or, security};
use crate::broadworks::cti::CLIENT_NAME;
use crate::config::error::Problem;
use crate::config::file::{self, File};
use crate::config::model::{ClientPurpose, Clients, Cti, Passthrough, ProxyProtocol, Untrusted};

const FARM: &str = "the [farm.NAME] that connections go to";

pub(super) fn cti(check: &mut Check<'_>, file: &File, known: &Known<'_>) -> Vec<Cti> {
    file.cti.iter().filter_map(|section| cti_block(check, section, known)).collect()
}

fn cti_block(check: &mut Check<'_>, section: &Spanned<file::Cti>, known: &Known<'_>) -> Option<Cti> {
    let (table, fields) = (section.span(), section.get_ref());
    let listen = listen(check, &table, &fields.listen);
    let certificates = certificates(check, &table, &fields.certificate, known);
    let clients = clients(check, section, known);
    let name = check.required(&table, "farm", &fields.farm, FARM);
    let farm = name.and_then(|name| check.find(Kind::Farm, name, known.farms));
    if let (Some(name), Some(farm)) = (name, &farm)
        && farm.certificate.is_none()
    {
        let message = format!("[farm.{}] has no `certificate`, and XSPs demand one on their CTI port", farm.name);
        check.report(Problem::warning(name.span(), message).help("name the gateway's client certificate in the farm"));
    }
    Some(Cti {
        listen: listen?,
        certificates: certificates?,
        clients: clients?,
        farm: farm?,
        allow: allow(&fields.allow),
        trusted_proxies: ranges(&fields.trusted_proxies),
        idle_timeout: or(&fields.idle_timeout, |time| time.0, None),
        tls: security::policy(check, &fields.tls),
    })
}

fn clients(check: &mut Check<'_>, section: &Spanned<file::Cti>, known: &Known<'_>) -> Option<Clients> {
    let (table, fields) = (section.span(), section.get_ref());
    let help = "the [trust.NAME] with the chain from Partner Hub: CTI is always mutual TLS";
    let trust = check.required(&table, "client_trust", &fields.client_trust, help);
    let trust = trust.and_then(|name| check.find(Kind::Trust, name, known.trusts));
    let names = match &fields.client_names {
        Some(_) => {
            let help = "leave it out for \"bwcticlient.webex.com\"";
            let names = check.filled(&table, "client_names", &fields.client_names, help);
            names.map(|names| names.iter().map(|name| name.get_ref().0.clone()).collect())
        }
        None => Some(vec![CLIENT_NAME.to_owned()]),
    };
    let eku = fields.client_eku.iter().flat_map(Spanned::get_ref).map(|oid| oid.get_ref().clone()).collect();
    let purpose = or(&fields.client_purpose, |purpose| purpose.0, ClientPurpose::ClientAuth);
    let untrusted = or(&fields.end_untrusted, |ended| ended.0, Untrusted::Kept);
    Some(Clients { trust: trust?, names: names?, purpose, eku, untrusted })
}

pub(super) fn passthrough(check: &mut Check<'_>, file: &File, known: &Known<'_>) -> Vec<Passthrough> {
    file.passthrough.iter().filter_map(|section| passthrough_block(check, section, known)).collect()
}

fn passthrough_block(
    check: &mut Check<'_>,
    section: &Spanned<file::Passthrough>,
    known: &Known<'_>,
) -> Option<Passthrough> {
    let (table, fields) = (section.span(), section.get_ref());
    let listen = listen(check, &table, &fields.listen);
    let hosts = hosts(check, &table, &fields.hosts);
    let farm = check.required(&table, "farm", &fields.farm, FARM);
    let farm = farm.and_then(|name| check.find(Kind::Farm, name, known.farms));
    Some(Passthrough {
        listen: listen?,
        hosts: hosts?,
        nameless: nameless(&fields.default),
        farm: farm?,
        allow: allow(&fields.allow),
        trusted_proxies: ranges(&fields.trusted_proxies),
        proxy_protocol: or(&fields.proxy_protocol, |version| version.0, ProxyProtocol::Off),
        idle_timeout: or(&fields.idle_timeout, |time| time.0, None),
    })
}
