//! What names a collector of traces, and what the gateway is called there. Separate from other addresses, because a collector is
//! reached by a URL.

use std::net::Ipv6Addr;

use serde_json::Value;

use crate::config::model::Collector;

use super::{Leaf, Refusal, leaves, matching, quoted};

/// What stands behind a collector's own path, and is not written in the file.
const TRACES: &str = "/v1/traces";

/// Where traces go: `http://host:port`, and perhaps a path that `/v1/traces` stands behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorUrl(pub Collector);

/// What the gateway is called among the services that are traced: 1 to 64 letters, digits, `-`, `_` and `.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedName(pub String);

impl Leaf for CollectorUrl {
    fn expected() -> String {
        "a collector's URL such as \"http://127.0.0.1:4318\"".into()
    }

    fn schema() -> Value {
        matching(r"http://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}(/[A-Za-z0-9._~/-]*)?")
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        let refuse = |why: &str| Refusal::new(format!("{} is no collector's URL: {why}", quoted(text)));
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(("https", _)) => {
                return Err(refuse("the gateway sends traces in the clear only").help(
                    "run a collector on this host, \"http://127.0.0.1:4318\", and have it pass them on over TLS",
                ));
            }
            Some(_) => return Err(refuse("it does not begin with http://").help("OTLP over HTTP is what is spoken")),
            None => return Err(refuse("it does not begin with http://").help(format!("\"http://{text}\""))),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let Some((host, port)) = authority.rsplit_once(':').filter(|(host, _)| !host.is_empty()) else {
            return Err(refuse("it has no port").help("4318 is what collectors listen on for OTLP over HTTP"));
        };
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = match port.parse::<u16>() {
            Ok(port) if digits && port > 0 => port,
            Ok(_) | Err(_) => return Err(refuse("its port is not a number from 1 to 65535").help("1 to 65535")),
        };
        let named = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match bracketed {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => host.chars().all(named),
        };
        if !is_host {
            return Err(refuse("its host is neither a name nor an address").help("such as \"http://127.0.0.1:4318\""));
        }
        if let Some(odd) = path.chars().find(|c| !c.is_ascii_alphanumeric() && !"._~/-".contains(*c)) {
            return Err(refuse(&format!("its path holds {odd:?}")));
        }
        let path = path.trim_end_matches('/');
        if let Some(base) = path.strip_suffix(TRACES) {
            return Err(refuse(&format!("the gateway adds {TRACES} itself"))
                .help(format!("write \"http://{authority}{base}\"")));
        }
        Ok(Self(Collector { host: host.to_ascii_lowercase(), port, path: format!("{path}{TRACES}") }))
    }
}

impl Leaf for TracedName {
    fn expected() -> String {
        "a service's name such as \"xspgate\"".into()
    }

    fn schema() -> Value {
        matching("[A-Za-z0-9._-]{1,64}")
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        match text.len() {
            1..=64 if text.chars().all(plain) => Ok(Self(text.to_owned())),
            _ => Err(Refusal::new(format!("{} can't be a service's name", quoted(text)))
                .help("1 to 64 letters, digits, '-', '_' and '.'")),
        }
    }
}

leaves!(CollectorUrl, TracedName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_a_host_a_port_and_perhaps_a_path() {
        for (text, host, port, path) in [
            ("http://127.0.0.1:4318", "127.0.0.1", 4318, "/v1/traces"),
            ("http://Otel_Collector:1/", "otel_collector", 1, "/v1/traces"),
            ("http://[2001:db8::1]:65535", "[2001:db8::1]", 65535, "/v1/traces"),
            ("http://otel.example.com:80/tenants/a-b/", "otel.example.com", 80, "/tenants/a-b/v1/traces"),
        ] {
            let expected = Collector { host: host.into(), port, path: path.into() };
            assert_eq!(CollectorUrl::text(text), Ok(CollectorUrl(expected)), "{text}");
        }
        for text in [
            "",
            "127.0.0.1:4318",
            "https://127.0.0.1:4318",
            "HTTP://127.0.0.1:4318",
            "grpc://127.0.0.1:4317",
            "http://",
            "http://:4318",
            "http://collector",
            "http://collector:",
            "http://collector:0",
            "http://collector:+1",
            "http://collector:65536",
            "http://user:secret@collector:4318",
            "http://[::g]:4318",
            "http://::1:4318",
            "http://col lector:4318",
            "http://collector:4318/a?b",
            "http://collector:4318/a#b",
            "http://collector:4318/a\r\nX: y",
            "http://collector:4318/v1/traces",
        ] {
            assert!(CollectorUrl::text(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_service_has_a_short_name() {
        assert_eq!(TracedName::text("xspgate-a.1").unwrap().0, "xspgate-a.1");
        for text in ["", "a b", "ä", &"x".repeat(65)] {
            assert!(TracedName::text(text).is_err(), "{text:?}");
        }
    }
}
