//! The machine by example, rule by rule. Separate from the simulation, where the rules meet.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::broadworks::interface::Interface;
use crate::policy::classify::OnSilence;
use crate::policy::departed::Departed;
use crate::policy::endpoint::{Endpoint, Roster, Tier, Weight};
use crate::policy::health::blocklist::Standing;
use crate::policy::health::load::Precedence;
use crate::policy::health::{Health, Rules};
use crate::policy::pace::Pace;

const RULES: Rules = Rules {
    block_for: Duration::from_secs(60),
    advance_after: Some(Duration::from_millis(600)),
    on_5xx: On5xx::Confirm,
    on_silence: OnSilence::Confirm,
};
/// A request that changes nothing.
const SAFE: Terms = Terms {
    tries: 3,
    rules: RULES,
    replayable: true,
    safe: true,
    until: None,
    interface: Some(Interface::XsiActions),
    precedence: Some(Precedence::Safe),
};
/// One that changes something.
const UNSAFE: Terms = Terms { replayable: false, safe: false, ..SAFE };
/// One that changes something, and may be sent again anyway.
const REPEATABLE: Terms = Terms { safe: false, ..SAFE };
const ALL_THERE: Body = Body { is_whole: true, is_complete: true };
const LET_GO: Body = Body { is_whole: false, is_complete: true };
const TIMEOUT: Duration = Duration::from_secs(2);

/// A farm, one site number for each endpoint.
struct World {
    roster: Roster,
    departed: Departed,
    health: Health,
    pace: Pace,
    rng: StdRng,
    ids: Vec<EndpointId>,
    now: Instant,
    news: News,
}

/// A request that is under way there.
struct Request {
    machine: Failover,
    body: Body,
    /// Where each attempt has been begun.
    at: Vec<EndpointId>,
}

/// What has come of an event, as far as it matters here.
#[derive(Debug, PartialEq)]
enum Next {
    Begin(EndpointId),
    Queue,
    Wait,
    Answer(usize, Class),
    GiveUp(GiveUp),
}

impl World {
    fn new(sites: &[u16]) -> Self {
        let now = Instant::now();
        let mut roster = Roster::new();
        let endpoint = |(last, &site): (usize, &u16)| Endpoint {
            address: ([10, 0, 0, u8::try_from(last).unwrap()], 443).into(),
            tier: Tier { site, priority: 0 },
            weight: Weight::Equal,
            target: None,
        };
        let ids = roster.update(sites.iter().enumerate().map(endpoint).collect()).joined;
        let (health, rng) = (Health::new(now, None), StdRng::seed_from_u64(7));
        let (departed, pace) = (Departed::default(), Pace::new(None));
        Self { roster, departed, health, pace, rng, ids, now, news: News::new() }
    }

    fn wait(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }

    fn farm(&mut self) -> FarmView<'_, StdRng> {
        let Self { roster, departed, health, pace, rng, now, news, .. } = self;
        FarmView { roster, departed, health, pace, rng, now: *now, news }
    }

    fn request(&mut self, terms: Terms, target: Target) -> (Request, Next) {
        let latest = self.now + LONGEST_TURN;
        let mut machine = Failover::new(terms, target, latest, &mut self.farm());
        let actions = machine.start(&mut self.farm());
        let mut request = Request { machine, body: ALL_THERE, at: Vec::new() };
        let next = request.take(&actions);
        (request, next)
    }

    /// A request to the first endpoint.
    fn at_first(&mut self, terms: Terms) -> Request {
        let home = self.ids[0];
        let (request, next) = self.request(terms, Target::Farm(Some(home)));
        assert_eq!(next, Next::Begin(home));
        request
    }

    fn on(&mut self, request: &mut Request, event: Event) -> Next {
        let actions = request.machine.on(event, &mut self.farm());
        request.take(&actions)
    }

    fn answers(&mut self, request: &mut Request, attempt: usize, status: u16) -> Next {
        self.redirects(request, attempt, status, None)
    }

    fn redirects(&mut self, request: &mut Request, attempt: usize, status: u16, hop: Option<EndpointId>) -> Next {
        let status = StatusCode::from_u16(status).unwrap();
        self.on(request, Event::Head { attempt, status, hop, body: request.body })
    }

    /// The attempt fails before anything was sent.
    fn refuses(&mut self, request: &mut Request, attempt: usize) -> Next {
        self.fails(request, attempt, Fault::Refused, false)
    }

    fn fails(&mut self, request: &mut Request, attempt: usize, fault: Fault, delivered: bool) -> Next {
        self.on(request, Event::Failed { attempt, fault, delivered, body: request.body })
    }

    /// Waits for what is due next, tells the machine, and says how many milliseconds that has taken.
    fn until_due(&mut self, request: &mut Request) -> (u128, Due, Next) {
        let at = request.machine.wake_at().expect("something is due");
        let after = at.saturating_duration_since(self.now);
        self.now = self.now.max(at);
        let due = request.machine.due(self.now).unwrap();
        assert_eq!(request.machine.due(self.now - Duration::from_nanos(1)), None);
        let next = match due {
            Due::Silent(attempt) => self.fails(request, attempt, Fault::Timeout, true),
            Due::Overdue(_) | Due::Turn | Due::Place => {
                self.on(request, Event::Due { due, session: 1, body: request.body })
            }
        };
        (after.as_millis(), due, next)
    }

    fn standing(&self, which: usize) -> Standing {
        self.health.standing(self.ids[which], self.now)
    }

    fn block(&mut self, which: usize) {
        self.health.inherit_block(self.ids[which], self.now, self.now + Duration::from_secs(60));
    }
}

