//! Farms: where their XSPs are, and how the gateway fails over between them. Separate from listeners, which only name them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::drain::drain;
use super::settings::{rate_of, small};
use super::{Check, Kind, Named, Whereabouts, fields, or, security};
use crate::config::error::Problem;
use crate::config::file::{self, File, Key};
use crate::config::model::{
    AddressFamily, Certificate, Failover, Farm, Needed, Pool, Proof, Site, Source, Speaks, Tcp, Trust,
};
use crate::config::types::amount::shown_time;
use crate::config::types::name::SectionName;
use crate::http1::head;
use crate::policy::classify::{On5xx, OnSilence, Replay};

const HTTPS_PORT: u16 = 443;
/// R-CTI-5, R-FW-2.
const CTI_PORT: u16 = 8012;
const SOURCES: &str = "one of a = \"name\", srv = \"_service._tcp.name\", addresses = [\"ip\", \"ip:port\"]";

/// What a farm is used for.
#[derive(Clone, Copy, Default)]
struct Use {
    cti: bool,
    https: bool,
    passthrough: bool,
}

pub(super) fn farms(
    check: &mut Check<'_>,
    file: &File,
    tcp: Tcp,
    certificates: &Named<Certificate>,
    trusts: &Named<Trust>,
) -> Named<Farm> {
    let uses = uses(file);
    let mut farms = Named::new();
    for (name, section) in &file.farm {
        let name = &name.get_ref().0;
        let uses = uses.get(name.as_str()).copied().unwrap_or_default();
        let farm = farm(check, name, section, uses, tcp, certificates, trusts);
        farms.insert(name.clone(), farm.map(Arc::new));
    }
    former_names(check, file);
    farms
}

/// A name that a farm had before must be nobody else's, or a session of that name would have two homes.
fn former_names(check: &mut Check<'_>, file: &File) {
    let mut heirs: BTreeMap<&SectionName, &str> = BTreeMap::new();
    for (name, section) in &file.farm {
        let Some(formerly) = &section.get_ref().formerly else { continue };
        for former in &formerly.get_ref().0 {
            let problem = |message| Problem::error(formerly.span(), message);
            let own = &name.get_ref().0;
            if former == name.get_ref() {
                let message = format!("\"{own}\" is the farm's present name");
                check.report(problem(message).help("`formerly` is for names that it had before"));
            } else if file.farm.keys().any(|farm| farm.get_ref() == former) {
                let message = format!("[farm.{}] is still there", former.0);
                check.report(problem(message).help("`formerly` is for the names of farms that are gone"));
            } else if heirs.get(former) == Some(&own.as_str()) {
                check.report(problem(format!("\"{}\" is named twice", former.0)).help("keep one"));
            } else if let Some(heir) = heirs.insert(former, own) {
                let message = format!("[farm.{heir}] was formerly \"{}\", too", former.0);
                check.report(
                    problem(message).help("only one farm can keep its sessions: remove the name from the other"),
                );
            }
        }
    }
}

fn uses(file: &File) -> BTreeMap<&str, Use> {
    let mut uses: BTreeMap<&str, Use> = BTreeMap::new();
    for name in file.cti.iter().filter_map(|block| block.get_ref().farm.as_ref()) {
        uses.entry(&name.get_ref().0).or_default().cti = true;
    }
    let https = file.https.iter().flat_map(|block| {
        let own = block.get_ref().interface.values().filter_map(|overrides| overrides.get_ref().farm.as_ref());
        own.chain(block.get_ref().farm.as_ref())
    });
    for name in https {
        uses.entry(&name.get_ref().0).or_default().https = true;
    }
    for name in file.passthrough.iter().filter_map(|block| block.get_ref().farm.as_ref()) {
        uses.entry(&name.get_ref().0).or_default().passthrough = true;
    }
    uses
}

fn farm(
    check: &mut Check<'_>,
    name: &str,
    section: &Spanned<file::Farm>,
    uses: Use,
    tcp: Tcp,
    certificates: &Named<Certificate>,
    trusts: &Named<Trust>,
) -> Option<Farm> {
    let (table, fields) = (section.span(), section.get_ref());
    let proof = proof(check, section, uses, trusts);
    let certificate = fields.certificate.as_ref().map(|name| check.find(Kind::Certificate, name, certificates));
    let port = port(check, section, uses);
    let sites = sites(check, &table, fields, port);
    let drain = drain(check, fields, sites.as_deref().unwrap_or_default());
    let failover = failover(check, &fields.failover, &Failover::default());
    let pool = pool(check, &fields.pool);
    let tls = security::policy(check, &fields.tls);
    security::towards_xsps(check, &fields.tls, &tls);
    Some(Farm {
        name: name.to_owned(),
        formerly: fields.formerly.iter().flat_map(|names| &names.get_ref().0).map(|name| name.0.clone()).collect(),
        proof: proof?,
        certificate: match certificate {
            Some(found) => Some(found?),
            None => None,
        },
        port,
        family: or(&fields.family, |family| family.0, AddressFamily::Ipv4),
        drain,
        channel_rate: or(&fields.channel_rate, |rate| rate_of(rate.0), NonZeroU32::new(1000)),
        max_in_flight: or(&fields.max_in_flight, |count| rate_of(count.0), NonZeroU32::new(2048)),
        end_streams_after: or(&fields.end_streams_after, |time| time.0, Some(Duration::from_secs(120))),
        look_when_idle: or(&fields.look_when_idle, |time| time.0, Some(Duration::from_secs(30))),
        ready: or(&fields.ready, |choice| choice.0, Needed::None),
        response_limits: head::HeadLimits {
            head_size: or(&fields.response_head_size, |size| small(size.0), head::HeadLimits::RESPONSE.head_size),
            fields: or(&fields.response_fields, |count| small(count.0), head::HeadLimits::RESPONSE.fields),
        },
        failover,
        pool,
        tls,
        tcp,
        sites: sites?,
    })
}

