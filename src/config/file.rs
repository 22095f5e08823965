//! The file, field for field, as serde reads it. Separate from the model, because these are the names that operators type
//! (no other module knows them) and every value still has its place in the text.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::model::{AddressFamily, ClientPurpose, CrlOverdue, LogFormat, Needed, ProxyProtocol, TlsVersion};
use super::schema::{Shape, Shaped};
use super::types::amount::{Count, OffOrCount, OffOrTime, Size, Time};
use super::types::choice::{Access, Choice, Ended, Followed, Free, Preset, Strict};
use super::types::collector::{CollectorUrl, TracedName};
use super::types::name::{ClientName, CookieName, HostName, LogFilter, SectionName, ServiceName};
use super::types::names::Names;
use super::types::network::{Allowed, DnsServer, DrainedXsp, Listen, Range, XspAddress};
use super::types::oid::Oid;
use super::types::path::{FilePath, Prefix, ProbePath};
use super::types::suite::{Group, Suite};
use crate::broadworks::interface::Interface;
use crate::policy::classify::{On5xx, OnSilence, Replay};
use crate::policy::headers::Via;

/// One key's value with its place; `None`: the key is not there.
pub type Key<T> = Option<Spanned<T>>;
/// A list whose elements have places too.
pub type List<T> = Key<Vec<Spanned<T>>>;
/// `[kind.NAME]` sections.
pub type Sections<T> = BTreeMap<Spanned<SectionName>, Spanned<T>>;
/// `[[kind]]` blocks.
pub type Blocks<T> = Vec<Spanned<T>>;

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// Declares one table of the file: every field public, unknown keys refused. A derived struct would also take a list for
/// its fields in order; these take tables only.
macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attr:meta])* $field:ident: $type:ty,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[cfg_attr(test, derive(serde::Serialize))]
        #[serde(remote = "Self", deny_unknown_fields)]
        #[expect(missing_docs, reason = "the model documents what each key means, config/xspgate.toml what it may be")]
        pub struct $name { $($(#[$attr])* pub $field: $type,)+ }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Table;
                impl<'de> Visitor<'de> for Table {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a table")
                    }

                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<$name, A::Error> {
                        $name::deserialize(MapAccessDeserializer::new(map))
                    }
                }
                deserializer.deserialize_map(Table)
            }
        }

        impl Shaped for $name {
            fn shape() -> Shape {
                let keys = vec![$((stringify!($field), <$type as Shaped>::shape())),+];
                Shape::Table { name: stringify!($name), keys }
            }
        }

        #[cfg(test)]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $name::serialize(self, serializer)
            }
        }
    )+};
}