impl Request {
    fn take(&mut self, actions: &Actions) -> Next {
        let mut next = Next::Wait;
        for action in actions {
            next = match *action {
                Action::Begin { attempt, pick } => {
                    self.begun(attempt, pick.id);
                    Next::Begin(pick.id)
                }
                Action::Ask { attempt } => {
                    let id = self.machine.attempts[attempt].id;
                    self.begun(attempt, id);
                    Next::Begin(id)
                }
                Action::Queue { .. } | Action::Wait { .. } => Next::Queue,
                Action::Missed | Action::Overdue { .. } | Action::Keep { .. } => continue,
                Action::Answer { attempt, class } => Next::Answer(attempt, class),
                Action::GiveUp(why) => Next::GiveUp(why),
            };
        }
        next
    }

    fn begun(&mut self, attempt: usize, id: EndpointId) {
        assert_eq!(attempt, self.at.len());
        self.at.push(id);
        let since = self.machine.begun(attempt);
        let deadline = self.body.is_complete.then(|| since + TIMEOUT);
        self.machine.clock(attempt, Clock { since, deadline });
    }
}

fn index_of(next: &Next, world: &World) -> usize {
    let Next::Begin(id) = next else { panic!("{next:?}") };
    world.ids.iter().position(|known| known == id).unwrap()
}

#[test]
fn r_fail_1_a_request_that_was_not_sent_moves_on_whatever_it_is() {
    for terms in [SAFE, UNSAFE, REPEATABLE] {
        let mut world = World::new(&[0, 0]);
        let mut request = world.at_first(terms);
        assert_eq!(world.refuses(&mut request, 0), Next::Begin(world.ids[1]));
        assert_eq!(world.answers(&mut request, 1, 200), Next::Answer(1, Class::Success));
        assert!(matches!(world.standing(0), Standing::Blocked { .. }));
    }
}

#[test]
fn r_fail_4_a_request_that_was_sent_moves_on_only_if_it_may_be_sent_again() {
    for (terms, moves_on) in [(SAFE, true), (REPEATABLE, true), (UNSAFE, false)] {
        let mut world = World::new(&[0, 0]);
        let mut request = world.at_first(terms);
        let next = world.fails(&mut request, 0, Fault::Reset, true);
        let expected = if moves_on { Next::Begin(world.ids[1]) } else { Next::GiveUp(GiveUp::Unreachable) };
        assert_eq!(next, expected);
        assert!(world.health.is_suspect(world.ids[0]));
    }
}

#[test]
fn r_fail_4_what_is_no_longer_whole_can_not_be_sent_again() {
    let mut world = World::new(&[0, 0]);
    let mut request = world.at_first(SAFE);
    request.body = LET_GO;
    assert_eq!(world.fails(&mut request, 0, Fault::Reset, true), Next::GiveUp(GiveUp::Unreachable));
    let mut request = world.at_first(SAFE);
    request.body = LET_GO;
    assert_eq!(world.answers(&mut request, 0, 503), Next::Answer(0, Class::Suspect));
}

