//! Which endpoints of a farm are left out, until when, and who may try one again. Separate from the plan, so that the whole
//! life of a block is in one place.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

use super::Transition;
use crate::policy::endpoint::EndpointId;

/// How long a trial may take before the gateway looks for itself: a client may be slow to send its request's body.
const LONG_TRIAL: Duration = Duration::from_secs(5);

/// How an endpoint stands at some instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is held against it.
    Up,
    /// It failed, and is left out until then (R-FAIL-5).
    Blocked {
        /// The first instant at which it may be tried again.
        until: Instant,
    },
    /// Its block has run out (R-FAIL-6): one request may try it.
    Probation,
    /// One request is trying it; for all others it is still blocked.
    OnTrial,
}

/// The right to try an endpoint on probation. Anyone who holds it reports success or failure of the attempt to the
/// [`Blocklist`], or else gives it back with [`Blocklist::release_trial`]; giving it back after a report does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Claim {
    id: EndpointId,
    serial: u64,
}

impl Claim {
    /// The endpoint.
    pub fn id(self) -> EndpointId {
        self.id
    }
}

/// The endpoints of one farm that are not simply up.
#[derive(Clone, Debug, Default)]
pub struct Blocklist {
    entries: BTreeMap<EndpointId, Entry>,
    trials: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The latest failure.
    since: Instant,
    until: Instant,
    /// The running trial. Only ever set when the block has run out.
    trial: Option<Trial>,
    cause: Cause,
    /// Since when it has failed and shown no sign of life; `None`: nothing but a word of the operator is held against it.
    lifeless: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Trial {
    serial: u64,
    begun: Instant,
}

/// Why an endpoint is on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Failure,
    /// The operator has put it there: no success takes it off before its time.
    Operator,
}

impl Entry {
    fn standing(&self, now: Instant) -> Standing {
        match self.trial {
            Some(_) => Standing::OnTrial,
            None if now < self.until => Standing::Blocked { until: self.until },
            None => Standing::Probation,
        }
    }
}

impl Blocklist {
    /// Everybody is up.
    pub fn new() -> Self {
        Self::default()
    }

    /// How `id` stands at `now`; one that was never blocked is up.
    pub fn standing(&self, id: EndpointId, now: Instant) -> Standing {
        self.entries.get(&id).map_or(Standing::Up, |entry| entry.standing(now))
    }

    /// Whether everybody is up.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether `id` is blocked because of a failure that was noticed after `begun`.
    pub fn has_failed_since(&self, id: EndpointId, begun: Instant, now: Instant) -> bool {
        let is_newer = |entry: &Entry| entry.since >= begun && now < entry.until && entry.trial.is_none();
        self.entries.get(&id).is_some_and(is_newer)
    }

    /// Since when nobody can tell whether `id` works again: since its block has run out, if nobody tries it just now, or since
    /// its trial has taken long.
    pub fn ran_out(&self, id: EndpointId, now: Instant) -> Option<Instant> {
        let entry = self.entries.get(&id)?;
        let since = entry.trial.map_or(entry.until, |trial| trial.begun + LONG_TRIAL);
        (since <= now).then_some(since)
    }

    /// The endpoints that are not up, with their standing at `now`, by id.
    pub fn iter(&self, now: Instant) -> impl Iterator<Item = (EndpointId, Standing)> {
        self.entries.iter().map(move |(&id, entry)| (id, entry.standing(now)))
    }

    /// An attempt at `id` failed at `now`: it is left out until `until` (R-FAIL-1 to R-FAIL-3), and a trial of it has
    /// failed. Of two blocks, the one that ends later counts.
    pub fn block(&mut self, id: EndpointId, now: Instant, until: Instant) -> Option<Transition> {
        let Some(entry) = self.entries.get_mut(&id) else {
            let entry = Entry { since: now, until, trial: None, cause: Cause::Failure, lifeless: Some(now) };
            self.entries.insert(id, entry);
            return Some(Transition::Blocked { until });
        };
        entry.lifeless.get_or_insert(now);
        let (longer, had_run_out) = (until > entry.until, now >= entry.until);
        entry.since = entry.since.max(now);
        entry.until = entry.until.max(until);
        if entry.trial.take().is_some() || had_run_out {
            // The operator's time is over.
            entry.cause = Cause::Failure;
            return Some(Transition::TrialFailed { until: entry.until });
        }
        longer.then_some(Transition::Extended { until })
    }

