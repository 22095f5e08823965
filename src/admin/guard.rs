//! Whom the admin listener tells something. Separate from the answers: it has no credentials to ask for, but a browser that an
//! operator uses must not carry what it says to somebody else's page.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, StatusCode, header};

/// Why a request is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rejection {
    /// The name in Host may be anybody's: a page of `evil.example` that has its own name resolve to this address would be
    /// told everything (DNS rebinding).
    #[error("unknown Host: use the IP address, or add the name to hosts in [admin]")]
    UnknownHost,
    /// Another site's page asks, not its reader.
    #[error("another site's page may not ask")]
    CrossSite,
}

impl Rejection {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::CrossSite => StatusCode::FORBIDDEN,
        }
    }
}

/// Lets a request in whose Host is an IP address, a name without a dot, below `localhost`, or one of `hosts`. Who sends no
/// Host is no browser.
pub(super) fn called_by_its_name(headers: &HeaderMap, hosts: &[String]) -> Result<(), Rejection> {
    match headers.get(header::HOST).map(|value| value.to_str().unwrap_or_default()) {
        Some(host) if !is_known(without_port(host), hosts) => Err(Rejection::UnknownHost),
        Some(_) | None => Ok(()),
    }
}

/// Lets a request in that no other site's page has made, as far as a browser tells.
pub(super) fn asked_by_its_reader(headers: &HeaderMap) -> Result<(), Rejection> {
    let field = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (field("sec-fetch-site"), field("sec-fetch-mode")) {
        // A link from elsewhere may be followed.
        (Some("cross-site" | "same-site"), mode) if mode != Some("navigate") => Err(Rejection::CrossSite),
        _ => Ok(()),
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

fn is_known(name: &str, hosts: &[String]) -> bool {
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
        || name.parse::<Ipv4Addr>().is_ok()
        || !name.contains('.')
        || name.ends_with(".localhost")
        || hosts.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_names_that_are_nobody_elses_are_answered() {
        let called =
            |fields: &[(&'static str, &str)]| called_by_its_name(&headers(fields), &["gw1.example.com".to_owned()]);
        for host in [
            "127.0.0.1:9901",
            "127.0.0.1",
            "[::1]:9901",
            "[::1]",
            "localhost:9901",
            "gw1.localhost",
            "admin",
            "gw1.example.com:9901",
            "GW1.example.com.",
        ] {
            assert_eq!(called(&[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9901",
            "127.0.0.1.evil.example",
            "gw1.example.com.evil.example",
            "[evil.example]",
        ] {
            assert_eq!(called(&[("host", host)]), Err(Rejection::UnknownHost), "{host}");
        }
        assert_eq!(called(&[]), Ok(()));
    }

    #[test]
    fn another_sites_page_may_link_and_not_ask() {
        let asks = |site, mode| asked_by_its_reader(&headers(&[("sec-fetch-site", site), ("sec-fetch-mode", mode)]));
        for (site, mode) in [("same-origin", "cors"), ("none", "navigate"), ("cross-site", "navigate")] {
            assert_eq!(asks(site, mode), Ok(()), "{site} {mode}");
        }
        for (site, mode) in [("cross-site", "no-cors"), ("cross-site", "cors"), ("same-site", "cors")] {
            assert_eq!(asks(site, mode), Err(Rejection::CrossSite), "{site} {mode}");
        }
    }
}