#[test]
fn r_fail_4_three_tries_and_no_fourth() {
    let mut world = World::new(&[0, 0, 0, 0, 0]);
    let mut request = world.at_first(SAFE);
    for attempt in 0..2 {
        assert!(matches!(world.refuses(&mut request, attempt), Next::Begin(_)));
    }
    assert_eq!(world.refuses(&mut request, 2), Next::GiveUp(GiveUp::Unreachable));
    let mut tried = request.at.clone();
    tried.sort();
    tried.dedup();
    assert_eq!(tried.len(), 3, "of three endpoints");
}

#[test]
fn r_fail_2_a_5xx_has_the_next_one_asked_and_the_last_one_stands() {
    let mut world = World::new(&[0, 0, 0]);
    let mut request = world.at_first(SAFE);
    assert!(matches!(world.answers(&mut request, 0, 503), Next::Begin(_)));
    assert!(matches!(world.answers(&mut request, 1, 500), Next::Begin(_)));
    assert_eq!(world.answers(&mut request, 2, 502), Next::Answer(2, Class::Suspect));
    assert!((0..3).all(|which| world.standing(which) == Standing::Up), "one request says little");

    let mut request = world.at_first(SAFE);
    world.answers(&mut request, 0, 503);
    assert_eq!(world.answers(&mut request, 1, 404), Next::Answer(1, Class::Success));
}

#[test]
fn r_fail_2_a_5xx_is_better_than_no_answer() {
    let mut world = World::new(&[0, 0]);
    let mut request = world.at_first(Terms { tries: 2, ..SAFE });
    world.answers(&mut request, 0, 503);
    assert_eq!(world.refuses(&mut request, 1), Next::Answer(0, Class::Suspect));
}

#[test]
fn r_fail_2_what_may_have_been_carried_out_is_answered_with_its_5xx() {
    let mut world = World::new(&[0, 0]);
    let mut request = world.at_first(UNSAFE);
    assert_eq!(world.answers(&mut request, 0, 500), Next::Answer(0, Class::Suspect));
    let rules = Rules { on_5xx: On5xx::Answer, ..RULES };
    let mut request = world.at_first(Terms { rules, ..SAFE });
    assert_eq!(world.answers(&mut request, 0, 500), Next::Answer(0, Class::Success));
    let rules = Rules { on_5xx: On5xx::Block, ..RULES };
    let mut request = world.at_first(Terms { rules, ..SAFE });
    assert_eq!(world.answers(&mut request, 0, 500), Next::Begin(world.ids[1]));
    assert!(matches!(world.standing(0), Standing::Blocked { .. }));
}

#[test]
fn r_fail_3_a_safe_request_asks_the_next_one_while_the_first_is_silent() {
    let mut world = World::new(&[0, 0, 0]);
    let mut request = world.at_first(SAFE);
    let (after, due, next) = world.until_due(&mut request);
    assert_eq!((after, due), (600, Due::Overdue(0)));
    assert!(matches!(next, Next::Begin(_)));
    assert!(world.health.is_suspect(world.ids[0]));
    assert_eq!(world.answers(&mut request, 1, 200), Next::Answer(1, Class::Success));
    assert!(!request.machine.is_under_way(), "whatever becomes of the first");

    let mut request = world.at_first(SAFE);
    world.until_due(&mut request);
    assert_eq!(world.answers(&mut request, 0, 200), Next::Answer(0, Class::Success), "the first may still win");
}

#[test]
fn r_fail_3_silence_of_all_ends_it() {
    let mut world = World::new(&[0, 0, 0]);
    let mut request = world.at_first(SAFE);
    let dues: Vec<_> = std::iter::from_fn(|| {
        request.machine.wake_at()?;
        let (after, due, next) = world.until_due(&mut request);
        Some((after, due, matches!(next, Next::Begin(_)), next == Next::GiveUp(GiveUp::Silent)))
    })
    .collect();
    let expected = [
        (600, Due::Overdue(0), true, false),
        (600, Due::Overdue(1), true, false),
        (600, Due::Overdue(2), false, false),
        (200, Due::Silent(0), false, false),
        (600, Due::Silent(1), false, false),
        (600, Due::Silent(2), false, true),
    ];
    assert_eq!(dues, expected);
}

