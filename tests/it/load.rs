//! The promises of failover under load: requests come at their own pace, whatever becomes of those before them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use xspgate::sim::pki::Show;
use xspgate::sim::xsp::{Behaviour, Xsp};

use crate::harness::{Blocked, Client, NEW_CALL, PROFILE, Stage, body, eventually, request};

const NAMES: [&str; 4] = ["a1", "a2", "b1", "b2"];
/// What the promise says of the slowest request.
const PROMISED: Duration = Duration::from_secs(1);
const BLOCK: Duration = Duration::from_millis(700);
const SESSIONS: usize = 40;

/// Requests per second. A debug build on a small machine that runs other tests beside this one is no place for more.
fn rate() -> u32 {
    std::env::var("XSPGATE_LOAD_RATE").ok().and_then(|rate| rate.parse().ok()).unwrap_or(250)
}

struct Session {
    home: String,
    tag: String,
}

/// One request's end.
struct Sample {
    at: Instant,
    took: Duration,
    status: Result<StatusCode, String>,
    /// The session's home before, and who answered.
    pinned: Option<(String, String)>,
}

/// GETs at a steady pace, every second one in a session.
struct Crowd {
    idle: Mutex<Vec<Client>>,
    sessions: Vec<Mutex<Session>>,
    samples: Mutex<Vec<Sample>>,
}

impl Crowd {
    async fn gather(stage: &Stage) -> Arc<Self> {
        let mut sessions = Vec::new();
        let mut idle = Vec::new();
        for _ in 0..SESSIONS {
            let mut client = stage.client();
            let home = client.get(PROFILE).await.xsp().to_owned();
            sessions.push(Mutex::new(Session { home, tag: client.session().unwrap().to_owned() }));
            idle.push(client);
        }
        Arc::new(Self { idle: Mutex::new(idle), sessions, samples: Mutex::default() })
    }

    async fn ask(self: Arc<Self>, number: usize, fresh: Client) {
        let mut client = self.idle.lock().pop().unwrap_or(fresh);
        client.forget_cookies();
        let session = number.is_multiple_of(2).then(|| &self.sessions[number / 2 % SESSIONS]);
        let home = session.map(|session| {
            let session = session.lock();
            client.set_cookie("XSPGATE", &session.tag);
            session.home.clone()
        });
        let at = Instant::now();
        let answer = client.try_send(request(Method::GET, PROFILE, body(""))).await;
        let took = at.elapsed();
        let answered = answer.as_ref().map(|answer| answer.xsp().to_owned()).unwrap_or_default();
        if let (Some(session), Ok(answer)) = (session, &answer)
            && answer.session().is_some()
        {
            let tag = client.session().unwrap().to_owned();
            *session.lock() = Session { home: answered.clone(), tag };
        }
        let status = answer.map(|answer| answer.status);
        if status.is_ok() {
            self.idle.lock().push(client);
        }
        self.samples.lock().push(Sample { at, took, status, pinned: home.map(|home| (home, answered)) });
    }

    /// The slowest request that began within these bounds.
    fn slowest(&self, from: Instant, to: Instant) -> Duration {
        let samples = self.samples.lock();
        samples.iter().filter(|one| (from..to).contains(&one.at)).map(|one| one.took).max().unwrap_or_default()
    }
}

/// Sends requests until `meanwhile` is through, and waits for all of their answers.
async fn under_load<T>(stage: &Stage, crowd: &Arc<Crowd>, meanwhile: impl Future<Output = T>) -> T {
    let mut ticks = interval(Duration::from_secs(1) / rate());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut asked = JoinSet::new();
    let mut number = 0;
    let sending = async {
        loop {
            ticks.tick().await;
            asked.spawn(Arc::clone(crowd).ask(number, stage.client()));
            while asked.try_join_next().is_some_and(|done| done.is_ok()) {}
            number += 1;
        }
    };
    let result = tokio::select! {
        result = meanwhile => result,
        () = sending => unreachable!("it never ends"),
    };
    while asked.join_next().await.is_some() {}
    result
}

/// Whether it shows before a request can be sent.
fn breaks_connections(behaviour: &Behaviour) -> bool {
    matches!(behaviour, Behaviour::Refuse | Behaviour::SilentTcp | Behaviour::PlainText | Behaviour::Certificate(_))
}

