//! Runs of the simulation. Separate from it, since the clock that it begins with is read here.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Simulation;
use super::mutation::Mutation;

/// Requests to each farm.
const PER_SEED: u64 = 2_000;

/// What must have happened often, or nothing is said of it.
const COMMON: [&str; 18] = [
    "blocked",
    "extended",
    "trial-begun",
    "trial-failed",
    "unblocked",
    "suspected",
    "cleared",
    "pinned",
    "random",
    "trial",
    "last-resort",
    "redirected",
    "channel",
    "channel-lost",
    "channels-busy",
    "silent",
    "gone-stale",
    "unreachable",
];

fn variable(name: &str, default: u64) -> u64 {
    let told = std::env::var(name).ok();
    told.map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number, not {value:?}")))
}

#[test]
fn r_fail_1_to_8_r_aff_1_and_2_hold_whatever_happens() {
    let first = variable("XSPGATE_SIMULATION_SEED", 1);
    let farms = variable("XSPGATE_SIMULATION_REQUESTS", 100_000).div_ceil(PER_SEED);
    let start = Instant::now();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in first..first + farms {
        let played = Simulation::new(seed, start, None).run(PER_SEED).unwrap_or_else(|wrong| {
            panic!("{wrong}\nagain with XSPGATE_SIMULATION_SEED={seed} XSPGATE_SIMULATION_REQUESTS=1")
        });
        played.counts.into_iter().for_each(|(what, count)| *counts.entry(what).or_default() += count);
    }
    if farms >= 50 {
        let rare: Vec<_> = COMMON.into_iter().filter(|what| counts.get(what).is_none_or(|count| *count < 20)).collect();
        assert!(rare.is_empty(), "hardly ever played: {rare:?} of {counts:?}");
    }
}

#[test]
fn a_seed_plays_the_same_again() {
    let play = |seed| Simulation::new(seed, Instant::now(), None).run(PER_SEED);
    (1..4).for_each(|seed| assert_eq!(play(seed), play(seed)));
}

#[test]
fn every_fault_of_the_core_is_found() {
    let start = Instant::now();
    let is_found =
        |mutation: Mutation| (1..=40).find(|seed| Simulation::new(*seed, start, Some(mutation)).run(PER_SEED).is_err());
    let missed: Vec<_> = Mutation::ALL.into_iter().filter(|mutation| is_found(*mutation).is_none()).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