#[test]
fn r_fail_3_what_changes_something_is_never_under_way_twice() {
    for terms in [UNSAFE, REPEATABLE] {
        let mut world = World::new(&[0, 0]);
        let mut request = world.at_first(terms);
        let (after, due, next) = world.until_due(&mut request);
        assert_eq!((after, due, next), (600, Due::Overdue(0), Next::Wait));
        assert!(world.health.is_suspect(world.ids[0]), "but it is noticed");
        let (after, due, next) = world.until_due(&mut request);
        assert_eq!((after, due), (1_400, Due::Silent(0)));
        let expected = if terms.replayable { Next::Begin(world.ids[1]) } else { Next::GiveUp(GiveUp::Silent) };
        assert_eq!(next, expected);
    }
}

#[test]
fn r_fail_3_no_xsp_is_awaited_before_it_has_the_whole_request() {
    let mut world = World::new(&[0, 0]);
    let (mut request, _) = world.request(SAFE, Target::Farm(None));
    request.machine.clock(0, Clock { since: world.now, deadline: None });
    assert_eq!(request.machine.wake_at(), None);
    world.wait(10_000);
    request.machine.clock(0, Clock { since: world.now, deadline: Some(world.now + TIMEOUT) });
    let (after, due, next) = world.until_due(&mut request);
    assert_eq!((after, due), (600, Due::Overdue(0)));
    assert!(matches!(next, Next::Begin(_)));
}

#[test]
fn r_fail_3_every_attempt_that_is_silent_is_noticed_after_advance_after() {
    let mut world = World::new(&[0, 0, 0]);
    let mut request = world.at_first(SAFE);
    world.until_due(&mut request);
    world.wait(100);
    // The first has answered badly, so that a third is asked before the second is overdue.
    assert!(matches!(world.answers(&mut request, 0, 503), Next::Begin(_)));
    let (after, due, next) = world.until_due(&mut request);
    assert_eq!((after, due, next), (500, Due::Overdue(1), Next::Wait));
    assert!(world.health.is_suspect(request.at[1]));
    let (after, due, next) = world.until_due(&mut request);
    assert_eq!((after, due, next), (100, Due::Overdue(2), Next::Wait));
}

#[test]
fn r_fail_3_advance_after_may_be_off() {
    let mut world = World::new(&[0, 0]);
    let rules = Rules { advance_after: None, ..RULES };
    let mut request = world.at_first(Terms { rules, ..SAFE });
    let (after, due, next) = world.until_due(&mut request);
    assert_eq!((after, due, next), (2_000, Due::Silent(0), Next::Begin(world.ids[1])));
}

#[test]
fn r_fail_7_all_blocked_and_one_is_asked_all_the_same() {
    let mut world = World::new(&[0, 0]);
    (0..2).for_each(|which| world.block(which));
    let (mut request, next) = world.request(SAFE, Target::Farm(None));
    let which = index_of(&next, &world);
    world.wait(1);
    assert_eq!(world.answers(&mut request, 0, 200), Next::Answer(0, Class::Success));
    assert_eq!(world.standing(which), Standing::Up);
}

#[test]
fn r_fail_6_a_trial_is_told_and_a_request_that_can_not_be_sent_again_has_the_gateway_look() {
    let mut world = World::new(&[0, 0]);
    world.block(0);
    world.wait(60_000);
    let (_, next) = world.request(UNSAFE, Target::Farm(None));
    assert_eq!(next, Next::Begin(world.ids[1]));
    assert_eq!(world.health.due_looks(world.now).len(), 1);
    let (_, next) = world.request(SAFE, Target::Farm(None));
    assert_eq!(next, Next::Begin(world.ids[0]));
    assert_eq!(world.news, [(world.ids[0], Transition::TrialBegun, "trial")]);
}

#[test]
fn r_aff_2_what_names_a_channel_goes_to_its_endpoint_and_to_no_other() {
    let mut world = World::new(&[0, 0]);
    world.block(0);
    let home = world.ids[0];
    let terms = Terms { interface: Some(Interface::XsiEvents), ..SAFE };
    let (mut request, next) = world.request(terms, Target::Channel(home));
    assert_eq!(next, Next::Begin(home), "although it is blocked");
    assert_eq!(world.until_due(&mut request).2, Next::Wait, "and silent");
    assert_eq!(world.until_due(&mut request).2, Next::GiveUp(GiveUp::Silent));

    let (mut request, _) = world.request(terms, Target::Channel(home));
    assert_eq!(world.refuses(&mut request, 0), Next::GiveUp(GiveUp::ChannelLost), "nobody listens there");
    let (mut request, _) = world.request(terms, Target::Channel(home));
    assert_eq!(world.fails(&mut request, 0, Fault::Reset, true), Next::GiveUp(GiveUp::Unreachable));
}

