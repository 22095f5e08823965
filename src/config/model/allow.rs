//! Who may connect, as `allow` says it. Separate from the blocks, because what a name stands for may be in a file that changes
//! while the configuration stays as it is.

use ipnet::IpNet;

use super::Config;
use crate::broadworks::ranges;

/// `allow`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// Ranges that are written there themselves.
    pub ranges: Vec<IpNet>,
    /// Names of Webex's ranges, of [`ranges::NAMES`].
    pub webex: Vec<&'static str>,
}

impl Allow {
    /// All ranges; none: anyone may connect. `webex` are those of a file, which the names stand for if there is one.
    pub fn resolved(&self, webex: Option<&[IpNet]>) -> Vec<IpNet> {
        let built_in = || self.webex.iter().filter_map(|name| ranges::named(name)).flatten();
        let named: Vec<IpNet> = match webex {
            Some(file) if !self.webex.is_empty() => file.to_vec(),
            Some(_) => Vec::new(),
            None => built_in().copied().collect(),
        };
        self.ranges.iter().copied().chain(named).collect()
    }
}

impl Config {
    /// Whether any `allow` names Webex's ranges.
    pub fn names_webex_ranges(&self) -> bool {
        let https = self.https.iter().flat_map(|block| block.interfaces.iter().map(|route| &route.allow));
        let cti = self.cti.iter().map(|block| &block.allow);
        let passthrough = self.passthrough.iter().map(|block| &block.allow);
        https.chain(cti).chain(passthrough).any(|allow| !allow.webex.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r_fw_1_a_file_takes_the_place_of_what_is_built_in_for_those_who_name_it() {
        let own: IpNet = "192.0.2.0/24".parse().unwrap();
        let file = ["198.51.100.0/24".parse().unwrap()];
        let of = |webex: &[&'static str]| Allow { ranges: vec![own], webex: webex.to_vec() };
        assert_eq!(of(&[]).resolved(Some(&file)), [own]);
        assert_eq!(of(&["webex-usa", "webex-emea"]).resolved(Some(&file)), [own, file[0]]);
        assert_eq!(of(&["webex-usa", "webex-emea"]).resolved(None).len(), 21);
        assert!(Allow::default().resolved(Some(&file)).is_empty(), "anyone");
    }
}
