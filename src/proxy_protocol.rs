//! The PROXY protocol as HAProxy's `proxy-protocol.txt` has it: bytes in and a header out, strict, without I/O. Separate from
//! the listeners, because each kind of them reads it and one kind of connection to XSPs begins with it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;

const V1: &[u8] = b"PROXY ";
/// A line of version 1 with its CR LF.
const V1_LONGEST: usize = 107;

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const V2_FIXED: usize = 16;
/// What may follow the fixed part. Addresses take 216 bytes at most; the rest are type-length-value fields.
const V2_LONGEST: usize = 4096;

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// They may become a header.
    Incomplete,
    /// They don't begin like one.
    None,
    /// A header, and how many bytes it takes.
    Header(Header, usize),
    /// They begin like one and are none.
    Malformed,
}

/// Whom a connection is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// From the proxy itself, or from something that is no TCP over IP: the connection's own addresses count.
    Local,
    /// From `source`, which had connected to `destination`.
    Proxied {
        /// The client. An IPv4 address that is mapped into IPv6 is given as IPv4.
        source: SocketAddr,
        /// What the client had connected to, likewise.
        destination: SocketAddr,
    },
}

/// Reads what a connection has brought so far. What is [`Read::Incomplete`] now may be anything later; all else stays
/// what it is, whatever follows.
pub fn read(received: &[u8]) -> Read {
    if begins(received, V1) {
        return read_v1(received);
    }
    if begins(received, V2) {
        return read_v2(received);
    }
    Read::None
}

/// `header` in version 2. If one address is IPv4 and the other IPv6, the IPv4 one is mapped into IPv6.
pub fn v2(header: &Header) -> Vec<u8> {
    let mut out = V2.to_vec();
    match header {
        Header::Local => out.extend([0x20, 0x00, 0, 0]),
        Header::Proxied { source, destination } => {
            match (source.ip(), destination.ip()) {
                (IpAddr::V4(source), IpAddr::V4(destination)) => {
                    out.extend([0x21, 0x11, 0, 12]);
                    out.extend(source.octets());
                    out.extend(destination.octets());
                }
                (source, destination) => {
                    out.extend([0x21, 0x21, 0, 36]);
                    out.extend(mapped(source).octets());
                    out.extend(mapped(destination).octets());
                }
            }
            out.extend(source.port().to_be_bytes());
            out.extend(destination.port().to_be_bytes());
        }
    }
    out
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// Whether `received` is the beginning of `signature` or goes on behind it.
fn begins(received: &[u8], signature: &[u8]) -> bool {
    let common = received.len().min(signature.len());
    received[..common] == signature[..common]
}

fn read_v1(received: &[u8]) -> Read {
    let seen = &received[..received.len().min(V1_LONGEST)];
    let end = seen.iter().position(|byte| !matches!(byte, b' '..=b'~')).unwrap_or(seen.len());
    let (line, rest) = seen.split_at(end);
    match rest {
        [] | [b'\r'] if seen.len() < V1_LONGEST => Read::Incomplete,
        [b'\r', b'\n', ..] => match str::from_utf8(line).ok().and_then(line_v1) {
            Some(header) => Read::Header(header, end + 2),
            None => Read::Malformed,
        },
        [..] => Read::Malformed,
    }
}

fn line_v1(line: &str) -> Option<Header> {
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    // Whatever else the line of such a connection says is to be ignored.
    if family == "UNKNOWN" {
        return Some(Header::Local);
    }
    let (source, destination) = match family {
        "TCP4" => (
            IpAddr::from(words.next()?.parse::<Ipv4Addr>().ok()?),
            IpAddr::from(words.next()?.parse::<Ipv4Addr>().ok()?),
        ),
        "TCP6" => (
            IpAddr::from(words.next()?.parse::<Ipv6Addr>().ok()?),
            IpAddr::from(words.next()?.parse::<Ipv6Addr>().ok()?),
        ),
        _ => return None,
    };
    let (source_port, destination_port) = (port(words.next()?)?, port(words.next()?)?);
    let nothing_more = words.next().is_none();
    nothing_more.then(|| proxied((source, source_port), (destination, destination_port)))
}

/// A decimal number without sign or leading zeros.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn read_v2(received: &[u8]) -> Read {
    let Some((&form, rest)) = received.get(V2.len()..).unwrap_or_default().split_first() else {
        return Read::Incomplete;
    };
    let is_proxied = match form {
        0x20 => false,
        0x21 => true,
        _ => return Read::Malformed,
    };
    let Some((&protocol, rest)) = rest.split_first() else { return Read::Incomplete };
    // What a proxy's own connection says of its addresses is to be ignored.
    let least = if is_proxied { addresses_size(protocol) } else { Some(0) };
    let Some(least) = least else { return Read::Malformed };
    let Some((length, rest)) = rest.split_first_chunk() else { return Read::Incomplete };
    let length = usize::from(u16::from_be_bytes(*length));
    if !(least..=V2_LONGEST).contains(&length) {
        return Read::Malformed;
    }
    let Some(block) = rest.get(..length) else { return Read::Incomplete };
    let header = if is_proxied { addresses(protocol, block) } else { None };
    Read::Header(header.unwrap_or(Header::Local), V2_FIXED + length)
}