#[test]
fn r_aff_2_whatever_an_xsp_says_of_its_own_channel_is_an_answer_and_blocks_nobody() {
    for on_5xx in [On5xx::Confirm, On5xx::Block, On5xx::Answer] {
        let mut world = World::new(&[0, 0]);
        let terms = Terms { rules: Rules { on_5xx, ..RULES }, ..SAFE };
        let (mut request, _) = world.request(terms, Target::Channel(world.ids[0]));
        assert_eq!(world.answers(&mut request, 0, 503), Next::Answer(0, Class::Success));
        assert_eq!(world.standing(0), Standing::Up, "{on_5xx:?}");
        assert!(!world.health.is_suspect(world.ids[0]), "{on_5xx:?}: it says nothing of others");
    }
}

#[test]
fn a_request_that_opens_a_channel_waits_for_its_turn() {
    let mut world = World::new(&[0]);
    world.pace = Pace::new(std::num::NonZeroU32::new(1));
    let (_, next) = world.request(UNSAFE, Target::NewChannel(None));
    assert!(matches!(next, Next::Begin(_)));
    let (mut request, next) = world.request(UNSAFE, Target::NewChannel(None));
    assert_eq!(next, Next::Queue);
    let mut waited = 0;
    let next = loop {
        let (after, due, next) = world.until_due(&mut request);
        assert_eq!(due, Due::Turn);
        waited += after;
        if next != Next::Wait {
            break next;
        }
    };
    assert_eq!((next, waited), (Next::Begin(world.ids[0]), 1_000));
    assert_eq!(world.answers(&mut request, 0, 200), Next::Answer(0, Class::Success));
    for _ in 0..2 {
        world.request(UNSAFE, Target::NewChannel(None));
    }
    let (_, next) = world.request(UNSAFE, Target::NewChannel(None));
    assert_eq!(next, Next::GiveUp(GiveUp::ChannelsBusy), "its turn would come too late");
}

#[test]
fn whoever_waits_for_an_endpoint_that_is_blocked_goes_elsewhere() {
    let mut world = World::new(&[0, 0]);
    world.pace = Pace::new(std::num::NonZeroU32::new(1));
    let home = world.ids[0];
    world.request(UNSAFE, Target::NewChannel(Some(home)));
    let (mut request, next) = world.request(UNSAFE, Target::NewChannel(Some(home)));
    assert_eq!(next, Next::Queue);
    world.block(0);
    let (after, due, next) = world.until_due(&mut request);
    assert_eq!((after, due, next), (100, Due::Turn, Next::Begin(world.ids[1])));
}

#[test]
fn r_top_6_a_redirection_within_the_farm_is_followed_once() {
    let mut world = World::new(&[0, 0, 0]);
    let (first, second, third) = (world.ids[0], world.ids[1], world.ids[2]);
    for terms in [SAFE, UNSAFE] {
        let mut request = world.at_first(terms);
        assert_eq!(world.redirects(&mut request, 0, 307, Some(second)), Next::Begin(second));
        assert_eq!(world.redirects(&mut request, 1, 307, Some(third)), Next::Answer(1, Class::Success));
    }
    let mut request = world.at_first(SAFE);
    request.body = LET_GO;
    assert_eq!(world.redirects(&mut request, 0, 307, Some(second)), Next::Answer(0, Class::Success));
    let mut request = world.at_first(Terms { tries: 1, ..SAFE });
    assert_eq!(world.redirects(&mut request, 0, 307, Some(second)), Next::Answer(0, Class::Success), "it is a try");
    let (mut request, _) = world.request(SAFE, Target::Channel(first));
    assert_eq!(world.redirects(&mut request, 0, 307, Some(second)), Next::Answer(0, Class::Success));
}

#[test]
fn an_answer_beyond_the_gateways_limits_ends_it() {
    let mut world = World::new(&[0, 0]);
    let mut request = world.at_first(SAFE);
    assert_eq!(world.fails(&mut request, 0, Fault::TooLarge, true), Next::GiveUp(GiveUp::TooLarge));
    assert!(!world.health.is_suspect(world.ids[0]));
}

