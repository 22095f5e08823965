//! Who a request is from, as proxies before the gateway tell it. Separate from the headers that leave, because this is what
//! `allow` goes by: nobody is believed but the operator's own proxies, one after the other, from the nearest on.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use smallvec::SmallVec;

use crate::http1::head::Fields;

/// The client of a request that `sender` has sent: `sender` itself, unless that is a proxy which `trusts` knows. Then it is the
/// last address of X-Forwarded-For that is no such proxy, or the first of all if each of them is one.
///
/// What can't be read as an address ends the search: the proxy that wrote it knows no better, and counts as the client.
pub fn client(fields: &Fields, sender: IpAddr, trusts: impl Fn(IpAddr) -> bool) -> IpAddr {
    if !trusts(sender) {
        return sender;
    }
    let told: SmallVec<[&[u8]; 4]> = fields.get_all("x-forwarded-for").collect();
    let members = told.iter().rev().flat_map(|value| value.rsplit(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
    let mut client = sender;
    for member in members.filter(|member| !member.is_empty()) {
        let Some(address) = address(member) else { break };
        client = address;
        if !trusts(client) {
            break;
        }
    }
    client
}

/// An address, with a port or without: `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:443`.
fn address(member: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(member).ok()?;
    let bare = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    bare().or_else(with_port).or_else(in_brackets).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ours(address: IpAddr) -> bool {
        ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"].iter().any(|ours| address.to_string() == *ours)
    }

    fn found(sender: &str, values: &[&str]) -> String {
        let fields = values.iter().map(|value| ("X-Forwarded-For", *value));
        client(&Fields::from_iter(fields), sender.parse().unwrap(), is_ours).to_string()
    }

    #[test]
    fn the_last_address_that_is_no_trusted_proxy_is_the_client() {
        let cases: [(&[&str], &str); 18] = [
            (&[], "192.0.2.1"),
            (&[""], "192.0.2.1"),
            (&["198.51.100.7"], "198.51.100.7"),
            (&["198.51.100.7:40000"], "198.51.100.7"),
            (&["2001:db8::7"], "2001:db8::7"),
            (&["[2001:db8::7]"], "2001:db8::7"),
            (&["[2001:db8::7]:40000"], "2001:db8::7"),
            (&["::ffff:198.51.100.7"], "198.51.100.7"),
            // What stands before it is the client's own claim.
            (&["203.0.113.1, 198.51.100.7"], "198.51.100.7"),
            (&["203.0.113.1", "198.51.100.7"], "198.51.100.7"),
            (&["198.51.100.7, 192.0.2.3,192.0.2.2"], "198.51.100.7"),
            (&["198.51.100.7", "192.0.2.3 , [2001:db8::1]:1"], "198.51.100.7"),
            (&["198.51.100.7, , 192.0.2.2,", ""], "198.51.100.7"),
            // All are trusted: the first.
            (&["192.0.2.3, 192.0.2.2"], "192.0.2.3"),
            // Who wrote what is no address is the client.
            (&["unknown"], "192.0.2.1"),
            (&["198.51.100.7, unknown, 192.0.2.2"], "192.0.2.2"),
            (&["198.51.100.7, 10.0.0.1.1", "192.0.2.3, 192.0.2.2"], "192.0.2.3"),
            (&["198.51.100.7, \u{e9}"], "192.0.2.1"),
        ];
        for (values, expected) in cases {
            assert_eq!(found("192.0.2.1", values), expected, "{values:?}");
        }
    }

    #[test]
    fn from_anybody_else_the_field_means_nothing() {
        for values in [&["198.51.100.7"][..], &["192.0.2.1"], &["192.0.2.1, 192.0.2.2"]] {
            assert_eq!(found("203.0.113.9", values), "203.0.113.9", "{values:?}");
        }
    }

    #[test]
    fn what_is_no_address_is_not_read_as_one() {
        for text in ["", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4:65536", "[1.2.3.4]"] {
            assert_eq!(address(text.as_bytes()), None, "{text}");
        }
        for text in ["[::1", "::1]", "[::1]x", "fe80::1%eth0", "for=1.2.3.4", "\"[::1]\"", "_hidden", "1.2.3.4 5"] {
            assert_eq!(address(text.as_bytes()), None, "{text}");
        }
    }
}
