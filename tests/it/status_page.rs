//! The status page as a browser shows it, and the events that it follows.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use xspgate::app::Outcome;
use xspgate::sim::pki::{Lapsed, Show};
use xspgate::sim::site::{APP, CLOUD, DOMAIN};

use crate::channels::Channel;
use crate::harness::{Browser, PROFILE, Stage, within};
use crate::status::give_way;

/// What would show if text were taken for markup.
const MARKUP: &str = "<img src=x onerror=\"document.title='broken'\"></script><script>document.title='broken'</script>";

/// How far things have moved on the page by themselves, as Layout Instability reckons.
const LEAPS: &str = "new Promise((resolve) => {
    let sum = 0;
    const observer = new PerformanceObserver((list) => list.getEntries().forEach((entry) => (sum += entry.value)));
    observer.observe({ type: 'layout-shift', buffered: true });
    setTimeout(() => resolve(sum), 200);
})";

/// One who watches `/events`.
struct Watcher {
    stream: BufReader<TcpStream>,
    head: String,
}

impl Watcher {
    async fn start(stage: &Stage) -> Self {
        Self::start_from(Ipv4Addr::LOCALHOST, stage).await
    }

    async fn start_from(source: Ipv4Addr, stage: &Stage) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        let mut stream = socket.connect(stage.gateway.admin_address()).await.unwrap();
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.unwrap();
        let mut watcher = Self { stream: BufReader::new(stream), head: String::new() };
        let mut head = String::new();
        while watcher.stream.read_line(&mut head).await.unwrap() > 2 {}
        watcher.head = head;
        watcher
    }

    /// The next status.
    async fn next(&mut self) -> Value {
        within("an update", async {
            loop {
                let mut line = String::new();
                assert!(self.stream.read_line(&mut line).await.unwrap() > 0, "the stream goes on");
                if let Some(data) = line.strip_prefix("data: ") {
                    return serde_json::from_str(data).unwrap();
                }
            }
        })
        .await
    }

    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) {
        while !wanted(&self.next().await) {}
    }
}

fn state(status: &Value, address: &str) -> Value {
    let endpoints = status["farms"][0]["endpoints"].as_array().unwrap();
    endpoints.iter().find(|one| one["endpoint"] == *address).map_or(Value::Null, |one| one["state"].clone())
}

#[tokio::test]
async fn who_watches_is_told_of_a_killed_xsp_within_a_second() {
    let stage = Stage::in_order(|_, _| ()).await;
    let mut watcher = Watcher::start(&stage).await;
    assert!(
        watcher.head.starts_with("HTTP/1.1 200 ") && watcher.head.contains("text/event-stream"),
        "{}",
        watcher.head
    );
    let first = watcher.next().await;
    assert_eq!(first["hosts"], crate::status::status(&stage).await["hosts"]);
    let mut fastest = Duration::MAX;
    for xsp in ["a1", "a2", "b1"] {
        let address = stage.xsp(xsp).address().to_string();
        stage.xsp(xsp).kill().await;
        let killed = Instant::now();
        assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::OK);
        watcher.until(|status| state(status, &address) == "blocked").await;
        fastest = fastest.min(killed.elapsed());
    }
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
    let before = watcher.next().await["time"].as_f64().unwrap();
    let after = watcher.next().await["time"].as_f64().unwrap();
    assert!((0.1..5.0).contains(&(after - before)), "nothing happens: once a second");
}

#[tokio::test]
async fn who_watches_is_told_of_a_killed_xsp_though_nobody_asks_anything_of_it() {
    let stage = Stage::in_order(|_, _| ()).await;
    let mut watcher = Watcher::start(&stage).await;
    for xsp in ["a1", "a2", "b1"] {
        // What light traffic leaves behind: an idle connection.
        assert_eq!(stage.client().get(PROFILE).await.xsp(), xsp);
        let address = stage.xsp(xsp).address().to_string();
        watcher.until(|status| state(status, &address) == "up").await;
        stage.xsp(xsp).kill().await;
        let killed = Instant::now();
        watcher.until(|status| state(status, &address) == "blocked").await;
        eprintln!("{xsp} was seen to be dead after {:?}", killed.elapsed());
    }
}