#[test]
fn what_the_gateway_lacks_is_no_endpoints_fault() {
    let mut world = World::new(&[0, 0]);
    let mut request = world.at_first(UNSAFE);
    assert_eq!(world.fails(&mut request, 0, Fault::Local, false), Next::Begin(world.ids[1]));
    assert_eq!(world.fails(&mut request, 1, Fault::Local, false), Next::Begin(request.at[2]));
    assert_eq!(world.fails(&mut request, 2, Fault::Local, false), Next::GiveUp(GiveUp::Unreachable));
    assert!((0..2).all(|which| world.standing(which) == Standing::Up && !world.health.is_suspect(world.ids[which])));
}

#[test]
fn a_stale_connection_fails_what_may_have_been_carried_out_and_blames_nobody() {
    let mut world = World::new(&[0, 0]);
    let mut request = world.at_first(UNSAFE);
    assert_eq!(world.fails(&mut request, 0, Fault::Stale, true), Next::GiveUp(GiveUp::Stale));
    assert!(!world.health.is_suspect(world.ids[0]));
    assert_eq!(world.health.due_looks(world.now).len(), 1, "it may be about to go");
}

#[test]
fn an_attempt_that_was_cut_short_says_nothing_and_the_next_one_is_asked_until_time_is_up() {
    let mut world = World::new(&[0, 0, 0]);
    let until = Some(world.now + Duration::from_secs(1));
    let terms = Terms { until, interface: None, ..SAFE };
    let mut request = world.at_first(terms);
    assert!(matches!(world.on(&mut request, Event::CutShort { attempt: 0 }), Next::Begin(_)));
    assert!(!world.health.is_suspect(world.ids[0]));
    world.wait(1_000);
    assert_eq!(world.refuses(&mut request, 1), Next::GiveUp(GiveUp::Unreachable));
    let mut request = world.at_first(Terms { until: None, ..terms });
    assert_eq!(world.on(&mut request, Event::Kept { attempt: 0 }), Next::Answer(0, Class::Success));
}

#[test]
fn a_client_that_leaves_blames_nobody_and_what_it_has_waited_long_for_is_looked_at() {
    let mut world = World::new(&[0]);
    let mut request = world.at_first(UNSAFE);
    world.wait(599);
    request.machine.abandon(&mut world.farm());
    assert_eq!(world.health.next_look(), None);
    let mut request = world.at_first(UNSAFE);
    world.until_due(&mut request);
    world.health.due_looks(world.now);
    request.machine.abandon(&mut world.farm());
    assert!(world.health.next_look().is_none(), "while a look is under way");
    assert_eq!(world.standing(0), Standing::Up);
}

#[test]
fn nobody_there_no_attempt() {
    let mut world = World::new(&[]);
    let (_, next) = world.request(SAFE, Target::Farm(None));
    assert_eq!(next, Next::GiveUp(GiveUp::NoEndpoint));
}

/// The bound is one request at a time.
fn one_at_a_time(sites: &[u16]) -> World {
    let mut world = World::new(sites);
    world.health.load.set_ceiling(std::num::NonZeroU32::new(1));
    world
}

#[test]
fn a_request_waits_for_a_place_at_its_session_s_home_and_takes_it_when_it_is_called() {
    let mut world = one_at_a_time(&[0, 0]);
    let mut first = world.at_first(SAFE);
    let home = Target::Farm(Some(world.ids[0]));
    let (mut second, next) = world.request(SAFE, home);
    assert_eq!(next, Next::Queue);
    let number = second.machine.waits_under().unwrap();
    world.wait(50);
    assert_eq!(world.answers(&mut first, 0, 200), Next::Answer(0, Class::Success));
    assert_eq!(world.health.load.take_knocks(), [number]);
    let place = Event::Due { due: Due::Place, session: 2, body: ALL_THERE };
    assert_eq!(world.on(&mut second, place), Next::Begin(world.ids[0]));
    assert_eq!(world.answers(&mut second, 0, 200), Next::Answer(0, Class::Success));
    assert_eq!(world.health.load.occupancy(world.ids[0]).in_flight, 0);
}

