//! `xspgate certs xsp`: the server certificate of an XSP.

use clap::Args;

use super::{Failure, Making, Signer, host, now, written};
use crate::cli::guide::Guide;
use crate::config::types::name::HostName;
use crate::tls::issue::authority::Authority;

/// What `certs xsp --help` says.
pub(super) const ABOUT: &str = "\
Make the server certificate of an XSP, for its HTTPS and CTI ports: FQDN-chain.pem and FQDN-key.pem.

The CN is the XSP's own name. The SANs are the XSP domain, which the gateway verifies on every XSP, and the XSP's own name, for \
other clients.";

/// Examples.
pub(super) const GUIDE: Guide = Guide {
    command: "certs xsp",
    examples: &[
        (
            "xspgate certs xsp --domain xsp.example.com --fqdn xsp1.internal.example.com \\\n    --ca internal-ca.pem --ca-key internal-ca-key.pem",
            "for the first XSP",
        ),
        (
            "xspgate certs xsp --domain xsp.example.com --fqdn xsp2.internal.example.com \\\n    --ca internal-ca.pem --ca-key internal-ca-key.pem",
            "for the second one",
        ),
    ],
    exit: None,
};

/// What `certs xsp` takes.
#[derive(Args, Debug)]
#[command(override_usage = "xspgate certs xsp [OPTIONS] --domain <NAME> --fqdn <NAME> --ca <FILE> --ca-key <FILE>")]
pub(super) struct Xsp {
    /// The XSP domain: `server_name` of the farm
    #[arg(long, value_name = "NAME", value_parser = host)]
    domain: HostName,
    /// The XSP's own fully qualified name
    #[arg(long, value_name = "NAME", value_parser = host)]
    fqdn: HostName,
    #[command(flatten)]
    signer: Signer,
    /// How long it is valid, from now on, and no longer than its CA: 1 to 3650
    #[arg(long, default_value_t = 730, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    #[command(flatten)]
    making: Making,
}

/// Makes it; what to say about it.
pub(super) fn make(options: &Xsp) -> Result<String, Failure> {
    let authority = Authority::load(&options.signer.ca, &options.signer.ca_key, now())?;
    let issued = authority.xsp(&options.domain, &options.fqdn, options.days, options.making.key_type)?;
    let out = &options.making.out;
    let (domain, fqdn) = (&options.domain.0, &options.fqdn.0);
    let (chain, key) = (out.join(format!("{fqdn}-chain.pem")), out.join(format!("{fqdn}-key.pem")));
    let said = written(&issued, &chain, &key, &options.making)?;
    Ok(format!(
        "{said}next: load both into {fqdn}, for HTTPS and for CTI, and remove the key here; the gateway's farm has\n      \
         server_name = \"{domain}\", and `trust` with {}\n",
        authority.subject()
    ))
}