/// How many bytes addresses of that family take; `None` where family or transport is none that the protocol knows.
fn addresses_size(protocol: u8) -> Option<usize> {
    let transport_is_known = protocol & 0x0f <= 2;
    let size = match protocol >> 4 {
        0 => 0,
        1 => 12,
        2 => 36,
        3 => 216,
        _ => return None,
    };
    transport_is_known.then_some(size)
}

/// The addresses of TCP over IP; `None` for all else.
fn addresses(protocol: u8, block: &[u8]) -> Option<Header> {
    let (source, destination, ports) = match protocol {
        0x11 => {
            let (source, rest) = block.split_first_chunk::<4>()?;
            let (destination, rest) = rest.split_first_chunk::<4>()?;
            (IpAddr::from(*source), IpAddr::from(*destination), rest)
        }
        0x21 => {
            let (source, rest) = block.split_first_chunk::<16>()?;
            let (destination, rest) = rest.split_first_chunk::<16>()?;
            (IpAddr::from(*source), IpAddr::from(*destination), rest)
        }
        _ => return None,
    };
    let (source_port, ports) = ports.split_first_chunk()?;
    let destination_port = ports.first_chunk()?;
    let (source_port, destination_port) = (u16::from_be_bytes(*source_port), u16::from_be_bytes(*destination_port));
    Some(proxied((source, source_port), (destination, destination_port)))
}

