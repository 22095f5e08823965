//! `xspgate certs cti-client`: the gateway's client certificate towards XSPs' CTI, or a request for one.

use clap::Args;

use super::{Failure, Making, Signer, existing, now, written};
use crate::broadworks::cti::{CLIENT_NAME, CLIENT_USAGE};
use crate::cli::guide::Guide;
use crate::tls::issue;
use crate::tls::issue::authority::Authority;
use crate::tls::issue::files::{self, Output, Readers};

/// What `certs cti-client --help` says.
pub(super) const ABOUT: &str = "\
Make the gateway's client certificate towards the XSPs' CTI: cti-client-chain.pem and cti-client-key.pem.

XSPs take it only if it is signed by a CA that they trust, names both BroadWorks' 1.3.6.1.4.1.6431.1.1.8.2.1.3 and TLS \
client authentication as its extended key usages, has the CN bwcticlient.webex.com and no SAN. With --csr nothing is \
signed: cti-client.csr asks your own CA for such a certificate.";

/// Examples.
pub(super) const GUIDE: Guide = Guide {
    command: "certs cti-client",
    examples: &[
        (
            "xspgate certs cti-client --ca internal-ca.pem --ca-key internal-ca-key.pem",
            "signed by a CA of `xspgate certs ca`",
        ),
        ("xspgate certs cti-client --csr", "a request, for a CA that is elsewhere"),
    ],
    exit: None,
};

/// What `certs cti-client` takes.
#[derive(Args, Debug)]
#[command(override_usage = "\
xspgate certs cti-client [OPTIONS] --ca <FILE> --ca-key <FILE>
       xspgate certs cti-client [OPTIONS] --csr")]
#[command(group = clap::ArgGroup::new("by").required(true).multiple(true).args(["ca", "csr"]))]
pub(super) struct CtiClient {
    #[command(flatten)]
    signer: Option<Signer>,
    /// Make a request for a CA that is not at hand, instead of a certificate
    #[arg(long, conflicts_with_all = ["ca", "ca_key", "days"])]
    csr: bool,
    /// How long it is valid, from now on, and no longer than its CA: 1 to 3650
    #[arg(long, default_value_t = 730, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    #[command(flatten)]
    making: Making,
}

/// Makes it; what to say about it.
pub(super) fn make(options: &CtiClient) -> Result<String, Failure> {
    let Some(signer) = &options.signer else { return request(&options.making) };
    let authority = Authority::load(&signer.ca, &signer.ca_key, now())?;
    let issued = authority.cti_client(options.days, options.making.key_type)?;
    let out = &options.making.out;
    let (chain, key) = (out.join("cti-client-chain.pem"), out.join("cti-client-key.pem"));
    let said = written(&issued, &chain, &key, &options.making)?;
    Ok(format!(
        "{said}next: name them in [certificate.cti-client], and that as `certificate` of the farm that [[cti]] uses;\n      \
         the XSPs must trust {} on their CTI port, and the application server's ClientIdentity list {CLIENT_NAME}\n",
        authority.subject()
    ))
}

fn request(making: &Making) -> Result<String, Failure> {
    let requested = issue::cti_client_request(making.key_type)?;
    let (csr, key) = (making.out.join("cti-client.csr"), making.out.join("cti-client-key.pem"));
    let outputs = [
        Output { path: key.clone(), text: requested.key, readers: Readers::Owner },
        Output { path: csr.clone(), text: requested.request, readers: Readers::Everybody },
    ];
    files::write(&outputs, existing(making.force))?;
    let (csr, key) = (csr.display(), key.display());
    Ok(format!(
        "{csr}\n  a request for CN={CLIENT_NAME} with the extended key usages clientAuth and {CLIENT_USAGE}\n\
         {key}\n  its private key: keep it secret\n\
         next: have your CA sign it, with both extended key usages and without a SAN. Many CAs drop what a request asks \
         for:\n  \
         openssl x509 -req -in {csr} -CA ca.pem -CAkey ca-key.pem -days 730 -copy_extensions copy -out cti-client.pem\n  \
         openssl ca: copy_extensions = copy in the section of the CA, or extendedKeyUsage = clientAuth,{CLIENT_USAGE}\n  \
         AD CS: a template whose application policies hold both, with the subject supplied in the request\n\
         then append the CA's certificates, and look at what came of it:\n  \
         cat cti-client.pem ca.pem > cti-client-chain.pem\n  \
         xspgate certs inspect cti-client-chain.pem --key {key}\n"
    ))
}