/// How often the gateway has come near an XSP, whatever for.
async fn contacts(stage: &Stage, xsp: &Xsp, behaviour: &Behaviour) -> u64 {
    if *behaviour == Behaviour::Refuse {
        let (metrics, endpoint) = (stage.metrics().await, xsp.address().to_string());
        let count = |name: &str| metrics.count(name, &[("endpoint", &endpoint)]);
        (count("xspgate_attempts_total") + count("xspgate_probes_total")) as u64
    } else if breaks_connections(behaviour) {
        xsp.connections().accepted
    } else {
        xsp.request_count()
    }
}

/// When an endpoint's block ends; `None` while it is not blocked.
async fn block_end(stage: &Stage, xsp: &Xsp) -> Option<Instant> {
    let status: serde_json::Value = serde_json::from_str(&stage.gateway.admin("/status").await.1).unwrap();
    let address = xsp.address().to_string();
    let endpoints = status["farms"][0]["endpoints"].as_array().unwrap();
    let endpoint = endpoints.iter().find(|endpoint| endpoint["endpoint"] == address.as_str()).unwrap();
    endpoint["blocked_for"].as_f64().map(|left| Instant::now() + Duration::from_secs_f64(left))
}

/// One of four XSPs behaves so under load: nobody gets an error or waits for long, it is left alone while it is blocked,
/// other XSPs' sessions stay, and it is back as soon as its block ends.
async fn one_of_four(behaviour: Behaviour) {
    let what = format!("{behaviour:?}");
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[farm.xsp.failover]", "block_for", "700ms");
    })
    .await;
    let xsp = stage.xsp("a1");
    let crowd = Crowd::gather(&stage).await;
    let (control, broken, gaps, back) = under_load(&stage, &crowd, async {
        let begun = Instant::now();
        sleep(Duration::from_millis(300)).await;
        let control = crowd.slowest(begun, Instant::now());
        let broken = Instant::now();
        xsp.behave(behaviour.clone()).await;
        if breaks_connections(&behaviour) {
            xsp.disconnect().await;
        }
        stage.until_blocked("a1", Blocked::Yes).await;
        // What was under way when the block began arrives yet.
        sleep(Duration::from_millis(150)).await;
        let (before, watched) = (contacts(&stage, xsp, &behaviour).await, Instant::now());
        sleep(Duration::from_millis(1300)).await;
        let came = contacts(&stage, xsp, &behaviour).await - before;
        let most = 1 + (watched.elapsed().as_secs_f64() / (0.9 * BLOCK.as_secs_f64())) as u64;
        xsp.behave(Behaviour::Normal).await;
        let seen = xsp.requests().len();
        // A trial that hangs is to fail yet.
        let end = loop {
            match block_end(&stage, xsp).await {
                Some(end) if end > Instant::now() + Duration::from_millis(50) => break end,
                Some(_) | None if xsp.requests().len() > seen + 20 => break Instant::now(),
                Some(_) | None => sleep(Duration::from_millis(5)).await,
            }
        };
        stage.until_blocked("a1", Blocked::No).await;
        let first = xsp.requests()[seen..].iter().map(|request| request.at).find(|at| *at + BLOCK / 2 > end);
        (control, broken, (came, most), first.map(|at| at.saturating_duration_since(end)))
    })
    .await;

    let samples = crowd.samples.lock();
    let errors: Vec<_> = samples
        .iter()
        .filter(|one| one.status != Ok(StatusCode::OK))
        .map(|one| (one.at - broken, &one.status))
        .collect();
    assert!(errors.is_empty(), "{what}: {} of {}: {:?}", errors.len(), samples.len(), &errors[..errors.len().min(3)]);
    let slowest = samples.iter().map(|one| one.took).max().unwrap();
    eprintln!(
        "{what}: {} requests, slowest {slowest:?} (control {control:?}), {} contacts in {BLOCK:?} windows, back after {back:?}",
        samples.len(),
        gaps.0
    );
    assert!(slowest < PROMISED + 4 * control, "{what}: the slowest took {slowest:?}, without a fault {control:?}");
    assert!(gaps.0 <= gaps.1, "{what}: asked {} times while blocked, at most {} expected", gaps.0, gaps.1);
    let moved = samples.iter().filter_map(|one| one.pinned.as_ref()).filter(|(home, to)| home != "a1" && home != to);
    assert_eq!(moved.count(), 0, "{what}: sessions of healthy XSPs moved");
    let slack = Duration::from_millis(150) + 4 * control;
    assert!(back.is_some_and(|back| back < slack), "{what}: back {back:?} after the block's end");
}