fn proxied(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Header {
    let canonical = |(address, port): (IpAddr, u16)| SocketAddr::new(address.to_canonical(), port);
    Header::Proxied { source: canonical(source), destination: canonical(destination) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(source: &str, destination: &str) -> Header {
        Header::Proxied { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    fn whole(bytes: &[u8], header: Header) -> Read {
        Read::Header(header, bytes.len())
    }

    /// Version 2 with `length` bytes of `block` behind the fixed part.
    fn block(form: u8, protocol: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap();
        [V2, &[form, protocol], &length.to_be_bytes(), block].concat()
    }

    #[test]
    fn lines_of_version_1_are_read() {
        let lines = [
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                from("255.255.255.255:65535", "255.255.255.255:65535"),
            ),
            ("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", from("192.168.0.1:56324", "192.168.0.11:443")),
            ("PROXY TCP4 0.0.0.0 127.0.0.1 0 1\r\n", from("0.0.0.0:0", "127.0.0.1:1")),
            (
                "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                from(
                    "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                    "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                ),
            ),
            ("PROXY TCP6 2001:DB8::1 ::1 1 2\r\n", from("[2001:db8::1]:1", "[::1]:2")),
            ("PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n", from("192.0.2.1:1", "[2001:db8::2]:2")),
            ("PROXY UNKNOWN\r\n", Header::Local),
            (
                "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                Header::Local,
            ),
            ("PROXY UNKNOWN  whatever\r\n", Header::Local),
        ];
        for (line, header) in lines {
            assert_eq!(read(line.as_bytes()), whole(line.as_bytes(), header.clone()), "{line:?}");
            let followed = format!("{line}\u{16}\u{3}\u{1}");
            assert_eq!(read(followed.as_bytes()), whole(line.as_bytes(), header), "{line:?}");
        }
    }

    #[test]
    fn lines_that_version_1_forbids_are_malformed() {
        let lines = [
            "PROXY \r\n",
            "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
            "PROXY TCP4 0xc0.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 00 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r\n",
            "PROXY TCP4 192.0.2.1\t192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\0\r\n",
            "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
            "PROXY TCP6 [::1] ::1 1 2\r\n",
            "PROXY TCP6 ::1::1 ::1 1 2\r\n",
            "PROXY UNKNOWNER\r\n",
            "PROXY UNKNOWN \u{e9}\r\n",
            "PROXY UNKNOWN\n",
        ];
        for line in lines {
            assert_eq!(read(line.as_bytes()), Read::Malformed, "{line:?}");
        }
    }

    #[test]
    fn a_line_of_version_1_takes_at_most_107_bytes() {
        let line = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
        assert_eq!(read(line(107).as_bytes()), whole(line(107).as_bytes(), Header::Local));
        assert_eq!(read(&line(107).as_bytes()[..106]), Read::Incomplete);
        assert_eq!(read(line(108).as_bytes()), Read::Malformed);
        assert_eq!(read(&line(108).as_bytes()[..107]), Read::Malformed);
        assert_eq!(read(&line(200).as_bytes()[..106]), Read::Incomplete);
        assert_eq!(read(&line(200).as_bytes()[..107]), Read::Malformed);
    }

    #[test]
    fn headers_of_version_2_are_read() {
        let four = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb];
        let six: Vec<u8> = [
            &"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets()[..],
            &"::ffff:192.0.2.9".parse::<Ipv6Addr>().unwrap().octets()[..],
            &[0, 1, 0xff, 0xff],
        ]
        .concat();
        let fields = [&four[..], &[0x03, 0, 4, 1, 2, 3, 4]].concat();
        let filled = [&four[..], &[0x04; 4084]].concat();
        let headers = [
            (block(0x21, 0x11, &four), from("192.0.2.1:56324", "198.51.100.2:443")),
            (block(0x21, 0x11, &fields), from("192.0.2.1:56324", "198.51.100.2:443")),
            (block(0x21, 0x11, &filled), from("192.0.2.1:56324", "198.51.100.2:443")),
            (block(0x21, 0x21, &six), from("[2001:db8::1]:1", "192.0.2.9:65535")),
            (block(0x21, 0x12, &four), Header::Local),
            (block(0x21, 0x10, &four), Header::Local),
            (block(0x21, 0x22, &six), Header::Local),
            (block(0x21, 0x31, &[1; 216]), Header::Local),
            (block(0x21, 0x32, &[1; 216]), Header::Local),
            (block(0x21, 0x00, &[]), Header::Local),
            (block(0x21, 0x00, &four), Header::Local),
            (block(0x20, 0x00, &[]), Header::Local),
            (block(0x20, 0x11, &four), Header::Local),
            (block(0x20, 0xff, &[1; 3]), Header::Local),
        ];
        for (bytes, header) in headers {
            assert_eq!(read(&bytes), whole(&bytes, header.clone()), "{bytes:02x?}");
            let followed = [&bytes[..], V2].concat();
            assert_eq!(read(&followed), whole(&bytes, header), "{bytes:02x?}");
        }
    }

    #[test]
    fn headers_that_version_2_forbids_are_malformed_as_soon_as_it_shows() {
        let cases = [
            [V2, &[0x11]].concat(),
            [V2, &[0x31]].concat(),
            [V2, &[0x22]].concat(),
            [V2, &[0x2f]].concat(),
            [V2, &[0x21, 0x41]].concat(),
            [V2, &[0x21, 0x13]].concat(),
            [V2, &[0x21, 0xff]].concat(),
            [V2, &[0x21, 0x11, 0, 11]].concat(),
            [V2, &[0x21, 0x11, 0, 0]].concat(),
            [V2, &[0x21, 0x21, 0, 35]].concat(),
            [V2, &[0x21, 0x31, 0, 215]].concat(),
            [V2, &[0x21, 0x11, 0x10, 0x01]].concat(),
            [V2, &[0x20, 0x00, 0x10, 0x01]].concat(),
            [V2, &[0x20, 0x00, 0xff, 0xff]].concat(),
        ];
        for bytes in cases {
            assert_eq!(read(&bytes), Read::Malformed, "{bytes:02x?}");
            assert_eq!(read(&bytes[..bytes.len() - 1]), Read::Incomplete, "{bytes:02x?}");
        }
    }

    #[test]
    fn other_beginnings_are_none_at_the_first_byte_that_differs() {
        let cases: [(&[u8], Read); 13] = [
            (b"", Read::Incomplete),
            (b"P", Read::Incomplete),
            (b"PROXY", Read::Incomplete),
            (b"PROXY ", Read::Incomplete),
            (b"PROXY\t", Read::None),
            (b"PROXy", Read::None),
            (b"PUT", Read::None),
            (b"POST /dms/ HTTP/1.1\r\n", Read::None),
            (b"\r", Read::Incomplete),
            (b"\r\n\r\n", Read::Incomplete),
            (b"\r\n\r\n\0\r\nQUIT\r", Read::None),
            // A ClientHello.
            (&[0x16], Read::None),
            (&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01], Read::None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(read(bytes), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn headers_of_version_2_are_written() {
        let four = from("192.0.2.1:56324", "198.51.100.2:443");
        let bytes = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb];
        assert_eq!(v2(&four), block(0x21, 0x11, &bytes));
        assert_eq!(v2(&Header::Local), block(0x20, 0x00, &[]));
        let mixed = from("192.0.2.1:1", "[2001:db8::1]:2");
        let sixteen = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        let bytes = [&sixteen("::ffff:192.0.2.1")[..], &sixteen("2001:db8::1")[..], &[0, 1, 0, 2]].concat();
        assert_eq!(v2(&mixed), block(0x21, 0x21, &bytes));
    }
}
