//! The sections that stand by themselves. Separate from farms and listeners, which refer to one another.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::listener::ranges as networks;
use super::{Check, Named, fields, or};
use crate::broadworks::ranges;
use crate::config::error::Problem;
use crate::config::file::{self, File};
use crate::config::model::{
    AccessLog, Admin, Affinity, Certificate, CrlOverdue, Dns, Freebind, Limits, Log, LogFormat, Strictness, Tcp,
    Traces, Trust,
};
use crate::config::place::{Places, Spot};
use crate::config::types::amount::shown_time;
use crate::config::types::network::Allowed;

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A count that its type keeps within `usize`.
pub(super) fn small(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

pub(super) fn workers(file: &File) -> usize {
    match or(&file.workers, |count| small(count.0), 0) {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        workers => workers,
    }
}

/// A rate that its type keeps within `u32` and above 0.
pub(super) fn rate_of(rate: Option<u64>) -> Option<NonZeroU32> {
    rate.and_then(|rate| NonZeroU32::new(u32::try_from(rate).unwrap_or(u32::MAX)))
}

pub(super) fn admin(check: &mut Check<'_>, file: &File) -> Option<Admin> {
    let admin = file.admin.as_ref()?;
    let help = "where /metrics, /status, /livez and /readyz are served, such as \"127.0.0.1:9901\"";
    let listen = check.required(&admin.span(), "listen", &admin.get_ref().listen, help)?;
    let address = listen.get_ref().0;
    if !address.ip().is_loopback() {
        let message = "the admin listener can be reached from other machines, in the clear and without credentials";
        check.report(
            Problem::warning(listen.span(), message).help("\"127.0.0.1:9901\", unless a firewall stands before it"),
        );
    }
    let hosts = admin.get_ref().hosts.iter().flat_map(Spanned::get_ref).map(|host| host.get_ref().0.clone()).collect();
    Some(Admin { listen: address, hosts })
}

pub(super) fn control(check: &mut Check<'_>, file: &File) -> Option<PathBuf> {
    let control = file.control.as_ref()?;
    let help = "where `xspgate ctl` finds the gateway, such as \"/run/xspgate/control.sock\"";
    let socket = check.required(&control.span(), "socket", &control.get_ref().socket, help)?;
    Some(check.resolve(socket))
}

pub(super) fn log(check: &mut Check<'_>, file: &File) -> Log {
    let log = fields(&file.log);
    let access = or(&log.access, |access| access.0, AccessLog::On);
    if let (AccessLog::Off, Some(path)) = (access, &log.access_file) {
        let problem = Problem::warning(path.span(), "access_file without an access log: nothing is written to it");
        check.report(problem.help("remove it, or `access = false`"));
    }
    Log {
        level: or(&log.level, |level| level.0.clone(), "info".into()),
        format: or(&log.format, |format| format.0, LogFormat::Json),
        access,
        access_file: log.access_file.as_ref().map(|path| check.resolve(path)),
        access_sample: or(
            &log.access_sample,
            |count| rate_of(Some(count.0)).unwrap_or(NonZeroU32::MIN),
            NonZeroU32::MIN,
        ),
    }
}

pub(super) fn traces(check: &mut Check<'_>, file: &File) -> Option<Traces> {
    let traces = file.traces.as_ref()?;
    let fields = traces.get_ref();
    let endpoint = fields.endpoint.as_ref()?;
    let collector = endpoint.get_ref().0.clone();
    if collector.port == 4317 {
        let message = "4317 is where collectors take OTLP over gRPC, and the gateway speaks OTLP over HTTP";
        check.report(
            Problem::warning(endpoint.span(), message).help("that is 4318, unless the collector says otherwise"),
        );
    }
    let one_in = |count| rate_of(Some(count)).unwrap_or(NonZeroU32::MIN);
    Some(Traces {
        collector,
        sample: one_in(or(&fields.sample, |count| count.0, 100)),
        service_name: or(&fields.service_name, |name| name.0.clone(), "xspgate".into()),
    })
}

pub(super) fn dns(check: &mut Check<'_>, file: &File) -> Dns {
    let dns = fields(&file.dns);
    let servers = dns.servers.as_ref().map(Spanned::get_ref).map(Vec::as_slice).unwrap_or_default();
    check.distinct(servers, |server| server.0, "the server");
    let min_ttl = or(&dns.min_ttl, |time| time.0, seconds(1));
    let max_ttl = or(&dns.max_ttl, |time| time.0, seconds(300));
    let span = dns.min_ttl.as_ref().map(Spanned::span).or(dns.max_ttl.as_ref().map(Spanned::span));
    if min_ttl > max_ttl {
        let message = format!("min_ttl {} is above max_ttl {}", shown_time(min_ttl), shown_time(max_ttl));
        check.report(Problem::error(span, message).help("the shortest time between look-ups first, then the longest"));
    }
    Dns {
        servers: servers.iter().map(|server| server.get_ref().0).collect(),
        timeout: or(&dns.timeout, |time| time.0, seconds(2)),
        min_ttl,
        max_ttl,
        forget_after: or(&dns.forget_after, |time| time.0, seconds(30)),
    }
}

pub(super) fn limits(file: &File) -> Limits {
    let limits = fields(&file.limits);
    Limits {
        tls_handshake_timeout: or(&limits.tls_handshake_timeout, |time| time.0, seconds(10)),
        request_head_timeout: or(&limits.request_head_timeout, |time| time.0, seconds(10)),
        request_body_idle_timeout: or(&limits.request_body_idle_timeout, |time| time.0, seconds(30)),
        response_idle_timeout: or(&limits.response_idle_timeout, |time| time.0, seconds(60)),
        keep_alive_timeout: or(&limits.keep_alive_timeout, |time| time.0, seconds(75)),
        write_timeout: or(&limits.write_timeout, |time| time.0, seconds(30)),
        request_head_size: or(&limits.request_head_size, |size| small(size.0), 16 << 10),
        request_fields: or(&limits.request_fields, |count| small(count.0), 100),
        request_body_size: or(&limits.request_body_size, |size| size.0, 64 << 20),
        connections: or(&limits.connections, |count| small(count.0), 20_000),
        exempt: networks(&limits.exempt),
    }
}

impl Tcp {
    /// As long as keepalive takes to find out, so that a connection ends after the same time whether or not it has data
    /// under way: the kernel goes by the user timeout in both cases once there is one.
    fn keepalive(idle: Duration, interval: Duration, probes: u32) -> Self {
        let user_timeout = Some(idle + interval * probes);
        let freebind = Freebind::default();
        Self { keepalive_idle: idle, keepalive_interval: interval, keepalive_probes: probes, user_timeout, freebind }
    }
}

impl Default for Tcp {
    fn default() -> Self {
        Self::keepalive(seconds(60), seconds(15), 4)
    }
}

pub(super) fn tcp(check: &mut Check<'_>, file: &File) -> Tcp {
    let (fields, default) = (fields(&file.tcp), Tcp::default());
    let tcp = Tcp::keepalive(
        or(&fields.keepalive_idle, |time| time.0, default.keepalive_idle),
        or(&fields.keepalive_interval, |time| time.0, default.keepalive_interval),
        or(&fields.keepalive_probes, |count| u32::try_from(count.0).unwrap_or(u32::MAX), default.keepalive_probes),
    );
    let user_timeout = or(&fields.user_timeout, |time| time.0, tcp.user_timeout);
    let second_probe = tcp.keepalive_idle + tcp.keepalive_interval;
    let is_broken = |key: &&str| file.tcp.as_ref().is_some_and(|table| check.gaps.has_key(&table.span(), key));
    let hidden = ["keepalive_idle", "keepalive_interval"].iter().any(is_broken);
    if let (Some(time), Some(key)) = (user_timeout, &fields.user_timeout)
        && time <= second_probe
        && tcp.keepalive_probes > 1
        && !hidden
    {
        let message = format!("with user_timeout {}, one lost probe ends a silent connection", shown_time(time));
        let help = format!(
            "the kernel goes by it instead of keepalive_probes: make it longer than keepalive_idle and \
             keepalive_interval together, {}",
            shown_time(second_probe)
        );
        check.report(Problem::warning(key.span(), message).help(help));
    }
    Tcp { user_timeout, freebind: or(&fields.freebind, |free| free.0, tcp.freebind), ..tcp }
}

pub(super) fn affinity(check: &mut Check<'_>, file: &File, places: &mut Places) -> Affinity {
    let affinity = fields(&file.affinity);
    let span = file.affinity.as_ref().map(Spanned::span);
    let lost = match &span {
        Some(table) => check.gaps.has_key(table, "key_file"),
        None => check.gaps.has_key(&(0..0), "affinity"),
    };
    match &affinity.key_file {
        Some(path) => places.note(Spot::AffinityKeyFile, path.span()),
        None if !file.https.is_empty() && !lost => {
            let message = "there is no [affinity] key_file: a random key is made at each start";
            let help = "sessions won't survive a restart or be shared between gateways; make a key with \
                        `xspgate certs affinity-key`";
            check.report(Problem::warning(span, message).help(help));
        }
        None => {}
    }
    Affinity {
        cookie: or(&affinity.cookie, |cookie| cookie.0.clone(), "XSPGATE".into()),
        key_file: affinity.key_file.as_ref().map(|path| check.resolve(path)),
        lost_channels_for: or(&affinity.lost_channels_for, |time| time.0, seconds(120)),
    }
}

/// Whose ranges `allow` means by Webex's names. What is built in has aged, and decides over who may connect.
pub(super) fn webex_ranges(check: &mut Check<'_>, file: &File) -> Option<PathBuf> {
    let webex = fields(&file.webex);
    let blocks = file.https.iter().map(Spanned::get_ref);
    let interfaces = blocks.clone().flat_map(|block| block.interface.values().map(|own| &own.get_ref().allow));
    let others = file.cti.iter().map(|block| &block.get_ref().allow);
    let others = others.chain(file.passthrough.iter().map(|block| &block.get_ref().allow));
    let lists = blocks.map(|block| &block.allow).chain(interfaces).chain(others);
    let mut elements = lists.flatten().flat_map(Spanned::get_ref);
    let named = elements.find(|element| matches!(element.get_ref(), Allowed::Webex(_)));
    match (&webex.ranges, named) {
        (Some(path), named) => {
            check.places.note(Spot::WebexRanges, path.span());
            if named.is_none() && check.gaps.is_empty() {
                let message = "nothing uses these ranges: no `allow` names webex-usa, webex-emea or webex-common";
                check.report(Problem::warning(path.span(), message));
            }
        }
        (None, Some(named)) if check.gaps.is_empty() => {
            let message = format!("Webex's addresses as of {} decide over who may connect", ranges::EDITION);
            let help = "write the ranges that Cisco publishes today into a file, one a line, and name it as `ranges` \
                        under [webex]";
            check.report(Problem::warning(named.span(), message).help(help));
        }
        (None, _) => {}
    }
    webex.ranges.as_ref().map(|path| check.resolve(path))
}

pub(super) fn certificates(check: &mut Check<'_>, file: &File) -> Named<Certificate> {
    file.certificate
        .iter()
        .map(|(name, section)| (name.get_ref().0.clone(), certificate(check, &name.get_ref().0, section)))
        .collect()
}

fn certificate(check: &mut Check<'_>, name: &str, section: &Spanned<file::Certificate>) -> Option<Arc<Certificate>> {
    let (table, fields) = (section.span(), section.get_ref());
    let chain = check.required(&table, "chain", &fields.chain, "a PEM file: the certificate, then its intermediates");
    let key = check.required(&table, "key", &fields.key, "a PEM file with the certificate's private key");
    let (chain, key) = (chain?, key?);
    check.places.note(Spot::CertificateChain(name.to_owned()), chain.span());
    check.places.note(Spot::CertificateKey(name.to_owned()), key.span());
    if let Some(ocsp) = &fields.ocsp {
        check.places.note(Spot::CertificateOcsp(name.to_owned()), ocsp.span());
    }
    let ocsp = fields.ocsp.as_ref().map(|ocsp| check.resolve(ocsp));
    let (chain, key) = (check.resolve(chain), check.resolve(key));
    let strict = or(&fields.strict, |strict| strict.0, Strictness::Errors);
    Some(Arc::new(Certificate { name: name.to_owned(), chain, key, ocsp, strict }))
}

pub(super) fn trusts(check: &mut Check<'_>, file: &File) -> Named<Trust> {
    file.trust
        .iter()
        .map(|(name, section)| (name.get_ref().0.clone(), trust(check, &name.get_ref().0, section)))
        .collect()
}

fn trust(check: &mut Check<'_>, name: &str, section: &Spanned<file::Trust>) -> Option<Arc<Trust>> {
    let fields = section.get_ref();
    let ca = check.required(&section.span(), "ca", &fields.ca, "a PEM file with one or more CA certificates")?;
    check.places.note(Spot::TrustCa(name.to_owned()), ca.span());
    if let Some(crl) = &fields.crl {
        check.places.note(Spot::TrustCrl(name.to_owned()), crl.span());
    }
    let crl_overdue = or(&fields.crl_overdue, |choice| choice.0, CrlOverdue::Accept);
    if let (None, CrlOverdue::Refuse) = (&fields.crl, crl_overdue) {
        let span = fields.crl_overdue.as_ref().map(Spanned::span);
        let message = "`crl_overdue` has no effect: this section has no `crl`";
        check.report(Problem::warning(span, message).help("name the file of the CAs' revocation lists as `crl`"));
    }
    let crl = fields.crl.as_ref().map(|crl| check.resolve(crl));
    Some(Arc::new(Trust { name: name.to_owned(), ca: check.resolve(ca), crl, crl_overdue }))
}
