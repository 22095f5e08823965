//! Addresses and ranges. Separate from names, because an address is never looked up.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::broadworks::ranges;
use crate::policy::drained::Whom;

use super::name::HostName;
use super::{Leaf, Refusal, choice, leaves, matching, one_of, quoted};

/// The regular expression of addresses.
const ADDRESS: &str = "[0-9]{1,3}([.][0-9]{1,3}){3}|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]+";
/// That of an address and a port.
const SOCKET: &str = r"([0-9]{1,3}([.][0-9]{1,3}){3}|\[[0-9A-Fa-f:.]+(%[0-9]+)?\]):[0-9]{1,5}";

/// Where the gateway listens: `ip:port`; port 0 takes any free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

/// A DNS server: `ip:port`, or an address alone for port 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsServer(pub SocketAddr);

/// An XSP's address: `ip`, or `ip:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XspAddress {
    /// The address; one that a connection can be opened to.
    pub ip: IpAddr,
    /// 1 or more; `None`: the farm's port.
    pub port: Option<u16>,
}

/// An XSP that is drained: `ip`, `ip:port`, or the name of an SRV target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainedXsp(pub Whom);

/// A range in CIDR notation; an address alone is a range of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range(pub IpNet);

/// What `allow` lists: a range in CIDR notation, or a published one by its name (R-FW-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// It is written there.
    Range(IpNet),
    /// One of [`ranges::NAMES`].
    Webex(&'static str),
}

impl Leaf for Listen {
    fn expected() -> String {
        "an address and a port such as \"0.0.0.0:443\"".into()
    }

    fn schema() -> Value {
        matching(SOCKET)
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        text.parse().map(Self).map_err(|_| not_an_address(text, "0.0.0.0", 443))
    }

    fn integer(number: i64) -> Result<Self, Refusal> {
        Err(Refusal::new(format!("the port {number} has no address")).help(format!("write \"0.0.0.0:{number}\"")))
    }
}

impl Leaf for DnsServer {
    fn expected() -> String {
        "an address and a port such as \"10.0.0.53:53\"".into()
    }

    fn schema() -> Value {
        matching(format!("{ADDRESS}|{SOCKET}"))
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        let address = match text.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, 53),
            Err(_) => text.parse().map_err(|_| not_an_address(text, "10.0.0.53", 53))?,
        };
        reachable(text, address.ip(), Some(address.port())).map(|()| Self(address))
    }
}

impl Leaf for XspAddress {
    fn expected() -> String {
        "an address such as \"10.0.0.1\" or \"10.0.0.1:443\"".into()
    }

    fn schema() -> Value {
        matching(format!("{ADDRESS}|{SOCKET}"))
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        let (ip, port) = match text.parse::<IpAddr>() {
            Ok(ip) => (ip, None),
            Err(_) => {
                let address: SocketAddr = text.parse().map_err(|_| {
                    let refusal = not_an_address(text, "10.0.0.1", 443);
                    match HostName::text(text) {
                        Ok(_) => refusal.help(format!("a name is looked up: write a = {}", quoted(text))),
                        Err(_) => refusal,
                    }
                })?;
                (address.ip(), Some(address.port()))
            }
        };
        reachable(text, ip, port).map(|()| Self { ip, port })
    }
}

impl Leaf for DrainedXsp {
    fn expected() -> String {
        "an XSP such as \"10.0.0.1\", \"10.0.0.1:443\" or, for a target of SRV records, \"xsp1.example.com\"".into()
    }

    fn schema() -> Value {
        json!({"anyOf": [XspAddress::schema(), HostName::schema()]})
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        if let Ok(name) = HostName::text(text) {
            return Ok(Self(Whom::Target(name.0)));
        }
        let XspAddress { ip, port } = XspAddress::text(text)?;
        Ok(Self(port.map_or(Whom::Address(ip), |port| Whom::Endpoint(SocketAddr::new(ip, port)))))
    }
}

fn reachable(text: &str, ip: IpAddr, port: Option<u16>) -> Result<(), Refusal> {
    let refuse = |why: &str| Err(Refusal::new(format!("nothing can be reached at {}: {why}", quoted(text))));
    match (ip, port) {
        (_, Some(0)) => refuse("port 0 stands for no port"),
        (ip, _) if ip.is_unspecified() => refuse("the address stands for every address"),
        (ip, _) if ip.is_multicast() => refuse("the address is a multicast one"),
        (IpAddr::V4(ip), _) if ip.is_broadcast() => refuse("the address is the broadcast one"),
        (IpAddr::V4(_) | IpAddr::V6(_), _) => Ok(()),
    }
}