#[tokio::test]
async fn r_fail_1_2_3_5_6_one_of_four_breaks_under_load() {
    let misbehaviours = [
        Behaviour::Refuse,
        Behaviour::Hang,
        Behaviour::SilentTcp,
        Behaviour::Reset,
        Behaviour::Status(StatusCode::SERVICE_UNAVAILABLE),
        Behaviour::Certificate(Show::WrongName),
        Behaviour::PlainText,
    ];
    for behaviour in misbehaviours {
        one_of_four(behaviour).await;
    }
}

/// The XSPs that have seen each request, by its target.
fn carried_out(stage: &Stage) -> HashMap<String, u32> {
    let mut seen: HashMap<String, u32> = HashMap::new();
    for request in stage.sim.xsps.iter().flat_map(|xsp| xsp.requests()).filter(|one| one.method == Method::POST) {
        *seen.entry(request.target).or_default() += 1;
    }
    seen
}

/// Places calls at XSPs that `misbehave`, each with a number of its own; their answers by target.
async fn calls(
    stage: &Stage,
    callers: usize,
    each: usize,
    misbehave: impl Future<Output = ()>,
) -> HashMap<String, Result<StatusCode, String>> {
    let mut calling = JoinSet::new();
    for caller in 0..callers {
        let mut client = stage.client();
        calling.spawn(async move {
            let mut answers = Vec::new();
            for number in 0..each {
                let target = format!("{NEW_CALL}{caller}x{number}");
                client.forget_cookies();
                let answer = client.try_send(request(Method::POST, &target, body("<Call/>"))).await;
                answers.push((target, answer.map(|answer| answer.status)));
                sleep(Duration::from_millis(rand::random_range(0..20))).await;
            }
            answers
        });
    }
    let answers = async { calling.join_all().await.into_iter().flatten().collect() };
    tokio::select! {
        () = misbehave => unreachable!("it goes on for ever"),
        answers = answers => answers,
    }
}

#[tokio::test]
async fn no_unsafe_request_is_carried_out_twice_whatever_breaks() {
    let (stage, ()) = Stage::with(|_, text| {
        let failover = "[farm.xsp.failover]";
        text.set(failover, "response_timeout", "400ms").set(failover, "advance_after", "100ms");
        text.set(failover, "connect_timeout", "200ms").set(failover, "block_for", "100ms");
    })
    .await;
    let mut faults = 0;
    let misbehave = async {
        loop {
            let xsp = &stage.sim.xsps[rand::random_range(0..4)];
            match rand::random_range(0..8) {
                0 => xsp.kill().await,
                1 => xsp.behave(Behaviour::Reset).await,
                2 => xsp.behave(Behaviour::Hang).await,
                3 => xsp.behave(Behaviour::Status(StatusCode::SERVICE_UNAVAILABLE)).await,
                4 => xsp.behave(Behaviour::Close).await,
                5 => xsp.behave(Behaviour::ResetMidBody).await,
                6 => xsp.disconnect().await,
                _ => xsp.revive().await,
            }
            faults += 1;
            sleep(Duration::from_millis(rand::random_range(0..10))).await;
        }
    };
    let answers = calls(&stage, 30, 80, misbehave).await;
    let seen = carried_out(&stage);
    let twice: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
    let fine = answers.values().filter(|status| **status == Ok(StatusCode::CREATED)).count();
    eprintln!("{} calls among {faults} faults: {fine} placed, {} seen by XSPs", answers.len(), seen.len());
    assert!(twice.is_empty(), "carried out twice: {twice:?}");
    assert!(fine > answers.len() / 10, "{fine} of {} calls were placed", answers.len());
    let lost = answers.iter().filter(|(target, answer)| answer.is_err() && !seen.contains_key(*target)).count();
    assert_eq!(lost, 0, "an answer may break off only when an XSP has begun it");
}