/// The XSPs of a farm that only [[passthrough]] uses prove themselves to clients, not to the gateway. The outer `None`:
/// something is missing.
#[expect(clippy::option_option, reason = "the outer one says whether the farm can be used at all")]
fn proof(
    check: &mut Check<'_>,
    section: &Spanned<file::Farm>,
    uses: Use,
    trusts: &Named<Trust>,
) -> Option<Option<Proof>> {
    let (table, fields) = (section.span(), section.get_ref());
    if uses.passthrough && !uses.https && !uses.cti {
        let keys = [
            ("server_name", fields.server_name.as_ref().map(Spanned::span)),
            ("trust", fields.trust.as_ref().map(Spanned::span)),
            ("certificate", fields.certificate.as_ref().map(Spanned::span)),
        ];
        for (key, span) in keys.into_iter().filter(|(_, span)| span.is_some()) {
            let message = format!("`{key}` has no effect: only [[passthrough]] uses this farm");
            check.report(Problem::warning(span, message).help("the XSPs' TLS is then between them and the clients"));
        }
        let trust = fields.trust.as_ref().map(|trust| check.find(Kind::Trust, trust, trusts));
        return trust.is_none_or(|found| found.is_some()).then_some(None);
    }
    let help = "the name that the XSPs' certificates hold, such as \"xsp.example.com\"";
    let server_name = check.required(&table, "server_name", &fields.server_name, help);
    let help = "the [trust.NAME] whose CAs sign the XSPs' certificates";
    let trust = check.required(&table, "trust", &fields.trust, help);
    let trust = trust.and_then(|trust| check.find(Kind::Trust, trust, trusts));
    let speaks = if uses.cti && !uses.https { Speaks::Cti } else { Speaks::Http };
    Some(Some(Proof { server_name: server_name?.get_ref().0.clone(), trust: trust?, speaks }))
}

fn port(check: &mut Check<'_>, section: &Spanned<file::Farm>, uses: Use) -> u16 {
    let named = section.get_ref().port.as_ref();
    let other = uses.https || uses.passthrough;
    let default = if uses.cti && !other { CTI_PORT } else { HTTPS_PORT };
    if uses.cti && other && section.get_ref().srv.is_none() {
        let span = named.map_or(section.span(), Spanned::span);
        let message = "the farm serves CTI and HTTPS, which XSPs have on different ports";
        check.report(Problem::warning(span, message).help("make two farms of it, one with port = 8012"));
    }
    named.map_or(default, |port| u16::try_from(port.get_ref().0).unwrap_or(default))
}

fn sites(check: &mut Check<'_>, table: &Range<usize>, farm: &file::Farm, port: u16) -> Option<Vec<Site>> {
    let own = Whereabouts::of_farm(farm);
    if farm.site.is_empty() {
        let source = source(check, table, &own, port)?;
        return Some(vec![Site { name: "default".into(), source }]);
    }
    if let Some((key, span)) = own.named().into_iter().next() {
        let message = format!("the farm has both `{key}` and sites");
        check.report(Problem::error(span, message).help("move it into a [[farm.NAME.site]] of its own"));
    }
    let mut names = BTreeSet::new();
    let mut sources: Vec<Source> = Vec::new();
    let mut sites = Vec::new();
    for section in &farm.site {
        let (table, site) = (section.span(), section.get_ref());
        let name = check.required(&table, "name", &site.name, "a name for logs and metrics, such as \"site-a\"");
        let source = source(check, &table, &Whereabouts::of_site(site), port);
        let (Some(name), Some(source)) = (name, source) else { continue };
        if !names.insert(&name.get_ref().0) {
            let message = format!("the farm has two sites called \"{}\"", name.get_ref().0);
            check.report(Problem::error(name.span(), message).help("give each its own name"));
        }
        if sources.contains(&source) {
            let message = format!("the site \"{}\" has the same XSPs as one before it", name.get_ref().0);
            check.report(
                Problem::warning(table, message).help("a site that was preferred and failed is not tried again"),
            );
        }
        sources.push(source.clone());
        sites.push(Site { name: name.get_ref().0.clone(), source });
    }
    (sites.len() == farm.site.len()).then_some(sites)
}

