//! The addresses that Webex connects from, as Cisco publishes them (R-FW-1, 2021 edition). Data that ages on a calendar
//! of its own; an operator may write addresses instead of these names at any time.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

/// When these were published.
pub const EDITION: &str = "2021";

/// The names that [`named`] knows.
pub const NAMES: [&str; 3] = ["webex-usa", "webex-emea", "webex-common"];

/// The ranges called `name` (exactly as in [`NAMES`]); the regional ones include the common ones.
pub fn named(name: &str) -> Option<&'static [IpNet]> {
    match name {
        "webex-usa" => Some(&USA),
        "webex-emea" => Some(&EMEA),
        "webex-common" => Some(&COMMON),
        _ => None,
    }
}

/// All of them.
pub fn all() -> Vec<IpNet> {
    let mut all: Vec<IpNet> = NAMES.iter().filter_map(|name| named(name)).flatten().copied().collect();
    all.sort();
    all.dedup();
    all
}

static USA: [IpNet; 10] =
    with_common([net([13, 58, 232, 148], 32), net([18, 217, 166, 80], 32), net([18, 221, 216, 175], 32)]);

static EMEA: [IpNet; 10] =
    with_common([net([18, 196, 116, 47], 32), net([35, 156, 83, 118], 32), net([35, 158, 206, 190], 32)]);

static COMMON: [IpNet; 7] = COMMON_RANGES;

const COMMON_RANGES: [IpNet; 7] = [
    net([44, 232, 54, 0], 32),
    net([52, 39, 97, 25], 32),
    net([54, 185, 54, 53], 32),
    net([69, 26, 160, 0], 19),
    net([144, 254, 96, 0], 20),
    net([173, 37, 32, 0], 20),
    net([216, 151, 128, 0], 19),
];

const fn with_common(own: [IpNet; 3]) -> [IpNet; 10] {
    let [a, b, c] = own;
    let [d, e, f, g, h, i, j] = COMMON_RANGES;
    [a, b, c, d, e, f, g, h, i, j]
}

const fn net(address: [u8; 4], prefix_len: u8) -> IpNet {
    let [a, b, c, d] = address;
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(name: &str, address: &str) -> bool {
        let address: IpAddr = address.parse().unwrap();
        named(name).unwrap().iter().any(|range| range.contains(&address))
    }

    #[test]
    fn r_fw_1_the_published_addresses_are_in_their_ranges() {
        let table = [
            // address, usa, emea, common
            ("13.58.232.148", true, false, false),
            ("18.217.166.80", true, false, false),
            ("18.221.216.175", true, false, false),
            ("18.196.116.47", false, true, false),
            ("35.156.83.118", false, true, false),
            ("35.158.206.190", false, true, false),
            ("44.232.54.0", true, true, true),
            ("52.39.97.25", true, true, true),
            ("54.185.54.53", true, true, true),
            ("69.26.160.0", true, true, true),
            ("69.26.191.255", true, true, true),
            ("144.254.111.255", true, true, true),
            ("173.37.47.255", true, true, true),
            ("216.151.159.255", true, true, true),
            ("44.232.54.1", false, false, false),
            ("69.26.192.0", false, false, false),
            ("173.37.48.0", false, false, false),
            ("192.0.2.1", false, false, false),
            ("::1", false, false, false),
        ];
        for (address, usa, emea, common) in table {
            assert_eq!(contains("webex-usa", address), usa, "{address}");
            assert_eq!(contains("webex-emea", address), emea, "{address}");
            assert_eq!(contains("webex-common", address), common, "{address}");
        }
    }

    #[test]
    fn r_fw_1_every_name_is_known_and_no_other() {
        for name in NAMES {
            assert!(named(name).is_some(), "{name}");
        }
        for name in ["", "webex", "Webex-USA"] {
            assert!(named(name).is_none(), "{name}");
        }
    }

    #[test]
    fn ranges_have_no_bits_beyond_their_prefix() {
        for range in NAMES.into_iter().flat_map(|name| named(name).unwrap()) {
            assert_eq!(range, &range.trunc());
        }
    }
}