tables! {
    /// The whole file.
    File {
        workers: Key<Count<0, 1024>>,
        state_dir: Key<FilePath>,
        reload_on_change: Key<Followed>,
        drain_timeout: Key<Time<0, DAY>>,
        drain_spread: Key<Time<0, HOUR>>,
        handover_timeout: Key<Time<0, WEEK>>,
        via: Key<Choice<Via>>,
        admin: Key<Admin>,
        control: Key<Control>,
        log: Key<Log>,
        traces: Key<Traces>,
        dns: Key<Dns>,
        limits: Key<Limits>,
        tcp: Key<Tcp>,
        affinity: Key<Affinity>,
        webex: Key<Webex>,
        #[serde(default)]
        certificate: Sections<Certificate>,
        #[serde(default)]
        trust: Sections<Trust>,
        #[serde(default)]
        farm: Sections<Farm>,
        #[serde(default)]
        https: Blocks<Https>,
        #[serde(default)]
        cti: Blocks<Cti>,
        #[serde(default)]
        passthrough: Blocks<Passthrough>,
    }

    /// `[admin]`.
    Admin {
        listen: Key<Listen>,
        hosts: List<HostName>,
    }

    /// `[control]`.
    Control {
        socket: Key<FilePath>,
    }

    /// `[log]`.
    Log {
        level: Key<LogFilter>,
        format: Key<Choice<LogFormat>>,
        access: Key<Access>,
        access_sample: Key<Count<1, 1_000_000>>,
        access_file: Key<FilePath>,
    }

    /// `[traces]`.
    Traces {
        endpoint: Key<CollectorUrl>,
        sample: Key<Count<1, 1_000_000>>,
        service_name: Key<TracedName>,
    }

    /// `[dns]`.
    Dns {
        servers: List<DnsServer>,
        timeout: Key<Time<100, { 30 * SECOND }>>,
        min_ttl: Key<Time<100, HOUR>>,
        max_ttl: Key<Time<100, DAY>>,
        forget_after: Key<Time<0, HOUR>>,
    }

    /// `[limits]`.
    Limits {
        tls_handshake_timeout: Key<Time<10, { 5 * MINUTE }>>,
        request_head_timeout: Key<Time<10, { 5 * MINUTE }>>,
        request_body_idle_timeout: Key<Time<10, HOUR>>,
        response_idle_timeout: Key<Time<10, HOUR>>,
        keep_alive_timeout: Key<Time<10, HOUR>>,
        write_timeout: Key<Time<10, HOUR>>,
        request_head_size: Key<Size<512, MIB>>,
        request_fields: Key<Count<1, 1000>>,
        request_body_size: Key<Size<0, TIB>>,
        connections: Key<Count<1, 10_000_000>>,
        exempt: List<Range>,
    }

    /// `[tcp]`.
    Tcp {
        keepalive_idle: Key<Time<SECOND, { 2 * HOUR }>>,
        keepalive_interval: Key<Time<SECOND, { 10 * MINUTE }>>,
        keepalive_probes: Key<Count<1, 20>>,
        user_timeout: Key<OffOrTime<SECOND, DAY>>,
        freebind: Key<Free>,
    }

    /// `[affinity]`.
    Affinity {
        cookie: Key<CookieName>,
        key_file: Key<FilePath>,
        lost_channels_for: Key<Time<SECOND, HOUR>>,
    }

    /// `[webex]`.
    Webex {
        ranges: Key<FilePath>,
    }

    /// `[certificate.NAME]`.
    Certificate {
        chain: Key<FilePath>,
        key: Key<FilePath>,
        ocsp: Key<FilePath>,
        strict: Key<Strict>,
    }

    /// `[trust.NAME]`.
    Trust {
        ca: Key<FilePath>,
        crl: Key<FilePath>,
        crl_overdue: Key<Choice<CrlOverdue>>,
    }

    /// `[farm.NAME]`.
    Farm {
        formerly: Key<Names>,
        server_name: Key<HostName>,
        trust: Key<SectionName>,
        certificate: Key<SectionName>,
        port: Key<Count<1, 65535>>,
        family: Key<Choice<AddressFamily>>,
        a: Key<HostName>,
        srv: Key<ServiceName>,
        addresses: List<XspAddress>,
        drain: List<DrainedXsp>,
        channel_rate: Key<OffOrCount<1, 100_000>>,
        max_in_flight: Key<OffOrCount<1, 100_000>>,
        end_streams_after: Key<OffOrTime<SECOND, DAY>>,
        look_when_idle: Key<OffOrTime<SECOND, DAY>>,
        ready: Key<Choice<Needed>>,
        response_head_size: Key<Size<512, { 16 * MIB }>>,
        response_fields: Key<Count<1, 10_000>>,
        #[serde(default)]
        site: Blocks<Site>,
        failover: Key<Failover>,
        pool: Key<Pool>,
        tls: Key<Tls>,
    }

    /// `[[farm.NAME.site]]`.
    Site {
        name: Key<SectionName>,
        a: Key<HostName>,
        srv: Key<ServiceName>,
        addresses: List<XspAddress>,
    }

    /// `[farm.NAME.failover]` and `[https.interface.NAME.failover]`.
    Failover {
        connect_timeout: Key<Time<10, { 30 * SECOND }>>,
        response_timeout: Key<Time<10, { 5 * MINUTE }>>,
        advance_after: Key<OffOrTime<1, { 5 * MINUTE }>>,
        tries: Key<Count<1, 10>>,
        block_for: Key<Time<10, DAY>>,
        on_5xx: Key<Choice<On5xx>>,
        on_silence: Key<Choice<OnSilence>>,
        replay: Key<Choice<Replay>>,
        replay_buffer_size: Key<Size<0, { 16 * MIB }>>,
    }

    /// `[farm.NAME.pool]`.
    Pool {
        idle_per_endpoint: Key<Count<0, 10_000>>,
        idle_timeout: Key<Time<10, HOUR>>,
        max_age: Key<Time<10, DAY>>,
    }

    /// `[farm.NAME.tls]` and `[https.tls]`.
    Tls {
        min_version: Key<Choice<TlsVersion>>,
        max_version: Key<Choice<TlsVersion>>,
        cipher_suites: List<Suite>,
        groups: List<Group>,
    }

    /// `[[https]]`.
    Https {
        listen: List<Listen>,
        hosts: List<HostName>,
        default: Key<Preset>,
        certificate: Key<Names>,
        client_trust: Key<SectionName>,
        client_names: List<ClientName>,
        client_purpose: Key<Choice<ClientPurpose>>,
        end_untrusted: Key<Ended>,
        farm: Key<SectionName>,
        interfaces: List<Choice<Interface>>,
        allow: List<Allowed>,
        trusted_proxies: List<Range>,
        #[serde(default)]
        interface: BTreeMap<Spanned<Choice<Interface>>, Spanned<Overrides>>,
        tls: Key<Tls>,
    }

    /// `[https.interface.NAME]`.
    Overrides {
        farm: Key<SectionName>,
        paths: List<Prefix>,
        probe_path: Key<ProbePath>,
        allow: List<Allowed>,
        client_trust: Key<SectionName>,
        failover: Key<Failover>,
    }

    /// `[[cti]]`.
    Cti {
        listen: List<Listen>,
        certificate: Key<Names>,
        client_trust: Key<SectionName>,
        client_names: List<ClientName>,
        client_purpose: Key<Choice<ClientPurpose>>,
        client_eku: List<Oid>,
        end_untrusted: Key<Ended>,
        farm: Key<SectionName>,
        allow: List<Allowed>,
        trusted_proxies: List<Range>,
        idle_timeout: Key<OffOrTime<SECOND, DAY>>,
        tls: Key<Tls>,
    }

    /// `[[passthrough]]`.
    Passthrough {
        listen: List<Listen>,
        hosts: List<HostName>,
        default: Key<Preset>,
        farm: Key<SectionName>,
        allow: List<Allowed>,
        trusted_proxies: List<Range>,
        proxy_protocol: Key<Choice<ProxyProtocol>>,
        idle_timeout: Key<OffOrTime<SECOND, DAY>>,
    }
}