/// An address and a port are for an example.
fn not_an_address(text: &str, example: &str, usual: u16) -> Refusal {
    let refusal = Refusal::new(format!("{} is not an address and a port", quoted(text)));
    if let Ok(ip) = text.parse::<IpAddr>() {
        let help = format!("the port is missing: write \"{}\", or another port", SocketAddr::new(ip, usual));
        return refusal.help(help);
    }
    let (address, port) = text.rsplit_once(':').unwrap_or(("", text));
    match port.parse::<u16>() {
        Ok(port) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
            refusal.help(format!("an IPv6 address needs brackets: \"[{address}]:{port}\""))
        }
        Ok(port) if matches!(address, "" | "*" | "localhost") => {
            let address = if address == "localhost" { "127.0.0.1" } else { example };
            refusal.help(format!("write \"{address}:{port}\""))
        }
        Ok(_) => refusal
            .help(format!("an IP address and a port, such as \"{example}:{usual}\"; names are not looked up here")),
        Err(_) if address.parse::<IpAddr>().is_ok() => refusal.help("a port is a number from 1 to 65535"),
        Err(_) => refusal.help(format!("an IP address and a port, such as \"{example}:{usual}\"")),
    }
}

impl Leaf for Range {
    fn expected() -> String {
        "a range such as \"192.0.2.0/24\"".into()
    }

    fn schema() -> Value {
        matching(format!("({ADDRESS})(/[0-9]{{1,3}})?"))
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        match ranges::named(text) {
            Some(_) => Err(Refusal::new(format!("the range {} can't be used here", quoted(text)))
                .help("Webex connects as a client; write the proxies' addresses, such as \"192.0.2.0/24\"")),
            None => cidr(text).map(Self),
        }
    }
}

impl Leaf for Allowed {
    fn expected() -> String {
        "a range such as \"192.0.2.0/24\" or \"webex-usa\"".into()
    }

    fn schema() -> Value {
        json!({"anyOf": [one_of(ranges::NAMES), Range::schema()]})
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        if let Some(name) = ranges::NAMES.into_iter().find(|name| *name == text) {
            return Ok(Self::Webex(name));
        }
        if text.starts_with(|c: char| c.is_ascii_alphabetic()) && !text.contains([':', '/']) {
            let refusal = Refusal::new(format!("{} is not the name of a range", quoted(text)));
            return Err(match choice::nearest(text, ranges::NAMES) {
                Some(near) => refusal.help(format!("did you mean \"{near}\"?")),
                None => refusal
                    .help(format!("one of \"{}\", or a range such as \"192.0.2.0/24\"", ranges::NAMES.join("\", \""))),
            });
        }
        cidr(text).map(Self::Range)
    }
}

/// A range in CIDR notation, or an address.
///
/// # Errors
/// It is neither, or has bits beyond its prefix.
pub fn cidr(text: &str) -> Result<IpNet, Refusal> {
    let help = "an address, or an address and a prefix length, such as \"192.0.2.0/24\" or \"2001:db8::/32\"";
    let range = match text.parse::<IpAddr>() {
        Ok(ip) => IpNet::from(ip),
        Err(_) => {
            text.parse::<IpNet>().map_err(|_| Refusal::new(format!("{} is not a range", quoted(text))).help(help))?
        }
    };
    match range.trunc() == range {
        true => Ok(range),
        false => Err(Refusal::new(format!("{} has bits beyond its prefix", quoted(text))).help(format!(
            "\"{}\" for the whole range, \"{}\" for the one address",
            range.trunc(),
            range.addr()
        ))),
    }
}

leaves!(Listen, DnsServer, XspAddress, DrainedXsp, Range, Allowed);

#[cfg(test)]
mod tests {
    use super::*;

    fn help<T: Leaf + std::fmt::Debug>(text: &str) -> String {
        let refusal = T::text(text).unwrap_err().to_string();
        Refusal::split(&refusal).1.unwrap_or_default().to_owned()
    }