#[test]
fn a_request_that_waits_in_vain_is_given_up_and_one_that_keeps_a_channel_alive_never_waits() {
    let mut world = one_at_a_time(&[0, 0]);
    let first = world.at_first(SAFE);
    let home = Target::Farm(Some(world.ids[0]));
    let (mut second, _) = world.request(Terms { precedence: Some(Precedence::Vital), ..UNSAFE }, home);
    let since = world.now;
    let end = loop {
        match world.until_due(&mut second) {
            (_, Due::Place, Next::Wait) => {}
            (_, due, next) => break (due, next),
        }
    };
    assert_eq!(end, (Due::Place, Next::GiveUp(GiveUp::Overloaded)));
    assert_eq!(world.now - since, Duration::from_millis(200));
    assert!(!second.machine.holds_places());
    for (terms, target) in [(SAFE, Target::Channel(world.ids[0])), (Terms { precedence: None, ..UNSAFE }, home)] {
        let (request, next) = world.request(terms, target);
        assert_eq!(next, Next::Begin(world.ids[0]));
        drop(request);
    }
    drop(first);
    // A new session goes where there is a place, and the next site is none of its own.
    assert_eq!(world.request(SAFE, Target::Farm(None)).1, Next::Begin(world.ids[1]));
    let mut world = one_at_a_time(&[0, 1]);
    let _first = world.at_first(SAFE);
    let new = Terms { precedence: Some(Precedence::NewSession), ..SAFE };
    let (_second, next) = world.request(new, Target::Farm(None));
    assert_eq!(next, Next::Queue);
    assert_eq!(
        world.request(new, Target::Farm(None)).1,
        Next::GiveUp(GiveUp::Overloaded),
        "as many wait as there is room"
    );
}

#[test]
fn a_request_that_waits_for_a_place_goes_elsewhere_if_its_endpoint_is_blocked() {
    let mut world = one_at_a_time(&[0, 0]);
    let _first = world.at_first(SAFE);
    let home = Target::Farm(Some(world.ids[0]));
    let (mut second, _) = world.request(UNSAFE, home);
    world.block(0);
    let (_, due, next) = world.until_due(&mut second);
    assert_eq!((due, next), (Due::Place, Next::Begin(world.ids[1])));
}

#[test]
fn nobody_hedges_away_from_an_endpoint_that_answers_others_slowly_and_its_silence_is_no_sign() {
    let mut world = World::new(&[0, 0]);
    let (mut first, slow) = (world.at_first(SAFE), Duration::from_millis(400));
    let answers = |world: &mut World| {
        for _ in 0..8 {
            let mut other = world.at_first(SAFE);
            other.machine.clock(0, Clock { since: world.now - slow, deadline: None });
            assert_eq!(world.answers(&mut other, 0, 200), Next::Answer(0, Class::Success));
        }
    };
    for _ in 0..4 {
        world.wait(500);
        answers(&mut world);
        while let Some(due @ Due::Overdue(_)) = first.machine.due(world.now) {
            let event = Event::Due { due, session: 1, body: ALL_THERE };
            assert_eq!(world.on(&mut first, event), Next::Wait);
        }
    }
    let (_, due, next) = world.until_due(&mut first);
    assert_eq!((due, next), (Due::Silent(0), Next::Begin(world.ids[1])));
    assert!(!world.health.is_suspect(world.ids[0]));
    assert_eq!(world.standing(0), Standing::Up);
    // Once it answers nobody, it hangs.
    let mut last = world.at_first(SAFE);
    let (after, due, next) = world.until_due(&mut last);
    assert_eq!((after, due, next), (600, Due::Overdue(0), Next::Begin(world.ids[1])));
    assert!(world.health.is_suspect(world.ids[0]));
}

#[test]
fn a_request_that_is_alone_in_its_trouble_gives_its_place_to_others() {
    let mut world = one_at_a_time(&[0]);
    let mut first = world.at_first(SAFE);
    assert_eq!(world.until_due(&mut first).1, Due::Overdue(0));
    assert_eq!(world.health.load.occupancy(world.ids[0]).in_flight, 0);
    let mut second = world.at_first(SAFE);
    assert_eq!(world.answers(&mut second, 0, 200), Next::Answer(0, Class::Success));
    assert_eq!(world.answers(&mut first, 0, 200), Next::Answer(0, Class::Success));
    assert_eq!(world.health.load.occupancy(world.ids[0]).in_flight, 0);
}
