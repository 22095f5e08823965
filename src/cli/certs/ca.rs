//! `xspgate certs ca`: an internal CA.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::{Failure, Making, now, written};
use crate::cli::guide::Guide;
use crate::tls::issue;

/// What `certs ca --help` says.
pub(super) const ABOUT: &str = "\
Make an internal CA: internal-ca.pem and internal-ca-key.pem.

It signs the XSPs' server certificates, which the gateway then verifies, and the gateway's client certificate, which the \
XSPs then verify. Have it once for all gateways and XSPs; if you have an internal CA already, use that one. The gateway \
needs internal-ca.pem alone: keep internal-ca-key.pem where certificates are made, and nowhere else.";

/// Examples.
pub(super) const GUIDE: Guide = Guide {
    command: "certs ca",
    examples: &[
        ("xspgate certs ca --out certs", "ten years, in a folder of its own"),
        (
            "xspgate certs ca --name Example-Internal-CA --days 1825 --key-type rsa-4096",
            "by another name, for five years",
        ),
    ],
    exit: None,
};

/// What `certs ca` takes.
#[derive(Args, Debug)]
pub(super) struct Ca {
    /// Its common name; no two CAs of yours should have the same
    #[arg(long, value_name = "CN", default_value = "xspgate internal CA", value_parser = NonEmptyStringValueParser::new())]
    name: String,
    /// How long it is valid, from now on: 1 to 7300
    #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=7300))]
    days: u32,
    #[command(flatten)]
    making: Making,
}

/// Makes it; what to say about it.
pub(super) fn make(options: &Ca) -> Result<String, Failure> {
    let out = &options.making.out;
    let (certificate, key) = (out.join("internal-ca.pem"), out.join("internal-ca-key.pem"));
    let issued = issue::authority(&options.name, options.days, options.making.key_type, now())?;
    let said = written(&issued, &certificate, &key, &options.making)?;
    Ok(format!(
        "{said}next: name {0} as `ca` of [trust.internal]; load it into the XSPs as what they trust on their CTI port;\n      \
         `xspgate certs cti-client --ca {0} --ca-key {1} --out {2}` and `xspgate certs xsp ...` sign with it\n",
        certificate.display(),
        key.display(),
        out.display()
    ))
}
