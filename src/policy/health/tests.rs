//! Health by example, rule by rule. Separate from the examples of the blocklist and of the budget, which know nothing of evidence.

pub(in crate::policy) mod inside;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::policy::endpoint::{Endpoint, Tier, Weight};
use crate::policy::fault::HandshakeFault;

const RULES: Rules = Rules {
    block_for: Duration::from_secs(60),
    advance_after: Some(Duration::from_millis(600)),
    on_5xx: On5xx::Confirm,
    on_silence: OnSilence::Confirm,
};
const ACTIONS: Option<Interface> = Some(Interface::XsiActions);
const EVENTS: Option<Interface> = Some(Interface::XsiEvents);
const BUSY: Seen = Seen::ServerError;
const SILENT: Seen = Seen::Fault(Fault::Timeout);
const REFUSED: Seen = Seen::Fault(Fault::Refused);

/// A farm of one site, whose endpoints are numbered 0, 1, 2.
struct Farm {
    health: Health,
    roster: Roster,
    ids: Vec<EndpointId>,
    rules: Rules,
    start: Instant,
    now: Instant,
    rng: StdRng,
}

impl Farm {
    fn new(size: u8) -> Self {
        let now = Instant::now();
        let mut roster = Roster::new();
        let endpoint = |last: u8| Endpoint {
            address: ([10, 0, 0, last], 443).into(),
            tier: Tier::default(),
            weight: Weight::Equal,
            target: None,
        };
        let ids = roster.update((0..size).map(endpoint).collect()).joined;
        Self {
            health: Health::new(now, None),
            roster,
            ids,
            rules: RULES,
            start: now,
            now,
            rng: StdRng::seed_from_u64(7),
        }
    }

    fn with(rules: Rules) -> Self {
        Self { rules, ..Self::new(3) }
    }

    fn wait(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }

    fn saw(&mut self, which: usize, seen: Seen) -> Vec<Transition> {
        self.saw_of_attempt(which, seen, ACTIONS, self.now)
    }

    fn saw_of_attempt(
        &mut self,
        which: usize,
        seen: Seen,
        interface: Option<Interface>,
        begun: Instant,
    ) -> Vec<Transition> {
        let observation = Observation { id: self.ids[which], seen, begun, interface };
        self.health.observe(&observation, &self.rules, &self.roster, self.now, &mut self.rng).into_vec()
    }

    /// An attempt for that session is overdue.
    fn overdue(&mut self, which: usize, session: u64) -> (u64, Vec<Transition>) {
        let begun = self.health.overdue_begin(self.ids[which], session, ACTIONS, &self.rules, self.now);
        (begun.0, begun.1.into_vec())
    }

    fn tick(&mut self, idle: Option<u64>) -> Vec<Transition> {
        let idle = idle.map(Duration::from_millis);
        let ticked = self.health.tick(&self.roster, idle, self.now, &mut self.rng);
        ticked.into_iter().map(|(_, transition)| transition).collect()
    }

    /// Lets time pass, with a tick ten times a second, until a look is due; how long that has taken, in milliseconds.
    fn until_look(&mut self, at_most: u64) -> Option<(u128, Order)> {
        let from = self.now;
        while self.now <= from + Duration::from_millis(at_most) {
            self.tick(None);
            if let Some(order) = self.health.due_looks(self.now).pop() {
                return Some(((self.now - from).as_millis(), order));
            }
            self.wait(100);
        }
        None
    }

    fn looked(&mut self, order: &Order, found: Found) -> Vec<Transition> {
        let told = self.health.looked(order, found, &self.rules, &self.roster, self.now, &mut self.rng).into_vec();
        self.health.release_look(order);
        told
    }

    /// A look is due now, and finds this.
    fn look(&mut self, which: usize, found: Found) -> Vec<Transition> {
        let mut due = self.health.due_looks(self.now);
        let order = due.iter().position(|order| order.id == self.ids[which]).expect("a look is due");
        let order = due.swap_remove(order);
        self.looked(&order, found)
    }

    fn standing(&self, which: usize) -> Standing {
        self.health.standing(self.ids[which], self.now)
    }

    fn is_blocked(&self, which: usize) -> bool {
        matches!(self.standing(which), Standing::Blocked { .. })
    }

