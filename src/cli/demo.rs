//! `xspgate demo`: the real gateway in front of a simulated site, with users who go on working while XSPs break. What each
//! step expected and what the users saw is printed as it happens.

mod crowd;
mod lines;
mod progress;
mod report;
mod rotation;
mod story;
mod tally;
mod user;

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use clap::Args;

use super::guide::Guide;
use super::output::complain;
use crate::app::Gateway;
use crate::config;
use crate::sim::pki::Caller;
use crate::sim::site::{CLOUD, Layout, Network, Simulation, Text};
use crate::tls;

/// What `demo --help` says.
pub(super) const ABOUT: &str = "\
Watch the gateway at work in front of a simulated farm of XSPs.

Certificates, DNS and two sites of two XSPs are made up on loopback addresses; then the XSPs fail one after the other, while \
users go on working. It needs no configuration and nothing from the network, and is over within a minute.";

/// Examples and exit codes.
pub(super) const GUIDE: Guide = Guide {
    command: "demo",
    examples: &[("xspgate demo --keep", "then try by hand: curl lines are printed")],
    exit: Some(["all expectations held", "an expectation did not hold", "the command line can't be used"]),
};

/// What `demo` takes.
#[derive(Args, Debug)]
pub struct Demo {
    /// Leave everything running afterwards, to try by hand with the curl lines that are printed
    #[arg(long)]
    keep: bool,
}

/// Runs the demonstration: exit code 0 if all that was expected came true.
pub fn demo(options: Demo) -> ExitCode {
    match play(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Plays the story; true if all expectations held.
fn play(options: &Demo) -> Result<bool> {
    let begun = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    // The simulation ends with the runtime, and the gateway before both.
    let (simulation, gateway) = runtime.block_on(set_up())?;
    introduce(&simulation, &gateway, options.keep);
    let steps = runtime.block_on(Box::pin(story::play(&simulation, &gateway)))?;
    let held = report::conclude(&steps, begun.elapsed());
    if options.keep {
        invite(&simulation, &gateway);
        runtime.block_on(tokio::signal::ctrl_c()).context("can't wait for Ctrl-C")?;
    }
    drop(gateway);
    Ok(held)
}

async fn set_up() -> Result<(Simulation, Gateway)> {
    let simulation = Simulation::start(Network::Plain).await.context("can't start the simulated site")?;
    let path = simulation.write_config(&configuration(&simulation)).context("can't write the configuration")?;
    let loaded = config::load(&path).map_err(|report| anyhow!("{report}"))?;
    let (material, problems) = tls::certs::load(&loaded.config);
    let material = material.ok_or_else(|| anyhow!("the simulation's own certificates are refused: {problems:?}"))?;
    let gateway = Gateway::start(&loaded, &material)?;
    Ok((simulation, gateway))
}

/// The documented rules, but for a shorter block.
fn configuration(simulation: &Simulation) -> Text {
    let mut text = simulation.config(Layout::TwoSites);
    let failover = "[farm.xsp.failover]";
    text.set(failover, "response_timeout", "2s").set(failover, "advance_after", "600ms");
    text.set(failover, "block_for", "5s");
    simulation.serve_cti(&mut text);
    text.set("[farm.cti.failover]", "block_for", "5s");
    text
}

/// Prints the site as a diagram, and where to look.
fn introduce(simulation: &Simulation, gateway: &Gateway, keep: bool) {
    say("xspgate demo: a day at the edge, shortened");
    say("");
    if let Some(admin) = gateway.admin() {
        let until = if keep { "until Ctrl-C" } else { "until the demo ends; --keep leaves it open" };
        say(&format!("  Status page: http://{admin}/ ({until})"));
        say("");
    }
    let at = |addresses: &[SocketAddr]| addresses.first().map_or("nowhere".to_owned(), ToString::to_string);
    let (https, cti, dns) = (at(gateway.https()), at(gateway.cti()), simulation.dns.address().to_string());
    let [a1, a2, b1, b2] = ["a1", "a2", "b1", "b2"].map(|name| simulation.xsp(name).address());
    let port = simulation.cti_port();
    say(&format!("  20 users,          HTTPS ┌─────────────────┐ TLS  ┌ a1 {a1}"));
    say(&format!("  6 event channels ───────▶│ xspgate         ├─────▶┤ a2 {a2}   site-a, preferred"));
    say(&format!("                           │ {https:<15} │      └"));
    say(&format!("  Webex's cloud,       CTI │ {cti:<15} │ TLS  ┌ b1 {b1}"));
    say(&format!("  8 connections ──────────▶│                 ├─────▶┤ b2 {b2}   site-b"));
    say("                           └────────┬────────┘      └");
    say(&format!("                                DNS {dns:<15}  CTI at port {port} of each"));
    say("");
    say("What to look at: \"errors\" and \"slowest\" in each step. Webex gives up on a request after 2 s.");
    say("");
}

/// Prints what can be tried by hand.
fn invite(simulation: &Simulation, gateway: &Gateway) {
    let Some(address) = gateway.https().first() else { return };
    let (port, ca) = (address.port(), simulation.folder().join("public-ca.pem"));
    let curl = format!("curl --resolve {CLOUD}:{port}:{} --cacert {}", address.ip(), ca.display());
    let base = format!("https://{CLOUD}:{port}");
    say("");
    say("Still running; Ctrl-C ends it. To try by hand:");
    say("");
    say(&format!("  {curl} -i {base}/com.broadsoft.xsi-actions/v2.0/user/alice/profile"));
    say(&format!("  {curl} -N -X POST {base}/com.broadsoft.async/com.broadsoft.xsi-events/v2.0/channel"));
    say(&format!("  {curl} -o /dev/null '{base}/dms/big?size=1000000000'"));
    if let (Some(cti), Ok(())) = (gateway.cti().first(), webex(simulation)) {
        let folder = simulation.folder().display();
        let identity =
            format!("-cert {folder}/webex-chain.pem -cert_chain {folder}/webex-chain.pem -key {folder}/webex-key.pem");
        say(&format!(
            "  openssl s_client -quiet -connect {cti} -servername {CLOUD} -CAfile {} {identity}",
            ca.display()
        ));
    }
    if let Some(admin) = gateway.admin() {
        say(&format!("  curl http://{admin}/metrics"));
        say(&format!("  curl http://{admin}/status"));
        say(&format!("  and for a browser: http://{admin}/"));
    }
}

/// Writes the client certificate that Webex shows to the folder.
fn webex(simulation: &Simulation) -> std::io::Result<()> {
    simulation.pki.caller(Caller::Webex).write(simulation.folder(), "webex")
}

/// Prints a line.
fn say(line: &str) {
    // Without a reader it is still a test of the machine that it runs on.
    drop(writeln!(std::io::stdout(), "{line}"));
}
