use proptest::prelude::*;

use super::*;
use crate::policy::endpoint::{Endpoint, Roster, Tier, Weight};

const QUICK: Duration = Duration::from_millis(20);
const MANY: Option<NonZeroU32> = NonZeroU32::new(2048);

/// An endpoint, and how much it has to do.
struct World {
    load: Load,
    id: EndpointId,
    now: Instant,
    /// When each request began that is in flight.
    begun: VecDeque<Instant>,
}

impl World {
    fn new(ceiling: Option<NonZeroU32>) -> Self {
        let address = ([10, 0, 0, 1], 443).into();
        let endpoint = Endpoint { address, tier: Tier::default(), weight: Weight::Equal, target: None };
        let id = Roster::new().update(vec![endpoint]).joined[0];
        Self { load: Load::new(ceiling), id, now: Instant::now(), begun: VecDeque::new() }
    }

    fn begin(&mut self, requests: u32) {
        for _ in 0..requests {
            self.load.begin(self.id, self.now);
            self.begun.push_back(self.now);
        }
    }

    fn end(&mut self, took: Option<Duration>) {
        let begun = self.begun.pop_front().unwrap();
        self.load.end(self.id, (Place::Taken, begun), took, SLOW, self.now);
    }

    fn enter(&mut self, precedence: Precedence) -> Entered {
        self.load.enter(self.id, precedence, self.now)
    }

    fn waits(&mut self, precedence: Precedence) -> u64 {
        match self.enter(precedence) {
            Entered::Later(number) => number,
            entered @ (Entered::Now | Entered::Never) => panic!("{entered:?}"),
        }
    }

    fn bound(&self) -> u32 {
        self.load.occupancy(self.id).bound.unwrap()
    }

    /// As many requests as there is room for, all of which are answered after `took`, for that long.
    fn answers(&mut self, took: impl Fn(u32) -> Duration, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            let bound = self.bound();
            self.begin(bound - self.load.occupancy(self.id).in_flight);
            assert_ne!(self.enter(Precedence::NewSession), Entered::Now);
            let took = took(bound);
            self.now += took;
            (0..bound).for_each(|_| self.end(Some(took)));
            self.load.take_knocks();
            let waiting = self.load.doors.get_mut(&self.id).unwrap();
            waiting.waiting.clear();
        }
    }
}

#[test]
fn an_endpoint_whose_answers_take_long_since_it_has_too_much_to_do_is_asked_for_less() {
    let mut world = World::new(MANY);
    // Four at a time, each for 100 ms: what is more waits there.
    let busy = |bound: u32| Duration::from_millis(100) * bound.max(4) / 4;
    world.begin(8);
    world.now += Duration::from_millis(300);
    (0..8).for_each(|_| world.end(Some(Duration::from_millis(100))));
    world.answers(busy, 60);
    assert!((16..=32).contains(&world.bound()), "{}", world.bound());
    // It gets more once it can do more.
    world.answers(|_| QUICK, 10);
    assert_eq!(world.bound(), 2048);
}

#[test]
fn an_endpoint_that_has_always_been_slow_is_not_asked_for_less_and_one_that_is_quick_never() {
    for took in [QUICK, Duration::from_millis(599), Duration::from_millis(1500)] {
        let mut world = World::new(MANY);
        world.answers(|_| took, 120);
        assert!(world.bound() >= 24, "{took:?}: {}", world.bound());
    }
    let mut world = World::new(MANY);
    world.answers(|_| QUICK, 1);
    let before = world.bound();
    world.answers(|_| Duration::from_secs(30), 3000);
    assert!((8..before).contains(&world.bound()));
}

#[test]
fn those_who_lose_least_are_refused_first() {
    let mut world = World::new(NonZeroU32::new(2));
    world.begin(2);
    let mut waiting = 0;
    for (precedence, room) in [(Precedence::NewSession, 2), (Precedence::Safe, 4), (Precedence::Vital, 8)] {
        while waiting < room {
            world.waits(precedence);
            waiting += 1;
        }
        assert_eq!(world.enter(precedence), Entered::Never, "{precedence:?}");
    }
}

