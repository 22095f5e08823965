//! The names that an operator may give: of XSPs and of farms. Separate from the status that holds them, because shells ask for
//! them while somebody types.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;

use super::asking::ask_within;
use crate::cli::check::print;
use crate::config::error::printable;
use crate::control::Request;

/// Nobody waits longer for a completion.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whose names.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Kind {
    /// XSPs: by address, by address and port where several have one address, and by the SRV target's name.
    Xsps,
    /// Farms.
    Farms,
}

#[derive(Debug, Deserialize)]
struct Status {
    farms: Vec<Farm>,
}

#[derive(Debug, Deserialize)]
struct Farm {
    name: String,
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    endpoint: SocketAddr,
    #[serde(default)]
    target: Option<String>,
}

/// Prints them, one a line. Where no gateway answers there are none, which a shell need not be told.
pub(super) fn names(socket: &Path, kind: Kind) -> ExitCode {
    let Ok(answer) = ask_within(PATIENCE, socket, &Request::Status) else { return ExitCode::FAILURE };
    let Ok(status) = serde_json::from_str::<Status>(&answer) else { return ExitCode::FAILURE };
    print(&of(&status, kind).into_iter().map(|name| printable(&name) + "\n").collect::<String>())
}

fn of(status: &Status, kind: Kind) -> BTreeSet<String> {
    let endpoints = || status.farms.iter().flat_map(|farm| &farm.endpoints);
    match kind {
        Kind::Farms => status.farms.iter().map(|farm| farm.name.clone()).collect(),
        Kind::Xsps => {
            let ports = |xsp: &Endpoint| {
                let same = endpoints().filter(|other| other.endpoint.ip() == xsp.endpoint.ip());
                same.map(|other| other.endpoint.port()).collect::<BTreeSet<_>>().len()
            };
            let with_ports = endpoints().filter(|xsp| ports(xsp) > 1).map(|xsp| xsp.endpoint.to_string());
            let addresses = endpoints().map(|xsp| xsp.endpoint.ip().to_string());
            let targets = endpoints().filter_map(|xsp| xsp.target.clone());
            addresses.chain(with_ports).chain(targets).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_xsp_has_an_address_and_perhaps_a_name_and_a_port() {
        let status = r#"{"farms": [
            {"name": "xsp", "endpoints": [{"endpoint": "192.0.2.1:443"}, {"endpoint": "[2001:db8::1]:443", "target": "xsp1.example.com"}]},
            {"name": "cti", "endpoints": [{"endpoint": "192.0.2.1:8012"}]}
        ]}"#;
        let status: Status = serde_json::from_str(status).unwrap();
        let names = |kind| of(&status, kind).into_iter().collect::<Vec<_>>();
        let xsps = ["192.0.2.1", "192.0.2.1:443", "192.0.2.1:8012", "2001:db8::1", "xsp1.example.com"];
        assert_eq!(
            (names(Kind::Xsps), names(Kind::Farms)),
            (xsps.map(str::to_owned).to_vec(), vec!["cti".into(), "xsp".into()])
        );
    }
}
