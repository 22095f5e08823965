//! xspgate.toml(5): what the complete configuration says of each section and key. Separate from the pages of commands, because it
//! is made of the file and not of the command line.

use clap_mangen::roff::{Roff, bold, roman};

use super::{headed, item};
use crate::config::complete::{self, Entry, Standing};

/// The page.
pub(super) fn page() -> String {
    let mut page = Roff::new();
    // Lists of long names can't be spread over a line.
    page.control("ad", ["l"]);
    page.control("SH", ["NAME"])
        .text([roman("xspgate.toml - configuration of xspgate, an edge failover gateway for Cisco BroadWorks")]);
    page.control("SH", ["SYNOPSIS"]).text([bold("/etc/xspgate/xspgate.toml")]);
    page.control("SH", ["DESCRIPTION"]);
    for (number, paragraph) in complete::preface().iter().enumerate() {
        if number > 0 {
            page.control("PP", []);
        }
        page.text([roman(paragraph.as_str())]);
    }
    page.control("SH", ["KEYS"]).text([roman("Those of the top of the file stand before its first section.")]);
    for entry in complete::entries() {
        match entry.key {
            None => section(&mut page, &entry),
            Some(key) => item(&mut page, key, &meaning(&entry)),
        }
    }
    page.control("SH", ["SEE ALSO"]).text([roman("xspgate(8), xspgate-check(8), xspgate-docs-schema(8)")]);
    headed("xspgate.toml", '5', &page.to_roff())
}

fn section(page: &mut Roff, entry: &Entry) {
    page.control("SS", [entry.header()]);
    if !entry.about.is_empty() {
        page.text([roman(entry.about.as_str())]);
    }
}

/// What a key means, and its default or an example.
fn meaning(entry: &Entry) -> String {
    let value = entry.value().map(|value| value.to_string());
    let value = match (entry.standing, value) {
        (_, None) => String::new(),
        (Standing::Default, Some(value)) => format!("Default: {value}"),
        (Standing::InForce | Standing::Example, Some(value)) => format!("For example: {value}"),
    };
    [entry.about.as_str(), &value].join(" ").trim().to_owned()
}
