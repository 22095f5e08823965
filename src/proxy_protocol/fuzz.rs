//! What must hold for any bytes at all. It stands in the library because every run of the tests feeds it too; a plain
//! build has none of it.

use super::{Header, Read, V1_LONGEST, V2_FIXED, V2_LONGEST, read, v2};

/// The beginning of a connection: trickled or whole, it reads the same; once decided, what follows changes nothing; a
/// header that was read is read again from its encoding.
pub fn header(data: &[u8]) {
    let whole = read(data);
    let decided = (0..=data.len()).find(|&length| read(&data[..length]) != Read::Incomplete);
    let Some(decided) = decided else {
        assert_eq!(whole, Read::Incomplete);
        assert!(data.len() < V2_FIXED + V2_LONGEST);
        return;
    };
    assert_eq!(read(&data[..decided]), whole);
    let Read::Header(header, used) = whole else { return };
    assert_eq!(used, decided, "a header is read as soon as it is whole");
    assert!(used <= if data.starts_with(b"P") { V1_LONGEST } else { V2_FIXED + V2_LONGEST });
    round_trip(header);
}

fn round_trip(header: Header) {
    let bytes = v2(&header);
    assert_eq!(read(&bytes), Read::Header(header, bytes.len()));
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const WORDS: &[&str] = &[
        "PROXY ",
        "TCP4 ",
        "TCP6 ",
        "UNKNOWN",
        "192.0.2.1 ",
        "0.0.0.0 ",
        "::1 ",
        "2001:DB8::1 ",
        "65535 ",
        "0 ",
        "65535",
        "\r\n",
        " ",
        "\r",
        "\n",
    ];

    fn address() -> impl Strategy<Value = SocketAddr> {
        (any::<IpAddr>(), any::<u16>()).prop_map(|(address, port)| SocketAddr::new(address.to_canonical(), port))
    }

    fn proxied() -> impl Strategy<Value = Header> {
        (address(), address()).prop_map(|(source, destination)| Header::Proxied { source, destination })
    }

    /// The line of version 1 for two addresses of one family.
    fn line() -> impl Strategy<Value = (String, Header)> {
        let line = |(source, destination): (SocketAddr, SocketAddr)| {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (source.ip(), destination.ip());
            let text = format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port());
            (text, Header::Proxied { source, destination })
        };
        let same = |pair: &(SocketAddr, SocketAddr)| pair.0.is_ipv4() == pair.1.is_ipv4();
        (address(), address()).prop_filter("one family", same).prop_map(line)
    }

    proptest! {
        #[test]
        fn any_bytes_as_a_beginning(data in vec(any::<u8>(), 0..200)) {
            header(&data);
        }

        #[test]
        fn likely_words_as_a_line(words in vec(select(WORDS), 0..12)) {
            header(words.concat().as_bytes());
            header(format!("PROXY {}", words.concat()).as_bytes());
        }

        #[test]
        fn likely_bytes_behind_the_signature(form in select(&[0x20, 0x21, 0x11][..]), rest in vec(any::<u8>(), 0..60), length in 0..64u8) {
            for protocol in [0x00, 0x11, 0x12, 0x21, 0x31, 0x44] {
                header(&[b"\r\n\r\n\0\r\nQUIT\n", &[form, protocol, 0, length][..], &rest].concat());
            }
        }

        #[test]
        fn what_is_written_is_read(header in proxied(), behind in vec(any::<u8>(), 0..20)) {
            let mut bytes = v2(&header);
            let used = bytes.len();
            for length in 0..used {
                prop_assert_eq!(read(&bytes[..length]), Read::Incomplete);
            }
            bytes.extend(behind);
            prop_assert_eq!(read(&bytes), Read::Header(header, used));
        }

        #[test]
        fn lines_are_read((line, header) in line(), behind in vec(any::<u8>(), 0..20)) {
            for length in 0..line.len() {
                prop_assert_eq!(read(&line.as_bytes()[..length]), Read::Incomplete);
            }
            let bytes = [line.as_bytes(), &behind].concat();
            prop_assert_eq!(read(&bytes), Read::Header(header, line.len()));
        }
    }
}
