//! Whose list decides over who may connect (R-FW-1).

use crate::broadworks::ranges;
use crate::config::model::Config;
use crate::doctor::finding::Finding;
use crate::tls::certs::Material;

/// The list that Webex's names in `allow` stand for; `None`: none of them is used. `now`: seconds since 1970.
pub(in crate::doctor) fn in_use(config: &Config, material: &Material, now: i64) -> Option<Finding> {
    const CHECK: &str = "ranges";
    if !config.names_webex_ranges() {
        return None;
    }
    let Some(webex) = &material.webex_ranges else {
        let found = format!("Webex's addresses are those that were published in {}", ranges::EDITION);
        let help = "write what Cisco publishes today into a file, and name it as `ranges` under [webex]";
        return Some(Finding::warn(CHECK, found, help));
    };
    let found = format!("Webex's addresses are those of {}, {} in all", webex.day(), webex.ranges.len());
    Some(match webex.is_old(now) {
        true => Finding::warn(CHECK, found, "they are older than a year: compare them with what Cisco publishes"),
        false => Finding::ok(CHECK, found),
    })
}