    fn is_suspect(&self, which: usize) -> bool {
        self.health.is_suspect(self.ids[which])
    }
}

fn suspected(cause: Cause) -> Vec<Transition> {
    vec![Transition::Suspected { cause }]
}

#[test]
fn r_fail_1_what_proves_that_an_endpoint_is_gone_blocks_it_for_a_minute_give_or_take_a_tenth() {
    let proofs = [
        (Fault::Refused, false),
        (Fault::ConnectReset, false),
        (Fault::NoConnection, false),
        (Fault::Handshake(HandshakeFault::NotTls), false),
        (Fault::Handshake(HandshakeFault::CertificateExpired), false),
        (Fault::Unreachable, true),
        (Fault::ConnectTimeout, true),
        (Fault::HandshakeTimeout, true),
    ];
    for (fault, is_address_in_doubt) in proofs {
        let mut farm = Farm::new(3);
        let told = farm.saw(0, Seen::Fault(fault));
        let Some(Transition::Blocked { until }) = told.first() else { panic!("{fault:?}: {told:?}") };
        assert!((54..=66).contains(&(*until - farm.now).as_secs()), "{fault:?}");
        assert_eq!(told.contains(&Transition::AddressInDoubt), is_address_in_doubt, "{fault:?}");
        assert!(farm.is_blocked(0) && !farm.is_suspect(0) && !farm.is_blocked(1), "{fault:?}");
        assert_eq!(farm.health.next_look(), None, "{fault:?}: what is proved needs no look");
    }
}

#[test]
fn r_fail_2_and_3_what_may_be_the_requests_fault_makes_an_endpoint_suspect_and_a_look_decides() {
    let doubts = [
        (BUSY, Cause::ServerError),
        (SILENT, Cause::Silence),
        (Seen::Fault(Fault::Send), Cause::Broken),
        (Seen::Fault(Fault::Reset), Cause::Broken),
        (Seen::Fault(Fault::Closed), Cause::Broken),
        (Seen::Fault(Fault::Malformed), Cause::Broken),
    ];
    for (seen, cause) in doubts {
        let mut farm = Farm::new(3);
        assert_eq!(farm.saw(0, seen), suspected(cause));
        assert_eq!(farm.standing(0), Standing::Up, "{seen:?}");
        assert!(farm.health.is_last_choice(farm.ids[0]), "{seen:?}");
        assert_eq!(farm.saw(0, seen), [], "{seen:?}: it is said once");
        assert_eq!(farm.look(0, Found::Well), [Transition::Cleared], "{seen:?}");
        assert_eq!(farm.standing(0), Standing::Up, "{seen:?}");

        for found in [Found::ServerError, Found::Fault(Fault::Timeout), Found::Fault(Fault::Refused)] {
            let mut farm = Farm::new(3);
            farm.saw(0, seen);
            let told = farm.look(0, found);
            assert!(matches!(told[0], Transition::Blocked { .. }), "{seen:?}, {found:?}");
            assert!(farm.is_blocked(0) && !farm.is_suspect(0), "{seen:?}, {found:?}");
            let is_silence = found == Found::Fault(Fault::Timeout);
            assert_eq!(told.contains(&Transition::AddressInDoubt), is_silence, "{seen:?}, {found:?}");
        }
    }
}

#[test]
fn what_is_nobodys_fault_blames_nobody() {
    for fault in [Fault::Local, Fault::TooLarge] {
        let mut farm = Farm::new(1);
        assert_eq!(farm.saw(0, Seen::Fault(fault)), []);
        assert_eq!((farm.standing(0), farm.health.next_look()), (Standing::Up, None), "{fault:?}");
    }
}

#[test]
fn a_connection_that_has_idled_and_ended_is_worth_a_look_every_ten_seconds() {
    for seen in [Seen::Fault(Fault::Stale), Seen::Ended] {
        let mut farm = Farm::new(1);
        assert_eq!(farm.saw(0, seen), []);
        assert_eq!((farm.standing(0), farm.is_suspect(0)), (Standing::Up, false), "{seen:?}");
        assert_eq!(farm.look(0, Found::Well), []);
        farm.wait(2_000);
        farm.saw(0, seen);
        let (after, order) = farm.until_look(20_000).expect("a hint is not forgotten");
        assert_eq!(after, 8_000, "{seen:?}");
        let _ = farm.looked(&order, Found::Well);
        farm.saw(0, REFUSED);
        farm.wait(20_000);
        farm.saw(0, seen);
        assert_eq!(farm.health.next_look(), None, "{seen:?}: what is blocked is left alone");
    }
}

