//! What a client has said in its handshake, and which Host goes with that. Separate from the blocks, because the handshake and
//! each request name a block in their own way, and both must mean the same one.

use std::net::{IpAddr, Ipv6Addr};

use super::Block;
use crate::tls::clients::Peer;

/// What a client has said in its handshake.
#[derive(Debug)]
pub struct Introduction {
    /// The name that it has asked for, in lower case and without a dot at its end; `None`: it has asked for none, or for an
    /// address, which is no name (RFC 6066 section 3).
    pub name: Option<String>,
    /// The address that it has connected to: the gateway's, or that of a proxy before it which has said so.
    pub address: IpAddr,
    /// Who it has proved to be.
    pub peer: Peer,
}

impl Block {
    /// Whether a request with this Host, which has no port and no dot at its end, is for this block, on a connection that
    /// began with `introduction`. That is so of the block's names, without regard to case; a client that has asked for no name
    /// may also send the address that it has connected to.
    pub fn serves(&self, host: &str, introduction: &Introduction) -> bool {
        let is_address = || address(host).is_some_and(|host| host == introduction.address.to_canonical());
        self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host)) || introduction.name.is_none() && is_address()
    }

    /// The Host that goes without saying on such a connection, for requests that may have none: the name that was asked for in
    /// the handshake, or else the first of this block's.
    pub fn host<'a>(&'a self, introduction: &'a Introduction) -> &'a str {
        introduction.name.as_deref().or_else(|| self.hosts.first().map(String::as_str)).unwrap_or_default()
    }
}

/// The address that a Host is, if it is one.
fn address(host: &str) -> Option<IpAddr> {
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bracketed {
        Some(inner) => inner.parse::<Ipv6Addr>().ok()?.into(),
        None => host.parse::<IpAddr>().ok()?,
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_be_an_address() {
        for (host, expected) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("[2001:DB8::1]", Some("2001:db8::1")),
            ("[::ffff:192.0.2.1]", Some("192.0.2.1")),
            ("192.0.2", None),
            ("[192.0.2.1]", None),
            ("xsp.example.com", None),
            ("", None),
        ] {
            assert_eq!(address(host), expected.map(|text| text.parse().unwrap()), "{host}");
        }
    }
}