#[tokio::test]
async fn an_unsafe_request_gets_no_error_as_long_as_nothing_was_sent() {
    // Every request dials, so that each fault is met before anything is sent.
    let (stage, ()) = Stage::with(|_, text| {
        let failover = "[farm.xsp.failover]";
        text.set(failover, "connect_timeout", "250ms").set(failover, "block_for", "50ms");
        text.set("[farm.xsp.pool]", "idle_per_endpoint", 0);
    })
    .await;
    let faults = [
        Behaviour::Refuse,
        Behaviour::PlainText,
        Behaviour::SilentTcp,
        Behaviour::Certificate(Show::Expired),
        Behaviour::Certificate(Show::WrongName),
    ];
    let misbehave = async {
        loop {
            // Two of the four, always the same: three tries find one that works.
            for xsp in &stage.sim.xsps[..2] {
                xsp.behave(faults[rand::random_range(0..faults.len())].clone()).await;
            }
            sleep(Duration::from_millis(30)).await;
        }
    };
    let answers = calls(&stage, 8, 40, misbehave).await;
    let failed: Vec<_> = answers.iter().filter(|(_, status)| **status != Ok(StatusCode::CREATED)).collect();
    assert!(failed.is_empty(), "{} of {}: {:?}", failed.len(), answers.len(), &failed[..failed.len().min(3)]);
    assert!(carried_out(&stage).values().all(|times| *times == 1));
}

#[tokio::test]
async fn r_fail_3_when_all_hang_there_is_an_answer_in_time() {
    let (stage, ()) = Stage::with(|_, text| {
        let failover = "[farm.xsp.failover]";
        for key in ["connect_timeout", "response_timeout", "advance_after"] {
            text.remove(failover, key);
        }
    })
    .await;
    for xsp in &stage.sim.xsps {
        xsp.behave(Behaviour::Hang).await;
    }
    let (mut safe, mut unsafely) = (stage.client(), stage.client());
    let (got, posted) = tokio::join!(safe.get(PROFILE), unsafely.post(NEW_CALL, "<Call/>"));
    eprintln!("all hang: GET {:?}, POST {:?}", got.took, posted.took);
    assert_eq!((got.status, posted.status), (StatusCode::GATEWAY_TIMEOUT, StatusCode::GATEWAY_TIMEOUT));
    assert!(got.took < Duration::from_millis(6100) && posted.took < Duration::from_millis(6100));
    assert_eq!(stage.asked(), 4, "three tries of one request, and one of the other");
}

#[tokio::test]
async fn r_fail_5_workers_share_the_blocklist() {
    let stage = Stage::in_order(|_, text| {
        text.set("", "workers", 4);
    })
    .await;
    stage.xsp("a1").behave(Behaviour::Reset).await;
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a2");
    stage.until_blocked("a1", Blocked::Yes).await;
    let asked = stage.xsp("a1").requests().len();
    // So many connections are spread over all workers, but for one chance in a million.
    for _ in 0..60 {
        assert_eq!(stage.client().get(PROFILE).await.xsp(), "a2");
    }
    assert_eq!(stage.xsp("a1").requests().len(), asked);
}

#[tokio::test]
async fn r_dns_1_nobody_notices_when_dns_changes_under_load() {
    let stage = Stage::start().await;
    let crowd = Crowd::gather(&stage).await;
    under_load(&stage, &crowd, async {
        for round in 0..6 {
            let left = NAMES[round % 4];
            let stay = NAMES.iter().filter(|name| **name != left).map(|name| stage.xsp(name).address().ip());
            let zones = stage.sim.zones();
            zones.set_a(xspgate::sim::site::ALL, 0, stay);
            let asked = zones.queries(xspgate::sim::site::ALL, "A");
            eventually("look-ups", async || zones.queries(xspgate::sim::site::ALL, "A") >= asked + 2).await;
        }
    })
    .await;
    let samples = crowd.samples.lock();
    assert!(samples.iter().all(|one| one.status == Ok(StatusCode::OK)));
    let moved = samples.iter().filter_map(|one| one.pinned.as_ref()).filter(|(home, to)| home != to);
    assert_eq!(moved.count(), 0, "sessions stay where they are, also at XSPs that left DNS");
}