fn source(check: &mut Check<'_>, table: &Range<usize>, place: &Whereabouts<'_>, port: u16) -> Option<Source> {
    let named = place.named();
    if named.is_empty() && !["a", "srv", "addresses"].iter().any(|key| check.gaps.has_key(table, key)) {
        let header = check.source.text.get(table.clone()).unwrap_or_default().to_owned();
        check.report(Problem::error(table.clone(), format!("{header} does not say where the XSPs are")).help(SOURCES));
    }
    for (key, span) in named.iter().skip(1) {
        let message = format!("`{}` and `{key}` both say where the XSPs are", named[0].0);
        check.report(Problem::error(span.clone(), message).help(SOURCES));
    }
    if let Some(name) = place.a {
        return Some(Source::Address(name.get_ref().0.clone()));
    }
    if let Some(service) = place.srv {
        let service = service.get_ref();
        return Some(Source::Srv { name: service.name.clone(), fallback: service.domain.clone() });
    }
    let listed = place.addresses.as_ref()?;
    let listed = check.filled(table, "addresses", &Some(listed.clone()), SOURCES)?.to_vec();
    let address =
        |listed: &crate::config::types::network::XspAddress| SocketAddr::new(listed.ip, listed.port.unwrap_or(port));
    check.distinct(&listed, address, "the address");
    Some(Source::Static(listed.iter().map(|listed| address(listed.get_ref())).collect()))
}

impl Default for Failover {
    /// The documented rules, as far as they are given, within the caller's patience of 2 s.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_millis(500),
            response_timeout: Duration::from_secs(2),
            advance_after: Some(Duration::from_millis(600)),
            tries: 3,
            block_for: Duration::from_secs(60),
            on_5xx: On5xx::Confirm,
            on_silence: OnSilence::Confirm,
            replay: Replay::Safe,
            replay_buffer_size: 64 << 10,
        }
    }
}

/// What the table says, over `base`.
pub(super) fn failover(check: &mut Check<'_>, table: &Key<file::Failover>, base: &Failover) -> Failover {
    let over = fields(table);
    let result = Failover {
        connect_timeout: or(&over.connect_timeout, |time| time.0, base.connect_timeout),
        response_timeout: or(&over.response_timeout, |time| time.0, base.response_timeout),
        advance_after: or(&over.advance_after, |time| time.0, base.advance_after),
        tries: or(&over.tries, |count| u8::try_from(count.0).unwrap_or(u8::MAX), base.tries),
        block_for: or(&over.block_for, |time| time.0, base.block_for),
        on_5xx: or(&over.on_5xx, |choice| choice.0, base.on_5xx),
        on_silence: or(&over.on_silence, |choice| choice.0, base.on_silence),
        replay: or(&over.replay, |choice| choice.0, base.replay),
        replay_buffer_size: or(&over.replay_buffer_size, |size| small(size.0), base.replay_buffer_size),
    };
    if let Some(table) = table {
        order(check, table, &result);
    }
    result
}

/// Each time leaves room for the next longer one.
fn order(check: &mut Check<'_>, table: &Spanned<file::Failover>, result: &Failover) {
    let (span, over) = (table.span(), table.get_ref());
    let hidden =
        |check: &Check<'_>, key: &str| check.gaps.has_key(&span, key) || check.gaps.has_key(&span, "response_timeout");
    let response = over.response_timeout.as_ref().map(Spanned::span);
    let shown = shown_time(result.response_timeout);
    let place = over.advance_after.as_ref().map(Spanned::span).or(response.clone());
    if let (Some(advance_after), Some(place)) = (result.advance_after, place)
        && advance_after >= result.response_timeout
        && !hidden(check, "advance_after")
    {
        let message = format!("advance_after {} is not below response_timeout {shown}", shown_time(advance_after));
        let help =
            "a second XSP is asked while the first may still answer; advance_after = \"off\" waits for the first";
        check.report(Problem::error(place, message).help(help));
    }
    let place = over.connect_timeout.as_ref().map(Spanned::span).or(response);
    if let Some(place) = place
        && result.connect_timeout > result.response_timeout
        && !hidden(check, "connect_timeout")
    {
        let message =
            format!("connect_timeout {} is above response_timeout {shown}", shown_time(result.connect_timeout));
        check.report(
            Problem::error(place, message).help("response_timeout covers an attempt from its start, connect included"),
        );
    }
}

fn pool(check: &mut Check<'_>, table: &Key<file::Pool>) -> Pool {
    let fields = fields(table);
    let pool = Pool {
        idle_per_endpoint: or(&fields.idle_per_endpoint, |count| small(count.0), 64),
        idle_timeout: or(&fields.idle_timeout, |time| time.0, Duration::from_secs(15)),
        max_age: or(&fields.max_age, |time| time.0, Duration::from_secs(300)),
    };
    let span = fields.idle_timeout.as_ref().map(Spanned::span).or(fields.max_age.as_ref().map(Spanned::span));
    if pool.idle_timeout > pool.max_age {
        let message =
            format!("idle_timeout {} is above max_age {}", shown_time(pool.idle_timeout), shown_time(pool.max_age));
        check.report(Problem::warning(span, message).help("no connection gets old enough to be idle for so long"));
    }
    pool
}