#[tokio::test]
async fn a_burst_of_news_is_a_few_updates() {
    let stage = Stage::start().await;
    let mut watcher = Watcher::start(&stage).await;
    let first = watcher.next().await["time"].as_f64().unwrap();
    std::fs::write(stage.sim.folder().join("xspgate.toml"), "nonsense").unwrap();
    for _ in 0..20 {
        assert!(matches!(stage.gateway.reload().await, Outcome::Refused(_)));
    }
    let mut updates = 0.0;
    let last = loop {
        let status = watcher.next().await;
        updates += 1.0;
        let refused = |event: &&Value| event["kind"] == "reload-refused";
        if status["events"].as_array().unwrap().iter().filter(refused).count() == 20 {
            break status["time"].as_f64().unwrap();
        }
    };
    // Five a second, and one that was under way already.
    assert!(updates <= (last - first) * 5.0 + 2.0, "{updates} in {} s", last - first);
}

#[tokio::test]
async fn those_who_watch_leave_room_for_scrapes() {
    let stage = Stage::start().await;
    let mut watchers = Vec::new();
    let refused = async |source| Watcher::start_from(source, &stage).await.head.starts_with("HTTP/1.1 503 ");
    let [one, other, third] = [1, 2, 3].map(|last| Ipv4Addr::new(127, 0, 0, last));
    for source in [one, other] {
        for _ in 0..8 {
            watchers.push(Watcher::start_from(source, &stage).await);
        }
        assert!(refused(source).await, "one source takes no more than half");
    }
    assert!(refused(third).await);
    assert_eq!(stage.gateway.admin("/metrics").await.0, 200);
    for watcher in &mut watchers {
        watcher.next().await;
    }
    drop(watchers);
    crate::harness::eventually("a seat", async || Watcher::start(&stage).await.head.starts_with("HTTP/1.1 200 ")).await;
}

/// The head of the answer to a request with these header fields.
async fn asked(stage: &Stage, method: &str, path: &str, fields: &str) -> String {
    let mut stream = TcpStream::connect(stage.gateway.admin_address()).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer.split_once("\r\n\r\n").unwrap().0.to_ascii_lowercase()
}

#[tokio::test]
async fn a_browser_carries_nothing_elsewhere() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[admin]", "hosts", vec!["gw1.example.com".to_owned()]);
    })
    .await;
    let page = asked(&stage, "GET", "/", "Host: 127.0.0.1\r\n").await;
    for field in ["content-security-policy: default-src 'none'", "nosniff", "no-store", "no-referrer", "text/html"] {
        assert!(page.contains(field), "{field}: {page}");
    }
    assert!(!page.contains("unsafe") && !page.contains("access-control"), "{page}");
    for path in ["/", "/status", "/events", "/metrics"] {
        let by = |host: &str| format!("Host: {host}\r\n");
        assert!(asked(&stage, "HEAD", path, &by("gw1.example.com:9901")).await.starts_with("http/1.1 200 "), "{path}");
        let by_another_name = if path == "/metrics" { "http/1.1 200 " } else { "http/1.1 421 " };
        assert!(asked(&stage, "GET", path, &by("evil.example")).await.starts_with(by_another_name), "{path}");
        let foreign = format!("{}Sec-Fetch-Site: cross-site\r\n", by("127.0.0.1"));
        assert!(asked(&stage, "GET", path, &foreign).await.starts_with("http/1.1 403 "), "{path}");
        assert!(asked(&stage, "POST", path, &by("127.0.0.1")).await.starts_with("http/1.1 405 "), "{path}");
    }
    assert!(asked(&stage, "GET", "/readyz", "Host: public.example.com\r\n").await.starts_with("http/1.1 200 "));
}

/// How many badges below `place` say `words`.
fn badges(place: &str, words: &str) -> String {
    format!(
        "[...document.querySelectorAll('{place} .badge')].filter((one) => one.textContent.startsWith('{words}')).length"
    )
}