    /// An attempt at `id` that began at `begun` succeeded: it leaves the blocklist (R-FAIL-8), unless it has failed
    /// since then. So an answer that was on its way when an XSP died does not call it alive.
    pub fn succeed(&mut self, id: EndpointId, begun: Instant) -> Option<Transition> {
        let entry = self.entries.get_mut(&id)?;
        if begun < entry.since {
            return None;
        }
        entry.lifeless = None;
        if entry.cause == Cause::Operator && begun < entry.until {
            return None;
        }
        self.entries.remove(&id);
        Some(Transition::Unblocked)
    }

    /// Something came from `id` at `now`, over a connection that it had before it failed. That says nothing of new ones, so
    /// it stays on the list; but its process lives.
    pub fn heard(&mut self, id: EndpointId, now: Instant) {
        if let Some(Entry { lifeless: Some(since), .. }) = self.entries.get_mut(&id) {
            *since = now;
        }
    }

    /// Since when `id` has failed every time, and nothing has come from it. A word of the operator says nothing of that.
    pub fn lifeless_since(&self, id: EndpointId) -> Option<Instant> {
        self.entries.get(&id)?.lifeless
    }

    /// The endpoints of which [`Blocklist::lifeless_since`] is known, in the order of their ids.
    pub fn lifeless(&self) -> impl Iterator<Item = EndpointId> {
        self.entries.iter().filter(|(_, entry)| entry.lifeless.is_some()).map(|(&id, _)| id)
    }

    /// `id` is left out until `until`, whatever is held against it already, and whatever it answers until then.
    pub fn block_by_operator(&mut self, id: EndpointId, now: Instant, until: Instant) -> Transition {
        let lifeless = self.lifeless_since(id);
        let entry = Entry { since: now, until, trial: None, cause: Cause::Operator, lifeless };
        match self.entries.insert(id, entry) {
            None => Transition::Blocked { until },
            Some(_) => Transition::Extended { until },
        }
    }

    /// `id` is taken off the list, whatever is held against it.
    pub fn lift(&mut self, id: EndpointId) -> Option<Transition> {
        self.entries.remove(&id).map(|_| Transition::Unblocked)
    }

    /// Whether `id` is on the list because the operator has put it there.
    pub fn is_blocked_by_operator(&self, id: EndpointId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.cause == Cause::Operator)
    }

    /// Claims the trial of `id`, if it is on probation at `now`: one request at a time may try it, so that an XSP that
    /// still hangs costs one request and not all of them.
    pub fn claim_trial(&mut self, id: EndpointId, now: Instant) -> Option<Claim> {
        let entry = self.entries.get_mut(&id)?;
        match entry.standing(now) {
            Standing::Probation => {}
            Standing::Up | Standing::Blocked { .. } | Standing::OnTrial => return None,
        }
        self.trials += 1;
        entry.trial = Some(Trial { serial: self.trials, begun: now });
        Some(Claim { id, serial: self.trials })
    }

    /// Gives a trial back without a verdict: the endpoint is on probation again. Does nothing if there was a verdict.
    pub fn release_trial(&mut self, trial: Claim) {
        if let Some(entry) = self.entries.get_mut(&trial.id)
            && entry.trial.is_some_and(|running| running.serial == trial.serial)
        {
            entry.trial = None;
        }
    }

    /// Forgets what is held against `id`: its endpoint is gone for good.
    pub fn forget(&mut self, id: EndpointId) {
        self.entries.remove(&id);
    }
}