    #[test]
    fn listeners_are_an_address_and_a_port() {
        for text in ["0.0.0.0:443", "127.0.0.1:0", "[::]:443", "[2001:db8::1]:8012"] {
            assert_eq!(Listen::text(text).unwrap().0.to_string(), text);
        }
        for (text, expected) in [
            ("0.0.0.0", "the port is missing: write \"0.0.0.0:443\", or another port"),
            ("::1", "the port is missing: write \"[::1]:443\", or another port"),
            (":443", "write \"0.0.0.0:443\""),
            ("443", "write \"0.0.0.0:443\""),
            ("*:443", "write \"0.0.0.0:443\""),
            ("localhost:9901", "write \"127.0.0.1:9901\""),
            ("0.0.0.0:65536", "a port is a number from 1 to 65535"),
            ("0.0.0.0:https", "a port is a number from 1 to 65535"),
            ("xsp.example.com:443", "an IP address and a port, such as \"0.0.0.0:443\"; names are not looked up here"),
            ("", "an IP address and a port, such as \"0.0.0.0:443\""),
        ] {
            assert_eq!(help::<Listen>(text), expected, "{text}");
        }
        assert_eq!(Listen::integer(443).unwrap_err().help.unwrap(), "write \"0.0.0.0:443\"");
    }

    #[test]
    fn an_xsps_address_can_be_connected_to() {
        assert_eq!(XspAddress::text("10.0.0.1").unwrap().port, None);
        assert_eq!(XspAddress::text("[2001:db8::1]:8443").unwrap().port, Some(8443));
        for text in ["0.0.0.0", "10.0.0.1:0", "224.0.0.1", "[::]:443", "255.255.255.255", "xsp:443", "10.0.0.256", ""] {
            assert!(XspAddress::text(text).is_err(), "{text}");
        }
        assert_eq!(help::<XspAddress>("xsp-a.example.com"), "a name is looked up: write a = \"xsp-a.example.com\"");
    }

    #[test]
    fn a_drained_xsp_is_an_address_or_an_srv_target() {
        let whom = |text: &str| DrainedXsp::text(text).unwrap().0;
        assert_eq!(whom("10.0.0.1"), Whom::Address([10, 0, 0, 1].into()));
        assert_eq!(whom("10.0.0.1:8443"), Whom::Endpoint(([10, 0, 0, 1], 8443).into()));
        assert_eq!(whom("XSP1.example.com."), Whom::Target("xsp1.example.com".into()));
        for text in ["", "10.0.0.256", "0.0.0.0", "xsp1.example.com:443", "10.0.0.0/24"] {
            assert!(DrainedXsp::text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_dns_server_without_a_port_has_port_53() {
        assert_eq!(DnsServer::text("10.0.0.53").unwrap().0.to_string(), "10.0.0.53:53");
        assert_eq!(DnsServer::text("[::1]:5353").unwrap().0.to_string(), "[::1]:5353");
        for text in ["dns.example.com", "dns.example.com:53", "10.0.0.53:dns", "10.0.0.53:", ":", ""] {
            assert!(DnsServer::text(text).is_err(), "{text}");
            assert!(!help::<DnsServer>(text).contains("443"), "{text}");
        }
    }

    #[test]
    fn r_fw_1_allowed_are_ranges_addresses_and_published_names() {
        for (text, expected) in [("192.0.2.0/24", "192.0.2.0/24"), ("192.0.2.7", "192.0.2.7/32")] {
            assert_eq!(Allowed::text(text).unwrap(), Allowed::Range(expected.parse().unwrap()), "{text}");
        }
        assert_eq!(Allowed::text("webex-usa").unwrap(), Allowed::Webex("webex-usa"));
        assert_eq!(
            help::<Allowed>("192.0.2.7/24"),
            "\"192.0.2.0/24\" for the whole range, \"192.0.2.7\" for the one address"
        );
        assert_eq!(help::<Allowed>("webex-us"), "did you mean \"webex-usa\"?");
        for text in ["", "192.0.2.0/33", "192.0.2.0-192.0.2.9", "192.0.2", "any", "2001:db8::/129"] {
            assert!(Allowed::text(text).is_err(), "{text}");
        }
        assert!(Range::text("webex-usa").is_err());
    }
}