#[test]
fn r_fail_8_an_answer_takes_an_endpoint_off_the_list_unless_it_has_failed_since_it_was_asked() {
    let mut farm = Farm::new(3);
    let before = farm.now;
    farm.wait(100);
    farm.saw(0, REFUSED);
    farm.wait(100);
    assert_eq!(farm.saw_of_attempt(0, Seen::Answer, ACTIONS, before), []);
    assert!(farm.is_blocked(0));
    assert_eq!(farm.saw(0, Seen::Answer), [Transition::Unblocked]);
    assert_eq!(farm.standing(0), Standing::Up);
    farm.saw(0, BUSY);
    assert_eq!(farm.saw(0, Seen::Answer), [Transition::Cleared]);
}

#[test]
fn r_fail_2_on_5xx_says_what_a_5xx_amounts_to() {
    let mut literal = Farm::with(Rules { on_5xx: On5xx::Block, ..RULES });
    assert!(matches!(literal.saw(0, BUSY)[..], [Transition::Blocked { .. }]));
    let mut easy = Farm::with(Rules { on_5xx: On5xx::Answer, ..RULES });
    assert_eq!(easy.saw(0, BUSY), []);
    easy.saw(0, REFUSED);
    easy.wait(1);
    assert_eq!(easy.saw(0, BUSY), [Transition::Unblocked], "it is an answer like any other");
}

#[test]
fn r_fail_3_on_silence_block_is_the_documented_rule_to_the_letter() {
    let mut farm = Farm::with(Rules { on_silence: OnSilence::Block, ..RULES });
    let (serial, told) = farm.overdue(0, 1);
    assert_eq!(told, []);
    assert!(farm.health.is_last_choice(farm.ids[0]) && !farm.is_suspect(0), "it is the last choice meanwhile");
    let told = farm.saw(0, SILENT);
    assert!(matches!(told[..], [Transition::Blocked { .. }, Transition::AddressInDoubt]), "{told:?}");
    farm.health.overdue_end(farm.ids[0], serial);
    assert!(!farm.health.is_last_choice(farm.ids[0]));
    assert!(matches!(farm.saw(1, Seen::Fault(Fault::Reset))[..], [Transition::Blocked { .. }]));
}

#[test]
fn one_look_at_a_time_and_one_a_second() {
    let mut farm = Farm::new(1);
    farm.saw(0, BUSY);
    let first = farm.health.due_looks(farm.now).pop().unwrap();
    farm.wait(1_500);
    farm.saw_of_attempt(0, SILENT, EVENTS, farm.now);
    assert_eq!(farm.health.due_looks(farm.now), [], "the first one is still under way");
    assert_eq!(farm.health.claim_look(farm.ids[0], farm.now), None);
    farm.looked(&first, Found::Well);
    assert!(farm.is_suspect(0), "it has not been asked for that");
    let second = farm.health.due_looks(farm.now).pop().unwrap();
    assert_eq!(second.interface(), EVENTS);
    assert_eq!(farm.looked(&second, Found::Well), [Transition::Cleared]);
    farm.saw(0, Seen::Fault(Fault::Reset));
    let (after, _) = farm.until_look(5_000).unwrap();
    assert_eq!(after, 1_000);
}

#[test]
fn a_look_that_is_given_up_or_could_not_be_made_is_made_again() {
    let mut farm = Farm::new(1);
    farm.saw(0, BUSY);
    let order = farm.health.due_looks(farm.now).pop().unwrap();
    assert_eq!(farm.looked(&order, Found::Fault(Fault::Local)), []);
    assert!(farm.is_suspect(0));
    let (after, order) = farm.until_look(5_000).unwrap();
    assert_eq!((after, order.interface()), (1_000, ACTIONS));
    farm.health.release_look(&order);
    assert!(farm.health.claim_look(farm.ids[0], farm.now).is_some());
}