#[test]
fn a_place_goes_to_the_oldest_and_once_that_has_waited_long_to_the_newest() {
    let mut world = World::new(NonZeroU32::new(16));
    world.begin(16);
    let since = world.now;
    let numbers: Vec<u64> = (0..5).map(|_| world.waits(Precedence::Vital)).collect();
    world.end(None);
    assert_eq!(world.load.take_knocks(), [numbers[0]]);
    // Somebody was quicker.
    world.begin(1);
    assert!(!world.load.try_again(world.id, numbers[0], since, world.now));
    world.now += NEWEST_FIRST_AFTER;
    world.end(None);
    assert_eq!(world.load.take_knocks(), [numbers[4]]);
    assert!(world.load.try_again(world.id, numbers[4], since, world.now));
    world.begin(1);
    world.end(None);
    assert_eq!(world.load.take_knocks(), [numbers[3]]);
    // It has left meanwhile, and another one is called.
    world.load.leave(world.id, numbers[3], world.now);
    assert_eq!(world.load.take_knocks(), [numbers[2]]);
    assert_eq!(world.enter(Precedence::Vital), Entered::Later(6), "nobody passes by those who wait");
}

#[test]
fn requests_that_are_much_older_than_what_others_get_take_no_place() {
    let mut world = World::new(NonZeroU32::new(8));
    for _ in 0..2 {
        world.now += WINDOW;
        world.begin(8);
        (0..8).for_each(|_| world.end(Some(QUICK)));
    }
    world.begin(8);
    let number = world.waits(Precedence::Safe);
    let since = world.now;
    world.now += Duration::from_millis(50);
    assert!(!world.load.try_again(world.id, number, since, world.now), "others have not been answered sooner");
    world.now += Duration::from_millis(100);
    assert!(world.load.try_again(world.id, number, since, world.now));
    world.begin(8);
    assert!(world.load.is_full(world.id, world.now));
}

#[test]
fn without_a_bound_nobody_waits() {
    let mut world = World::new(None);
    world.begin(100_000);
    assert_eq!(world.enter(Precedence::NewSession), Entered::Now);
    assert_eq!(world.load.occupancy(world.id).bound, None);
    assert!(!world.load.is_full(world.id, world.now));
}

#[test]
fn who_answers_slowly_is_pressed_for_a_while() {
    let mut world = World::new(MANY);
    world.begin(1);
    world.end(None);
    for (took, is_pressed) in [(QUICK, false), (Duration::from_millis(400), true)] {
        world.now += WINDOW;
        world.begin(8);
        (0..8).for_each(|_| world.end(Some(took)));
        assert_eq!(world.load.is_pressed(world.id, SLOW, world.now), is_pressed, "{took:?}");
    }
    assert!(!world.load.is_pressed(world.id, SLOW, world.now + PRESSED_FOR));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever comes and goes: never more in flight than the ceiling says, and anyone who waits is called once there is room.
    #[test]
    fn nobody_is_forgotten_and_no_bound_is_passed(steps in prop::collection::vec((0u8..6, 0usize..8), 1..200)) {
        let mut world = World::new(NonZeroU32::new(3));
        let (mut in_flight, mut waiting) = (0u32, Vec::<(u64, Instant)>::new());
        for (step, which) in steps {
            match step {
                0 | 1 => match world.enter(Precedence::Vital) {
                    Entered::Now => {
                        world.begin(1);
                        in_flight += 1;
                    }
                    Entered::Later(number) => waiting.push((number, world.now)),
                    Entered::Never => {}
                },
                2 | 3 if in_flight > 0 => {
                    world.end(None);
                    in_flight -= 1;
                }
                4 if which < waiting.len() => {
                    let (number, _) = waiting.remove(which);
                    world.load.leave(world.id, number, world.now);
                }
                _ => world.now += Duration::from_millis(50),
            }
            loop {
                let knocks = world.load.take_knocks();
                if knocks.is_empty() {
                    break;
                }
                for number in knocks {
                    let at = waiting.iter().position(|(known, _)| *known == number).expect("it waits");
                    if world.load.try_again(world.id, number, waiting[at].1, world.now) {
                        waiting.remove(at);
                        world.begin(1);
                        in_flight += 1;
                    }
                }
            }
            let occupancy = world.load.occupancy(world.id);
            prop_assert_eq!(occupancy.in_flight, in_flight);
            prop_assert!(in_flight <= 3);
            prop_assert_eq!(occupancy.waiting, waiting.len());
            prop_assert!(waiting.is_empty() || in_flight == 3, "a place is free, and {:?} wait", waiting);
        }
    }
}
