//! The story: what is done to the XSPs, what is expected of the gateway then, and whether it came true.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http::StatusCode;

use super::crowd::Crowd;
use super::lines::Lines;
use super::progress::Progress;
use super::report::{Held, Step};
use super::rotation::Rotation;
use super::say;
use super::tally::Tally;
use super::user::Door;
use crate::app::Gateway;
use crate::sim::cti::Webex;
use crate::sim::dns::Fault;
use crate::sim::site::{SITE_A, Simulation};
use crate::sim::xsp::{Behaviour, Xsp};

const USERS: usize = 20;
const CHANNELS: usize = 6;
/// Connections of Webex's cloud for CTI.
const LINES: usize = 8;
/// New sessions that show where sessions begin.
const NEWCOMERS: usize = 12;
/// The longest wait for the users to have come where they are expected.
const PATIENCE: Duration = Duration::from_secs(12);
/// The cloud gives up after two seconds, and blocks the gateway itself.
const CALLERS_PATIENCE: Duration = Duration::from_secs(2);

struct Scene<'a> {
    simulation: &'a Simulation,
    crowd: Crowd,
    lines: Lines,
    steps: Vec<Step>,
    /// While a step runs.
    progress: Option<Progress>,
    /// Heartbeats on a wrong XSP before this step.
    strays_before: u64,
}

/// Plays all steps.
///
/// # Errors
/// When there is no gateway to play against.
pub(super) async fn play(simulation: &Simulation, gateway: &Gateway) -> Result<Vec<Step>> {
    let address = *gateway.https().first().context("the gateway serves no address")?;
    let cti = *gateway.cti().first().context("the gateway serves no address for CTI")?;
    let door = Door::new(address, simulation.pki.public_roots());
    until_served(&door).await;
    let crowd = Crowd::start(door, USERS, CHANNELS, Rotation::new(&simulation.xsps));
    let lines = Lines::open(&Webex::new(&simulation.pki), cti, LINES, &crowd.tallies());
    let mut scene = Scene { simulation, crowd, lines, steps: Vec::new(), progress: None, strays_before: 0 };
    scene.sign_in().await;
    scene.kill().await;
    scene.hang().await;
    scene.overload().await;
    scene.recover().await;
    scene.change_dns().await;
    scene.lose_dns().await;
    Ok(scene.steps)
}