#[test]
fn a_look_settles_what_an_endpoint_is_suspected_of_when_it_begins() {
    let mut farm = Farm::new(1);
    farm.saw(0, BUSY);
    farm.look(0, Found::Well);
    // Its next look is a second off.
    farm.saw_of_attempt(0, Seen::Fault(Fault::Reset), EVENTS, farm.now);
    farm.saw(0, Seen::Answer);
    farm.saw(0, SILENT);
    let (_, order) = farm.until_look(2_000).unwrap();
    assert_eq!(order.interface(), ACTIONS, "an answer has cleared what it was called for");
    assert_eq!(farm.looked(&order, Found::Well), [Transition::Cleared]);
}

#[test]
fn that_a_look_found_it_well_holds_for_ten_seconds_for_the_same_suspicion_there() {
    let mut farm = Farm::new(1);
    farm.saw(0, BUSY);
    farm.look(0, Found::Well);
    farm.wait(9_900);
    assert_eq!(farm.saw(0, BUSY), []);
    assert_eq!(farm.saw_of_attempt(0, BUSY, EVENTS, farm.now), suspected(Cause::ServerError), "not elsewhere");
    farm.saw(0, Seen::Answer);
    assert_eq!(farm.saw(0, SILENT), suspected(Cause::Silence), "nor of another kind");
    farm.saw(0, Seen::Answer);
    farm.wait(100);
    assert_eq!(farm.saw(0, BUSY), suspected(Cause::ServerError));
}

#[test]
fn r_fail_3_the_hold_ends_when_two_sessions_wait_and_nobody_is_answered() {
    let mut farm = Farm::new(1);
    farm.overdue(0, 1);
    farm.look(0, Found::Well);
    farm.wait(700);
    assert_eq!(farm.overdue(0, 1).1, [], "one session says little");
    assert_eq!(farm.tick(None), []);
    let (other, told) = farm.overdue(0, 2);
    assert_eq!(told, suspected(Cause::Silence));
    farm.saw(0, Seen::Answer);
    assert_eq!(farm.tick(None), [], "it answers somebody");
    farm.wait(600);
    assert_eq!(farm.tick(None), suspected(Cause::Silence));
    farm.saw(0, Seen::Answer);
    farm.health.overdue_end(farm.ids[0], other);
    farm.wait(600);
    assert_eq!(farm.tick(None), [], "one session says little");
}

#[test]
fn what_is_blocked_is_not_suspect_as_well() {
    let mut farm = Farm::new(2);
    farm.overdue(0, 1);
    farm.overdue(0, 2);
    farm.saw(0, REFUSED);
    farm.wait(2_000);
    assert_eq!(farm.tick(None), []);
    assert_eq!(farm.saw(0, SILENT), []);
    assert!(!farm.is_suspect(0));
}

#[test]
fn sessions_stay_with_a_suspect_that_has_answered_somebody_just_now() {
    let mut farm = Farm::new(2);
    let home = farm.ids[0];
    farm.saw(0, Seen::Answer);
    farm.wait(599);
    farm.overdue(0, 1);
    assert!(farm.health.keeps_sessions(home, farm.now));
    farm.wait(1);
    assert!(!farm.health.keeps_sessions(home, farm.now));
    farm.saw(0, BUSY);
    assert!(farm.health.keeps_sessions(home, farm.now), "a 5xx is a sign of life");
}

#[test]
fn a_client_that_has_left_after_a_long_wait_has_its_endpoint_looked_at() {
    let mut farm = Farm::new(1);
    farm.health.abandoned(farm.ids[0], ACTIONS, farm.now);
    assert!(!farm.is_suspect(0));
    let order = farm.health.due_looks(farm.now).pop().unwrap();
    assert_eq!(order.interface(), ACTIONS);
    farm.looked(&order, Found::Well);
    farm.wait(5_000);
    farm.health.abandoned(farm.ids[0], ACTIONS, farm.now);
    assert_eq!(farm.health.next_look(), None, "it has just been found well");
}

#[test]
fn r_fail_8_the_first_answer_after_all_were_blocked_has_the_others_looked_at() {
    let mut farm = Farm::new(3);
    (0..3).for_each(|which| drop(farm.saw(which, REFUSED)));
    farm.wait(5_000);
    assert_eq!(farm.saw(1, Seen::Answer), [Transition::Unblocked]);
    let looked_at: Vec<_> = farm.health.due_looks(farm.now).iter().map(|order| order.id).collect();
    assert_eq!(looked_at, [farm.ids[0], farm.ids[2]]);
    let mut farm = Farm::new(3);
    (0..2).for_each(|which| drop(farm.saw(which, REFUSED)));
    farm.wait(5_000);
    farm.saw(1, Seen::Answer);
    assert_eq!(farm.health.due_looks(farm.now), [], "one of them was up all the time");
}