#[tokio::test]
async fn r_stat_1_a_browser_shows_what_is_up_and_what_is_not() {
    let Some(mut browser) = Browser::start().await else { return };
    let stage = Stage::in_order(|sim, text| {
        sim.serve_cti(text);
        sim.serve_passthrough(text);
    })
    .await;
    browser.open(&format!("http://{}/", stage.gateway.admin_address())).await;
    for (place, words, count) in [
        ("#host-list", "reachable", 10),
        ("#ready, header", "ready", 1),
        ("#stream-table", "reachable", 3),
        ("#event-list", "started", 1),
    ] {
        browser.until(place, &format!("{} === {count}", badges(place, words))).await;
    }
    assert_eq!(browser.evaluate("document.querySelectorAll('.farm').length").await, 3);
    assert_eq!(browser.evaluate("document.querySelectorAll('#certificate-table tbody tr').length > 3").await, true);
    assert_eq!(browser.evaluate("document.querySelectorAll('#name-table tbody tr').length > 3").await, true);
    let mut fastest = Duration::MAX;
    for xsp in ["a1", "a2", "b1", "b2"] {
        let address = stage.xsp(xsp).address();
        stage.xsp(xsp).kill().await;
        let killed = Instant::now();
        stage.client().get(PROFILE).await;
        let row =
            format!("[...document.querySelectorAll('.farm tr')].find((row) => row.textContent.includes('{address}'))");
        browser
            .until("its block", &format!("{row}.querySelector('.badge.bad')?.textContent.startsWith('blocked')"))
            .await;
        fastest = fastest.min(killed.elapsed());
        // A time, and how long ago.
        let since =
            format!("/\\d\\d:\\d\\d:\\d\\d, \\d+ /.test({row}.querySelector('[data-label=since]').textContent)");
        browser.until("since when", &since).await;
    }
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
    browser.until("red interfaces", &format!("{} === 10", badges("#host-list", "unreachable"))).await;
    browser.until("blocks", &format!("{} === 4", badges("#event-list", "blocked"))).await;
    browser.until("the badge", &format!("{} === 1", badges("#ready, header", "no XSP up"))).await;
    stage.xsp("a1").revive().await;
    crate::harness::eventually("an answer", async || stage.client().get(PROFILE).await.status == StatusCode::OK).await;
    browser.until("green interfaces", &format!("{} === 10", badges("#host-list", "reachable"))).await;
    let leaps = browser.evaluate(LEAPS).await.as_f64().unwrap();
    assert!(leaps < 0.01, "what is read stays where it is: {leaps}");
    assert_eq!(browser.complaints(), &[] as &[Value]);
}

#[tokio::test]
async fn a_browser_shows_a_farm_that_has_been_removed_as_such() {
    let Some(mut browser) = Browser::start().await else { return };
    let (stage, mut text) = Stage::with(|_, text| text.clone()).await;
    browser.open(&format!("http://{}/", stage.gateway.admin_address())).await;
    browser.until("a farm", &format!("{} === 1", badges(".farm-head", "reachable"))).await;
    let _channel = Channel::open(&stage).await;
    give_way(&stage, &mut text, &["a1"]).await;
    browser.until("its mark", &format!("{} === 1", badges(".farm-head", "no longer in the configuration"))).await;
    browser.until("the other", &format!("{} === 1", badges(".farm-head", "reachable"))).await;
    assert_eq!(browser.complaints(), &[] as &[Value]);
}

#[tokio::test]
async fn a_browser_shows_what_has_expired_in_red_and_what_ends_soon_in_amber() {
    let Some(mut browser) = Browser::start().await else { return };
    let (stage, ()) = Stage::with(|sim, text| {
        sim.serve_cti(text);
        let folder = sim.folder();
        sim.pki.write_lapsed(folder, &[CLOUD, APP], &[Lapsed::CtiClient, Lapsed::WebexList]).unwrap();
        text.set("[trust.webex]", "crl", folder.join("webex.crl").to_str().unwrap());
        // An old CA beside its successor is no trouble.
        let old = sim.pki.xsp(DOMAIN, "old.sim.invalid", Show::Expired).chain_pem;
        std::fs::write(folder.join("internal-ca.pem"), old + &sim.pki.internal_ca()).unwrap();
    })
    .await;
    browser.open(&format!("http://{}/", stage.gateway.admin_address())).await;
    let tones = |tone: &str, words: &str| {
        let all = format!("document.querySelectorAll('#certificate-table .badge.{tone}')");
        format!("[...{all}].filter((one) => one.textContent.startsWith('{words}')).length")
    };
    browser.until("red", &format!("{} === 2", tones("bad", "expired for 1 day"))).await;
    browser.until("amber", &format!("{} === 1", tones("warn", "overdue for 1 day"))).await;
    let trouble = "document.getElementById('trouble').textContent";
    browser.until("trouble", &format!("{trouble}.endsWith('but still in use: certificate.cti-client.')")).await;
    assert_eq!(browser.complaints(), &[] as &[Value]);
}