/// Waits for discovery's first answer.
async fn until_served(door: &Door) {
    let probe = Crowd::start(door.clone(), 0, 0, Rotation::new(&[]));
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && probe.newcomers(1).await.contains_key("") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Scene<'_> {
    async fn sign_in(&mut self) {
        self.announce("Users sign in", "sessions spread over both XSPs of site-a, and each stays on its XSP");
        let settled = self.until(|scene| scene.crowd.homes().len() == USERS && scene.channels_are_open()).await;
        let connected = self.until(|scene| scene.lines_are_at("a1")).await;
        let before = self.crowd.homes();
        wait(Duration::from_secs(2)).await;
        let stayed = before == self.crowd.homes();
        let only = self.only(&["a1", "a2"]);
        self.conclude(
            "Users sign in",
            0,
            vec![
                ("all users and event channels are served".into(), settled),
                ("by site-a alone, the first by preference".into(), only),
                ("each session stays where it began (R-AFF-1)".into(), stayed),
                ("Webex's CTI connections are bridged to a1, the first in SRV (R-DNS-2)".into(), connected),
            ],
        );
    }

    async fn kill(&mut self) {
        self.announce(
            "a1 is killed",
            "its ports close and its connections are reset; users move to a2 without an error, CTI reconnects",
        );
        self.simulation.xsp("a1").kill().await;
        self.simulation.cti("a1").kill().await;
        let moved = self.until(|scene| scene.only(&["a2"]) && scene.channels_are_at(&["a2"])).await;
        let returned = self.until(|scene| scene.lines_are_at("a2")).await;
        wait(Duration::from_secs(1)).await;
        self.conclude(
            "a1 is killed",
            LINES as u64,
            vec![
                ("all users are at a2 (R-FAIL-1)".into(), moved),
                ("event channels were reopened at a2".into(), moved),
                ("Webex's CTI connections reconnected to a2".into(), returned),
            ],
        );
    }

    async fn hang(&mut self) {
        self.announce(
            "a2 hangs",
            "it reads requests and answers none; after 600 ms site-b is asked too, after 2 s a2 is blocked",
        );
        self.simulation.xsp("a2").behave(Behaviour::Hang).await;
        let moved = self.until(|scene| scene.only(&["b1", "b2"]) && scene.channels_are_at(&["b1", "b2"])).await;
        self.conclude(
            "a2 hangs",
            0,
            vec![
                ("all users are at site-b (R-FAIL-3)".into(), moved),
                ("event channels were reopened at site-b (R-APP-6)".into(), moved),
            ],
        );
    }

    async fn overload(&mut self) {
        self.announce(
            "b1 answers 503",
            "each request goes to b2 at once; the gateway's own look confirms the 503, and b1 is blocked",
        );
        self.simulation.xsp("b1").behave(Behaviour::Status(StatusCode::SERVICE_UNAVAILABLE)).await;
        self.simulation.xsp("b1").forget_requests();
        let moved = self.until(|scene| scene.only(&["b2"])).await;
        wait(Duration::from_secs(1)).await;
        let probed =
            self.simulation.xsp("b1").requests().iter().any(|one| one.header("user-agent").starts_with("xspgate/"));
        self.conclude(
            "b1 answers 503",
            0,
            vec![
                ("all users are at b2 (R-FAIL-2)".into(), moved),
                ("the gateway's own look confirmed it".into(), probed),
            ],
        );
    }

    async fn recover(&mut self) {
        self.announce(
            "Everything comes back",
            "blocks run out; new sessions begin at site-a again, old ones stay at b2",
        );
        for name in ["a1", "a2", "b1"] {
            self.simulation.xsp(name).revive().await;
        }
        self.simulation.cti("a1").revive().await;
        let deadline = Instant::now() + PATIENCE;
        let mut begun = BTreeMap::new();
        while Instant::now() < deadline && !begun.keys().eq(["a1", "a2"]) {
            wait(Duration::from_millis(200)).await;
            begun = self.crowd.newcomers(NEWCOMERS).await;
        }
        let (back, stayed) = (begun.keys().eq(["a1", "a2"]), self.only(&["b2"]) && self.lines_are_at("a2"));
        self.conclude(
            "Everything comes back",
            0,
            vec![
                (format!("new sessions begin at site-a (R-FAIL-6): {}", show(&begun)), back),
                ("old sessions stay at b2, CTI at a2: there is no failback (R-APP-1)".into(), stayed),
            ],
        );
    }

    async fn change_dns(&mut self) {
        self.announce("DNS changes", "a1 is taken out of DNS: new sessions begin at a2 within a second of the TTL");
        let changed = Instant::now();
        self.simulation.zones().set_a(SITE_A, 0, [self.simulation.xsp("a2").address().ip()]);
        let mut begun = BTreeMap::new();
        while changed.elapsed() < Duration::from_secs(3) && !begun.keys().eq(["a2"]) {
            wait(Duration::from_millis(50)).await;
            begun = self.crowd.newcomers(NEWCOMERS).await;
        }
        let followed = begun.keys().eq(["a2"]);
        // It may have been followed before anybody asked for anything.
        wait(Duration::from_secs(1)).await;
        self.conclude(
            "DNS changes",
            0,
            vec![(format!("new sessions begin at a2 alone (R-DNS-1): {}", show(&begun)), followed)],
        );
    }

    async fn lose_dns(&mut self) {
        self.announce("DNS dies", "the last good answer holds");
        self.simulation.zones().set_fault(Fault::ServFail);
        wait(Duration::from_secs(2)).await;
        let begun = self.crowd.newcomers(NEWCOMERS).await;
        self.simulation.zones().set_fault(Fault::None);
        self.simulation.publish_all();
        let held = begun.keys().eq(["a2"]);
        self.conclude("DNS dies", 0, vec![(format!("new sessions still begin: {}", show(&begun)), held)]);
    }

    fn announce(&mut self, title: &str, plan: &str) {
        // What was seen between two steps belongs to neither.
        drop(self.crowd.tally());
        self.strays_before = self.strays();
        say(&format!("{}  {title}", self.steps.len() + 1));
        say(&format!("   expected  {plan}"));
        self.progress = Some(Progress::start(&self.crowd.tallies()));
    }

    /// Ends a step in which so many CTI connections had to be lost.
    fn conclude(&mut self, title: &'static str, lost: u64, expected: Vec<(String, bool)>) {
        self.progress = None;
        let seen = self.crowd.tally();
        let mut expected: Vec<(String, Held)> = expected.into_iter().map(|(what, held)| (what, held.into())).collect();
        expected.push(("no request of a user failed".into(), (seen.errors == 0 && seen.requests > 0).into()));
        let quick = seen.slowest < CALLERS_PATIENCE;
        expected.push((
            format!("no request took {} s, after which the cloud gives up", CALLERS_PATIENCE.as_secs()),
            quick.into(),
        ));
        let strays = self.strays() - self.strays_before;
        expected.push((astray(strays, &seen), (strays == 0).into()));
        let cti = match lost {
            0 => "no CTI connection was lost".into(),
            lost => format!("the {lost} CTI connections were back within {} s", CALLERS_PATIENCE.as_secs()),
        };
        let kept = seen.lost == lost && seen.returned == lost && seen.slowest_return < CALLERS_PATIENCE;
        expected.push((cti, kept.into()));
        let step = Step { title, seen, expected };
        step.tell();
        self.steps.push(step);
    }

    /// Whether each user was last answered by one of `xsps`.
    fn only(&self, xsps: &[&str]) -> bool {
        self.crowd.homes().values().all(|home| xsps.contains(&home.as_str()))
    }

    /// Heartbeats that have landed on an XSP that is not their channel's.
    fn strays(&self) -> u64 {
        self.simulation.xsps.iter().map(Xsp::stray_heartbeats).sum()
    }

    fn lines_are_at(&self, xsp: &str) -> bool {
        let homes = self.lines.homes();
        homes.len() == LINES && homes.values().all(|home| home == xsp)
    }

    fn channels_are_open(&self) -> bool {
        self.crowd.channels().len() == CHANNELS
    }

    fn channels_are_at(&self, xsps: &[&str]) -> bool {
        self.channels_are_open() && self.crowd.channels().values().all(|home| xsps.contains(&home.as_str()))
    }

    /// Waits until `condition` holds; false if that takes too long.
    async fn until(&self, condition: impl Fn(&Self) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if condition(self) {
                return true;
            }
            wait(Duration::from_millis(20)).await;
        }
        false
    }
}

/// What is said of heartbeats on wrong XSPs, and beside it what a load balancer that knows no channels would have done.
fn astray(strays: u64, seen: &Tally) -> String {
    let landed = if strays == 0 { "no heartbeat".to_owned() } else { format!("{strays} heartbeats") };
    let Tally { heartbeats, astray_in_rotation, .. } = seen;
    format!(
        "{landed} landed on a wrong XSP (R-AFF-2), where round-robin would have sent {astray_in_rotation} of {heartbeats}"
    )
}

async fn wait(time: Duration) {
    tokio::time::sleep(time).await;
}

fn show(begun: &BTreeMap<String, usize>) -> String {
    let name = |xsp: &String| if xsp.is_empty() { "nowhere".to_owned() } else { xsp.clone() };
    begun.iter().map(|(xsp, count)| format!("{} {count}", name(xsp))).collect::<Vec<_>>().join(", ")
}