/// `block_for` with up to 10 % more or less, so that endpoints that failed together don't come back together.
pub fn jittered(block_for: Duration, rng: &mut impl Rng) -> Duration {
    block_for.mul_f64(rng.random_range(0.9..=1.1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::policy::endpoint::{Endpoint, Roster, Tier, Weight};

    fn ids(count: u8) -> Vec<EndpointId> {
        let endpoint = |last: u8| Endpoint {
            address: ([10, 0, 0, last], 443).into(),
            tier: Tier::default(),
            weight: Weight::Equal,
            target: None,
        };
        Roster::new().update((0..count).map(endpoint).collect()).joined
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_block_by_operator_lasts_for_its_time_and_no_longer() {
        let (id, start) = (ids(1)[0], Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut list = Blocklist::new();
        list.block(id, start, at(60));
        list.block_by_operator(id, at(1), at(10));
        assert_eq!(
            list.standing(id, at(9)),
            Standing::Blocked { until: at(10) },
            "a shorter one replaces a longer one"
        );
        assert_eq!(list.succeed(id, at(9)), None, "what it answers meanwhile says nothing");
        assert_eq!(list.standing(id, at(10)), Standing::Probation);
        assert!(list.succeed(id, at(11)).is_some());
        assert_eq!(list.standing(id, at(11)), Standing::Up);
        list.block_by_operator(id, at(20), at(3600));
        assert!(list.lift(id).is_some() && list.lift(id).is_none());
        assert_eq!(list.standing(id, at(21)), Standing::Up);
    }

    #[test]
    fn an_endpoint_is_lifeless_from_its_first_failure_until_something_comes_from_it() {
        let (id, start) = (ids(1)[0], Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut list = Blocklist::new();
        assert_eq!(list.lifeless_since(id), None);
        list.block(id, at(0), at(60));
        list.block(id, at(30), at(90));
        let trial = list.claim_trial(id, at(90)).unwrap();
        list.block(id, at(91), at(151));
        list.release_trial(trial);
        assert_eq!(list.lifeless_since(id), Some(at(0)), "however often it fails, and whether it is blocked or not");
        assert_eq!(list.succeed(id, at(50)), None);
        assert_eq!(list.lifeless_since(id), Some(at(0)), "an answer that is older than its failure");
        list.heard(id, at(100));
        assert_eq!((list.lifeless_since(id), list.lifeless().collect()), (Some(at(100)), vec![id]));
        assert_ne!(list.standing(id, at(100)), Standing::Up);
        list.succeed(id, at(120));
        list.heard(id, at(121));
        assert_eq!((list.lifeless_since(id), list.lifeless().count()), (None, 0));
    }

    #[test]
    fn a_block_by_operator_makes_nobody_lifeless_and_hides_nothing() {
        let (id, start) = (ids(1)[0], Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut list = Blocklist::new();
        list.block_by_operator(id, at(0), at(60));
        assert_eq!(list.lifeless_since(id), None);
        assert_eq!(list.standing(id, at(70)), Standing::Probation);
        assert_eq!(list.lifeless_since(id), None, "it has run out, and nobody has tried it");
        list.block(id, at(71), at(131));
        list.block_by_operator(id, at(80), at(200));
        assert_eq!(list.lifeless_since(id), Some(at(71)), "it had failed before");
        assert_eq!(list.succeed(id, at(90)), None, "it stays blocked");
        assert_eq!(list.lifeless_since(id), None, "and it answers");
        list.block(id, at(100), at(160));
        assert_eq!(list.lifeless_since(id), Some(at(100)));
        list.lift(id);
        assert_eq!(list.lifeless_since(id), None);
    }

    #[test]
    fn r_fail_6_a_block_runs_out_to_the_nanosecond() {
        let (id, now) = (ids(1)[0], Instant::now());
        let until = now + seconds(60);
        let mut list = Blocklist::new();
        assert_eq!(list.standing(id, now), Standing::Up);
        assert_eq!(list.block(id, now, until), Some(Transition::Blocked { until }));
        let last = until - Duration::from_nanos(1);
        assert_eq!(list.standing(id, last), Standing::Blocked { until });
        assert_eq!(list.claim_trial(id, last), None);
        assert_eq!(list.standing(id, until), Standing::Probation);
    }

    #[test]
    fn r_fail_6_one_request_at_a_time_tries_it() {
        let (id, now) = (ids(1)[0], Instant::now());
        let mut list = Blocklist::new();
        list.block(id, now, now);
        let trial = list.claim_trial(id, now).unwrap();
        assert_eq!(list.standing(id, now), Standing::OnTrial);
        assert_eq!(list.claim_trial(id, now), None);
        list.release_trial(trial);
        assert_eq!(list.standing(id, now), Standing::Probation);

        let second = list.claim_trial(id, now).unwrap();
        list.release_trial(trial);
        assert_eq!(list.standing(id, now), Standing::OnTrial, "an old trial can't give back another one");
        let until = now + seconds(60);
        assert_eq!(list.block(id, now, until), Some(Transition::TrialFailed { until }));
        list.release_trial(second);
        assert_eq!(list.standing(id, now), Standing::Blocked { until });
    }

    #[test]
    fn r_fail_8_success_takes_it_off_the_list() {
        let (id, now) = (ids(1)[0], Instant::now());
        let mut list = Blocklist::new();
        assert_eq!(list.succeed(id, now), None, "it was up");
        list.block(id, now, now + seconds(60));
        assert_eq!(list.succeed(id, now), Some(Transition::Unblocked));
        assert_eq!(list.standing(id, now), Standing::Up);
        assert_eq!(list.iter(now).count(), 0);

        list.block(id, now, now);
        let trial = list.claim_trial(id, now).unwrap();
        assert_eq!(list.succeed(id, now), Some(Transition::Unblocked));
        list.release_trial(trial);
        assert_eq!(list.standing(id, now), Standing::Up);
    }

    #[test]
    fn r_fail_8_an_answer_to_an_attempt_older_than_the_failure_proves_nothing() {
        let (id, now) = (ids(1)[0], Instant::now());
        let mut list = Blocklist::new();
        list.block(id, now + seconds(1), now + seconds(61));
        assert_eq!(list.succeed(id, now), None);
        assert_eq!(list.succeed(id, now + seconds(1)), Some(Transition::Unblocked));
    }

    #[test]
    fn of_two_blocks_the_later_end_counts() {
        let (id, now) = (ids(1)[0], Instant::now());
        let mut list = Blocklist::new();
        list.block(id, now, now + seconds(60));
        assert_eq!(list.block(id, now, now + seconds(59)), None);
        let until = now + seconds(61);
        assert_eq!(list.block(id, now, until), Some(Transition::Extended { until }));
        assert_eq!(list.standing(id, now), Standing::Blocked { until });
    }

    #[test]
    fn r_fail_6_the_period_varies_by_a_tenth() {
        let mut rng = StdRng::seed_from_u64(1);
        let periods: Vec<_> = (0..1_000).map(|_| jittered(seconds(60), &mut rng)).collect();
        assert!(periods.iter().all(|period| (seconds(54)..=seconds(66)).contains(period)));
        assert!(periods.iter().any(|period| *period < seconds(55)));
        assert!(periods.iter().any(|period| *period > seconds(65)));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Wait(u64),
        Block(usize, u64),
        Succeed(usize, u64),
        Claim(usize),
        Release(usize),
        Forget(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u64..4).prop_map(Step::Wait),
            (0usize..3, 0u64..6).prop_map(|(who, period)| Step::Block(who, period)),
            (0usize..3, 0u64..4).prop_map(|(who, ago)| Step::Succeed(who, ago)),
            (0usize..3).prop_map(Step::Claim),
            (0usize..8).prop_map(Step::Release),
            (0usize..3).prop_map(Step::Forget),
        ]
    }

    /// Everything that ever happened to one endpoint since it was last up, read from the start at each question.
    #[derive(Clone, Debug, Default)]
    struct History(Vec<Event>);

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Failed { at: Instant, until: Instant },
        Claimed(usize),
        Released(usize),
    }

    impl History {
        fn holder(&self) -> Option<usize> {
            let mut holder = None;
            for event in &self.0 {
                match *event {
                    Event::Failed { .. } => holder = None,
                    Event::Claimed(trial) => holder = Some(trial),
                    Event::Released(trial) if holder == Some(trial) => holder = None,
                    Event::Released(_) => {}
                }
            }
            holder
        }

        fn failures(&self) -> impl Iterator<Item = (Instant, Instant)> {
            self.0.iter().filter_map(|event| match *event {
                Event::Failed { at, until } => Some((at, until)),
                Event::Claimed(_) | Event::Released(_) => None,
            })
        }

        fn standing(&self, now: Instant) -> Standing {
            match self.failures().map(|(_, until)| until).max() {
                None => Standing::Up,
                Some(_) if self.holder().is_some() => Standing::OnTrial,
                Some(until) if now < until => Standing::Blocked { until },
                Some(_) => Standing::Probation,
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn r_fail_5_to_8_match_a_model_that_replays_history(steps in prop::collection::vec(step(), 1..80)) {
            let ids = ids(3);
            let mut list = Blocklist::new();
            let mut model = vec![History::default(); 3];
            let mut trials: Vec<(usize, Claim)> = Vec::new();
            let mut now = Instant::now() + seconds(100);
            for step in steps {
                match step {
                    Step::Wait(pause) => now += seconds(pause),
                    Step::Block(who, period) => {
                        let until = now + seconds(period);
                        let before = model[who].standing(now);
                        let latest = model[who].failures().map(|(_, until)| until).max();
                        model[who].0.push(Event::Failed { at: now, until });
                        let id = ids[who];
                        let end = latest.map_or(until, |latest| latest.max(until));
                        let expected = match before {
                            Standing::Up => Some(Transition::Blocked { until }),
                            Standing::OnTrial | Standing::Probation => Some(Transition::TrialFailed { until: end }),
                            Standing::Blocked { .. } => {
                                (Some(end) != latest).then_some(Transition::Extended { until })
                            }
                        };
                        prop_assert_eq!(list.block(id, now, until), expected);
                    }
                    Step::Succeed(who, ago) => {
                        let begun = now - seconds(ago);
                        let was_up = model[who].0.is_empty();
                        let counts = model[who].failures().all(|(at, _)| at <= begun);
                        let expected = (!was_up && counts).then_some(Transition::Unblocked);
                        prop_assert_eq!(list.succeed(ids[who], begun), expected);
                        if counts {
                            model[who].0.clear();
                        }
                    }
                    Step::Claim(who) => {
                        let free = model[who].standing(now) == Standing::Probation;
                        let trial = list.claim_trial(ids[who], now);
                        prop_assert_eq!(trial.is_some(), free);
                        if let Some(trial) = trial {
                            model[who].0.push(Event::Claimed(trials.len()));
                            trials.push((who, trial));
                        }
                    }
                    Step::Release(which) => {
                        if let Some(&(who, trial)) = trials.get(which) {
                            list.release_trial(trial);
                            model[who].0.push(Event::Released(which));
                            if model[who].failures().next().is_none() {
                                model[who].0.clear();
                            }
                        }
                    }
                    Step::Forget(who) => {
                        list.forget(ids[who]);
                        model[who].0.clear();
                    }
                }
                for (id, history) in ids.iter().zip(&model) {
                    prop_assert_eq!(list.standing(*id, now), history.standing(now));
                    prop_assert_eq!(list.lifeless_since(*id), history.failures().map(|(at, _)| at).next());
                }
                let listed: Vec<_> = list.iter(now).collect();
                let expected: Vec<_> = ids.iter().zip(&model).map(|(id, history)| (*id, history.standing(now)))
                    .filter(|(_, standing)| *standing != Standing::Up).collect();
                prop_assert_eq!(listed, expected);
            }
        }
    }
}