#[tokio::test]
async fn whatever_a_text_says_a_browser_shows_it_as_text() {
    let Some(mut browser) = Browser::start().await else { return };
    let (stage, text) = Stage::with(|sim, text| {
        let hostile = sim.folder().join("hostile.pem");
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, MARKUP);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
        let internal = std::fs::read_to_string(sim.folder().join("internal-ca.pem")).unwrap();
        std::fs::write(&hostile, internal + &certificate).unwrap();
        text.set("[trust.internal]", "ca", hostile.display().to_string());
        text.clone()
    })
    .await;
    browser.open(&format!("http://{}/", stage.gateway.admin_address())).await;
    let shown = |place: &str| format!("document.querySelector('{place}').textContent.includes('onerror')");
    browser.until("the subject", &shown("#certificate-table")).await;
    let path = stage.sim.write_config(&text).unwrap();
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("'{}' = 1\n{config}", MARKUP.replace('\'', ""))).unwrap();
    assert!(matches!(stage.gateway.reload().await, Outcome::Refused(_)));
    browser.until("the refusal", &shown("#event-list")).await;
    browser.until("what is wrong", &shown("#trouble")).await;
    // Also in a page that has it from its beginning.
    browser.open(&format!("http://{}/", stage.gateway.admin_address())).await;
    browser.until("the refusal", &shown("#event-list")).await;
    let (images, scripts) = ("document.images.length", "document.scripts.length");
    assert_eq!((browser.evaluate(images).await, browser.evaluate(scripts).await), (0.into(), 2.into()));
    assert_eq!(browser.evaluate("document.title").await, "xspgate");
    assert_eq!(browser.complaints(), &[] as &[Value]);
}

#[tokio::test]
async fn the_page_is_for_phones_keyboards_and_the_dark() {
    let Some(mut browser) = Browser::start().await else { return };
    let (stage, ()) = Stage::with(|sim, text| sim.serve_cti(text)).await;
    browser.open(&format!("http://{}/", stage.gateway.admin_address())).await;
    let back = "getComputedStyle(document.body).backgroundColor";
    let light = browser.evaluate(back).await;
    let dark = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    browser.ask("Emulation.setEmulatedMedia", dark).await;
    assert_ne!(browser.evaluate(back).await, light);
    for width in [320, 390, 800, 1280] {
        let phone = json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        browser.ask("Emulation.setDeviceMetricsOverride", phone).await;
        let too_wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(browser.evaluate(too_wide).await, 0, "at {width} pixels");
    }
    browser.press("Tab", "").await;
    assert_eq!(browser.evaluate("document.activeElement.className").await, "skip");
    browser.press("Tab", "").await;
    assert_eq!(browser.evaluate("document.activeElement.id").await, "pause");
    browser.press(" ", " ").await;
    browser.until("the pause", "document.getElementById('pause').getAttribute('aria-pressed') === 'true'").await;
    // Focus stays where it is while the page follows.
    browser.press(" ", " ").await;
    let now = browser.evaluate("document.getElementById('live').textContent").await;
    browser.until("an update", &format!("document.getElementById('live').textContent !== {now}")).await;
    assert_eq!(browser.evaluate("document.activeElement.id").await, "pause");
    assert_eq!(browser.complaints(), &[] as &[Value]);
    // Without its script it says where the same stands.
    browser.ask("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    browser.open(&format!("http://{}/", stage.gateway.admin_address())).await;
    let instead = "document.querySelector('noscript a[href=status]')?.getBoundingClientRect().width > 0";
    browser.until("a way on", instead).await;
}