#[test]
fn r_fail_6_what_no_client_tries_within_a_second_is_looked_at() {
    let mut farm = Farm::new(2);
    let Some(Transition::Blocked { until }) = farm.saw(0, REFUSED).pop() else { panic!("it is blocked") };
    farm.now = until;
    let (after, order) = farm.until_look(5_000).unwrap();
    assert_eq!(after, 1_000);
    assert_eq!(farm.looked(&order, Found::Well), [Transition::Unblocked]);

    let Some(Transition::Blocked { until }) = farm.saw(0, REFUSED).pop() else { panic!("it is blocked") };
    farm.now = until;
    let trial = farm.health.claim_trial(farm.ids[0], farm.now).unwrap();
    assert!(farm.until_look(3_000).is_none(), "a client tries it");
    farm.health.release_trial(trial);
    farm.health.look_at_trials(&farm.roster, farm.now);
    let order = farm.health.due_looks(farm.now).pop().unwrap();
    assert!(matches!(farm.looked(&order, Found::ServerError)[..], [Transition::TrialFailed { .. }]));
}

#[test]
fn an_endpoint_that_answers_nobody_for_long_is_looked_at() {
    let mut farm = Farm::new(1);
    let mut looks = Vec::new();
    while farm.now < farm.start + Duration::from_secs(100) {
        farm.tick(Some(30_000));
        for order in farm.health.due_looks(farm.now) {
            looks.push((farm.now - farm.start).as_secs());
            farm.looked(&order, Found::Well);
        }
        farm.wait(100);
    }
    assert_eq!(looks.len(), 3, "{looks:?}");
    for _ in 0..600 {
        farm.saw(0, Seen::Answer);
        farm.tick(Some(30_000));
        farm.wait(100);
        assert_eq!(farm.health.due_looks(farm.now), [], "it answers clients");
    }
}

#[test]
fn an_operators_block_stands_whatever_is_answered() {
    let mut farm = Farm::new(2);
    farm.saw(0, BUSY);
    let until = farm.now + Duration::from_secs(600);
    assert_eq!(farm.health.block_by_operator(farm.ids[0], farm.now, until), Transition::Blocked { until });
    assert!(!farm.is_suspect(0));
    farm.wait(1_000);
    assert_eq!(farm.saw(0, Seen::Answer), []);
    assert!(farm.is_blocked(0));
    assert_eq!(farm.health.lift(farm.ids[0]), Some(Transition::Unblocked));
}

#[test]
fn r_fail_6_a_trial_that_takes_long_is_looked_at() {
    let mut farm = Farm::new(3);
    farm.saw(0, REFUSED);
    farm.wait(70_000);
    let trial = farm.health.claim_trial(farm.ids[0], farm.now).unwrap();
    let (took, order) = farm.until_look(20_000).expect("its client may never send all of its body");
    assert!((5_000..=6_500).contains(&took), "{took} ms");
    assert_eq!(farm.looked(&order, Found::Well), [Transition::Unblocked]);
    farm.health.release_trial(trial);
    assert_eq!(farm.standing(0), Standing::Up);
}

#[test]
fn r_fail_8_of_several_looks_by_one_right_each_has_its_own_beginning() {
    let mut farm = Farm::new(3);
    farm.saw(0, REFUSED);
    farm.wait(10);
    let mut order = farm.health.claim_look(farm.ids[0], farm.now).unwrap();
    farm.wait(10);
    let told = |farm: &mut Farm, order: &Order, found| {
        farm.health.looked(order, found, &farm.rules, &farm.roster, farm.now, &mut farm.rng).into_vec()
    };
    told(&mut farm, &order, Found::Fault(Fault::Refused));
    farm.wait(1_000);
    assert_eq!(told(&mut farm, &order, Found::Well), [], "it has failed since that look began");
    order.begin_again(farm.now);
    assert_eq!(told(&mut farm, &order, Found::Well), [Transition::Unblocked]);
}
