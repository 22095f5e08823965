//! Random sequences of what is done to a gateway from several sides at once, with a detector of deadlocks looking on.

use http::StatusCode;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use xspgate::control::{Reply, Request};
use xspgate::sim::site::{ALL, Text};

use crate::harness::{Ctl, PROFILE, Stage, eventually, within};
use crate::liveness::{controlled, whom};

/// Hands that do something at the same time.
const HANDS: usize = 4;
/// What each of them does, one after the other, before the next sequence begins.
const STEPS: usize = 3;
const XSPS: [&str; 4] = ["a1", "a2", "b1", "b2"];

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// One of the hands.
struct Hand<'a> {
    number: usize,
    stage: &'a Stage,
    ctl: &'a Ctl,
    text: Text,
    rng: StdRng,
}

impl Hand<'_> {
    async fn sequence(&mut self) {
        for _ in 0..STEPS {
            match self.rng.random_range(0..12) {
                0 => self.look("/status", &[200]).await,
                1 => self.look("/metrics", &[200]).await,
                2 => self.look("/", &[200]).await,
                3 => self.look("/livez", &[200]).await,
                4 => self.look("/readyz", &[200]).await,
                5 => drop(self.ctl.ask(&Request::Status).await),
                6 => self.operate().await,
                7 => self.operate().await,
                8 => self.reload().await,
                9 => self.change_dns(),
                10 => self.ask().await,
                _ => drop(self.ctl.reply(&Request::Log(None)).await),
            }
        }
    }

    async fn look(&self, path: &str, expected: &[u16]) {
        let (status, text) = self.stage.gateway.admin(path).await;
        assert!(expected.contains(&status), "{path}: {status} {text}");
    }

    async fn operate(&mut self) {
        let whom = whom(self.stage, XSPS.choose(&mut self.rng).unwrap());
        let request = match self.rng.random_range(0..4) {
            0 => Request::Drain(whom),
            1 => Request::Undrain(whom),
            2 => Request::Block(whom, Some(self.rng.random_range(0.01..5.0))),
            _ => Request::Unblock(whom),
        };
        match self.ctl.reply(&request).await {
            Reply::Done(_) => {}
            // It may have left DNS, be the last one, or be drained by the configuration.
            Reply::Refused(why) => {
                let known = ["no XSP is meant", "no other XSP of farm", "STILL drained"];
                assert!(known.iter().any(|known| why.contains(known)), "{why}");
            }
        }
    }

    async fn reload(&mut self) {
        let drained = self.subset();
        self.text.set("[farm.xsp]", "drain", drained);
        self.text.set("[farm.xsp.failover]", "block_for", format!("{}s", self.rng.random_range(1..5)));
        // Whole or not at all: other hands write and read it, too.
        let (draft, path) = (format!("draft-{}.toml", self.number), "xspgate.toml");
        let [draft, path] = [&*draft, path].map(|name| self.stage.sim.folder().join(name));
        std::fs::write(&draft, self.text.to_string()).unwrap();
        std::fs::rename(&draft, &path).unwrap();
        self.ctl.ask(&Request::Reload).await;
    }

    fn change_dns(&mut self) {
        let mut ips: Vec<_> = XSPS.iter().map(|xsp| self.stage.xsp(xsp).address().ip()).collect();
        let kept = self.rng.random_range(1..=ips.len());
        while ips.len() > kept {
            ips.swap_remove(self.rng.random_range(0..ips.len()));
        }
        self.stage.sim.zones().set_a(ALL, 0, ips);
    }

    async fn ask(&self) {
        // Nobody may be left to answer it.
        let status = self.stage.client().get(PROFILE).await.status;
        assert!(status == StatusCode::OK || status == StatusCode::SERVICE_UNAVAILABLE, "{status}");
    }

    fn subset(&mut self) -> Vec<String> {
        let address = |xsp: &&str| self.stage.xsp(xsp).address().ip().to_string();
        let all: Vec<_> = XSPS.iter().map(address).collect();
        all.into_iter().filter(|_| self.rng.next_u32() & 3 == 0).collect()
    }
}

#[tokio::test]
async fn whatever_is_done_from_all_sides_at_once_is_answered_in_time() {
    let sequences = number("XSPGATE_SEQUENCES").unwrap_or(300);
    let seed = number("XSPGATE_SEED").unwrap_or_else(rand::random);
    eprintln!("XSPGATE_SEED={seed} plays these {sequences} sequences again");
    let mut text = None;
    let (stage, ctl) = controlled(|_, configured| text = Some(configured.clone())).await;
    let mut rng = StdRng::seed_from_u64(seed);
    let text = text.unwrap();
    let hand = |number| Hand { number, stage: &stage, ctl: &ctl, text: text.clone(), rng: StdRng::from_rng(&mut rng) };
    let mut hands: [Hand<'_>; HANDS] = std::array::from_fn(hand);
    for number in 0..sequences {
        let [one, two, three, four] = &mut hands;
        let all = async { tokio::join!(one.sequence(), two.sequence(), three.sequence(), four.sequence()) };
        within(&format!("sequence {number} of seed {seed}"), all).await;
    }
    stage.sim.publish_all();
    stage.sim.write_config(&text).unwrap();
    assert!(matches!(ctl.reply(&Request::Reload).await, Reply::Done(_)));
    eventually("the end of all blocks and drains", async || {
        for xsp in XSPS {
            ctl.reply(&Request::Undrain(whom(&stage, xsp))).await;
            ctl.reply(&Request::Unblock(whom(&stage, xsp))).await;
        }
        let status: serde_json::Value = serde_json::from_str(&ctl.ask(&Request::Status).await).unwrap();
        let up = status["farms"][0]["endpoints"].as_array().unwrap().iter().filter(|one| one["state"] == "up");
        up.count() == XSPS.len()
    })
    .await;
    assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::OK);
}
