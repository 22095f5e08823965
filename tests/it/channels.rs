//! Event channels: what names one goes where it is, whatever else speaks for another XSP (R-AFF-2), and is told at once when
//! it is no more.

use std::time::Instant;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use xspgate::sim::raw::{Gate, Step};
use xspgate::sim::site::{ALL, APP, CLOUD};
use xspgate::sim::xsp::Behaviour;

use crate::harness::{Blocked, CHANNEL, Client, PROFILE, Stage, body, eventually, request, within};

/// An open channel, as a client has it.
pub(crate) struct Channel {
    pub(crate) id: String,
    /// The XSP where it is.
    pub(crate) xsp: String,
    stream: Incoming,
    client: Client,
}

impl Channel {
    pub(crate) async fn open(stage: &Stage) -> Self {
        Self::of(stage.client()).await
    }

    async fn open_with(stage: &Stage, content: &str) -> Self {
        Self::asked(stage.client(), content).await
    }

    /// The channel that `client` opens.
    pub(crate) async fn of(client: Client) -> Self {
        Self::asked(client, "<Channel/>").await
    }

    async fn asked(mut client: Client, content: &str) -> Self {
        let answer = client.open(request(Method::POST, CHANNEL, body(content.to_owned()))).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let xsp = answer.headers()["x-xsp"].to_str().unwrap().to_owned();
        let mut stream = answer.into_body();
        let first = String::from_utf8(document(&mut stream).await.to_vec()).unwrap();
        let (_, rest) = first.split_once("<channelId>").unwrap();
        let id = rest.split_once("</channelId>").unwrap().0.to_owned();
        Self { id, xsp, stream, client }
    }

    pub(crate) fn path(&self) -> String {
        format!("/com.broadsoft.xsi-events/v2.0/channel/{}", self.id)
    }

    pub(crate) fn heartbeat(&self) -> http::Request<crate::harness::Body> {
        request(Method::PUT, &format!("{}/heartbeat", self.path()), body(""))
    }

    /// A heartbeat from a client that keeps no cookies and has a connection of its own.
    pub(crate) async fn beats(&self, stage: &Stage) -> crate::harness::Answer {
        stage.client().send(self.heartbeat()).await
    }

    /// A heartbeat of its own shows on its stream, next of all.
    pub(crate) async fn is_alive(&mut self) {
        let answer = document(&mut self.stream).await;
        assert!(answer.ends_with(b"<ChannelHeartBeat xmlns=\"http://schema.broadsoft.com/xsi\"/>"), "{answer:?}");
    }

    /// Returns when its stream has ended properly.
    pub(crate) async fn ends(&mut self) {
        assert!(within("the end", self.stream.frame()).await.is_none());
    }

    /// What its client sends to stay in its session.
    pub(crate) fn session(&self) -> &str {
        self.client.session().unwrap()
    }

    /// Returns when its stream has been cut off, without a last chunk.
    pub(crate) async fn cut(mut self) -> Instant {
        let end = within("the end of a stream", self.stream.frame()).await;
        assert!(end.is_some_and(|end| end.is_err()), "it has ended properly");
        Instant::now()
    }

    /// As [`Channel::cut`], whatever comes before.
    pub(crate) async fn broken_off(mut self) -> Instant {
        while within("the next of a stream", self.stream.frame()).await.expect("it has ended properly").is_ok() {}
        Instant::now()
    }

    /// Its XSP sends an event, and it arrives.
    pub(crate) async fn receives(&mut self, stage: &Stage, event: &str) {
        let document = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><xsi:Event xsi1:type=\"xsi:SubscriptionEvent\" \
             xmlns:xsi=\"http://schema.broadsoft.com/xsi\"><xsi:eventID>{event}</xsi:eventID><xsi:sequenceNumber>1\
             </xsi:sequenceNumber><xsi:channelId>{}</xsi:channelId></xsi:Event>",
            self.id
        );
        assert!(stage.xsp(&self.xsp).publish(&self.id, document.clone()));
        assert_eq!(self::document(&mut self.stream).await, document);
    }
}

async fn document(stream: &mut Incoming) -> Bytes {
    within("a document", stream.frame()).await.expect("the stream goes on").unwrap().into_data().unwrap()
}

/// Heartbeats that an XSP has seen.
fn heartbeats(stage: &Stage, xsp: &str) -> usize {
    stage.xsp(xsp).requests().iter().filter(|request| request.path().ends_with("/heartbeat")).count()
}

/// Gets an XSP on the blocklist of a gateway that blocks on the first 5xx. Xsi-Events goes on there.
async fn block(stage: &Stage, xsp: &str) {
    let busy = Behaviour::on("/com.broadsoft.xsi-actions", Behaviour::Status(StatusCode::SERVICE_UNAVAILABLE));
    stage.xsp(xsp).behave(busy).await;
    eventually("a request there", async || {
        stage.client().get(PROFILE).await;
        stage.metrics().await.count("xspgate_endpoint_blocked", &[]) == 1.0
    })
    .await;
    stage.until_blocked(xsp, Blocked::Yes).await;
}

/// Takes an XSP out of DNS, and waits until the gateway has followed.
async fn remove(stage: &Stage, xsp: &str) {
    let zones = stage.sim.zones();
    let others = stage.sim.xsps.iter().filter(|other| other.name() != xsp);
    zones.set_a(ALL, 0, others.map(|other| other.address().ip()));
    // The next query gets the new answer; the one behind it shows that this answer has been taken over.
    let asked = zones.queries(ALL, "A");
    eventually("the change of DNS", async || zones.queries(ALL, "A") >= asked + 2).await;
}

/// Writes a new certificate, and waits until the gateway has taken it over.
async fn renew(stage: &Stage) {
    stage.sim.pki.public(&[CLOUD, APP]).write(stage.sim.folder(), "public").unwrap();
    eventually("the renewal", async || {
        stage.metrics().await.count("xspgate_renewals_total", &[("outcome", "renewed")]) >= 1.0
    })
    .await;
}

/// A heartbeat of each channel from a client without cookies, and one from a client with a session elsewhere.
async fn all_beat(stage: &Stage, channels: &mut [Channel]) {
    for channel in channels {
        let mut elsewhere = stage.client();
        while elsewhere.get(PROFILE).await.xsp() == channel.xsp {
            elsewhere.forget_cookies();
        }
        for answer in [channel.beats(stage).await, elsewhere.send(channel.heartbeat()).await] {
            assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, &*channel.xsp));
            channel.is_alive().await;
        }
    }
}

async fn counted(stage: &Stage, event: &str) -> f64 {
    stage.metrics().await.count("xspgate_channel_events_total", &[("event", event)])
}

/// How many channels were opened.
pub(crate) async fn opened(stage: &Stage) -> f64 {
    stage.metrics().await.count("xspgate_channels_opened_total", &[])
}

/// How many channels have ended, by reason; those that have not ended any are left out.
async fn closed(stage: &Stage) -> Vec<(&'static str, f64)> {
    let metrics = stage.metrics().await;
    let count = |reason| (reason, metrics.count("xspgate_channels_closed_total", &[("reason", reason)]));
    ["client", "xsp", "lost", "cut"].map(count).into_iter().filter(|(_, count)| *count > 0.0).collect()
}

/// How many heartbeats came to what; outcomes that there were none of are left out.
async fn outcomes(stage: &Stage) -> Vec<(&'static str, f64)> {
    let metrics = stage.metrics().await;
    let count = |outcome| (outcome, metrics.count("xspgate_heartbeats_total", &[("outcome", outcome)]));
    let all = ["taken", "not-found", "error", "other", "failed", "lost"];
    all.map(count).into_iter().filter(|(_, count)| *count > 0.0).collect()
}

#[tokio::test]
async fn r_aff_2_heartbeats_without_cookies_reach_their_channel() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("", "workers", 2);
    })
    .await;
    let mut channels = Vec::new();
    for _ in 0..12 {
        channels.push(Channel::open(&stage).await);
    }
    for channel in &mut channels {
        for _ in 0..4 {
            let answer = channel.beats(&stage).await;
            assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, &*channel.xsp));
            channel.is_alive().await;
        }
    }
    for name in ["a1", "a2", "b1", "b2"] {
        let own = channels.iter().filter(|channel| channel.xsp == name).count();
        assert_eq!(heartbeats(&stage, name), 4 * own, "{name}");
    }
    assert_eq!(opened(&stage).await, 12.0);
    assert_eq!(outcomes(&stage).await, [("taken", 48.0)]);
    assert_eq!(stage.metrics().await.count("xspgate_channels", &[]), 12.0);
}

#[tokio::test]
async fn r_aff_2_the_channel_counts_for_more_than_a_cookie_of_another_xsp() {
    let stage = Stage::start().await;
    let mut channel = Channel::open(&stage).await;
    let mut client = stage.client();
    while client.get(PROFILE).await.xsp() == channel.xsp {
        client.forget_cookies();
    }
    let elsewhere = client.get(PROFILE).await.xsp().to_owned();
    let answer = client.send(channel.heartbeat()).await;
    assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, &*channel.xsp));
    assert_eq!(answer.session(), None, "the session is moved");
    channel.is_alive().await;
    assert_eq!(client.get(PROFILE).await.xsp(), elsewhere);
}

#[tokio::test]
async fn r_aff_2_refresh_and_delete_reach_the_channel_in_any_spelling() {
    let stage = Stage::start().await;
    let channel = Channel::open(&stage).await;
    let spelled = channel
        .path()
        .replace("/channel/", "/Channel/")
        .replace("com.broadsoft.xsi-events", "com.broadsoft.async/com.broadsoft.xsi-events");
    for _ in 0..4 {
        let refresh = request(Method::PUT, &spelled, body("<Channel><expires>3600</expires></Channel>"));
        assert_eq!(stage.client().send(refresh).await.xsp(), channel.xsp);
    }
    let answer = stage.client().send(request(Method::DELETE, &channel.path(), body(""))).await;
    assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, &*channel.xsp));
    eventually("the channel's end", async || closed(&stage).await == [("xsp", 1.0)]).await;
    // Whatever an XSP says of a channel that was closed in good order is its business.
    assert_eq!(channel.beats(&stage).await.header("x-xsp").len(), 2);
    assert_eq!(counted(&stage, "unknown").await, 1.0);
    assert_eq!(outcomes(&stage).await, [("not-found", 1.0)]);
}

#[tokio::test]
async fn r_aff_2_heartbeats_reach_an_xsp_that_is_blocked() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[farm.xsp.failover]", "on_5xx", "block");
    })
    .await;
    let mut channel = Channel::open(&stage).await;
    block(&stage, &channel.xsp).await;
    for _ in 0..5 {
        let answer = channel.beats(&stage).await;
        assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, &*channel.xsp));
        channel.is_alive().await;
    }
}

#[tokio::test]
async fn r_aff_2_no_heartbeat_lands_on_a_wrong_xsp_whatever_changes_around_it() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("", "workers", 2).set("[farm.xsp.failover]", "on_5xx", "block");
    })
    .await;
    let mut channels = Vec::new();
    for number in 0..8 {
        let set = format!("<channelSetId>set{number}</channelSetId><applicationId>app{number}</applicationId>");
        channels.push(Channel::open_with(&stage, &format!("<Channel>{set}</Channel>")).await);
    }
    all_beat(&stage, &mut channels).await;
    renew(&stage).await;
    all_beat(&stage, &mut channels).await;
    block(&stage, &channels[0].xsp).await;
    all_beat(&stage, &mut channels).await;
    remove(&stage, &channels[0].xsp).await;
    all_beat(&stage, &mut channels).await;
    for xsp in &stage.sim.xsps {
        assert_eq!(xsp.stray_heartbeats(), 0, "{}", xsp.name());
    }
    assert_eq!(opened(&stage).await, 8.0);
    assert_eq!(outcomes(&stage).await, [("taken", 64.0)]);
    assert_eq!(closed(&stage).await, []);
}

#[tokio::test]
async fn a_5xx_to_a_heartbeat_is_passed_on_and_blocks_nobody() {
    let stage = Stage::start().await;
    let channel = Channel::open(&stage).await;
    let busy = Behaviour::on("/com.broadsoft.xsi-events", Behaviour::Status(StatusCode::SERVICE_UNAVAILABLE));
    stage.xsp(&channel.xsp).behave(busy).await;
    for _ in 0..5 {
        let answer = channel.beats(&stage).await;
        assert_eq!((answer.status, answer.xsp()), (StatusCode::SERVICE_UNAVAILABLE, &*channel.xsp));
    }
    assert_eq!(stage.metrics().await.count("xspgate_endpoint_blocked", &[]), 0.0);
    assert_eq!(stage.metrics().await.count("xspgate_probes_total", &[]), 0.0);
    assert_eq!(heartbeats(&stage, &channel.xsp), 5);
    assert_eq!(outcomes(&stage).await, [("error", 5.0)]);
}

#[tokio::test]
async fn r_aff_2_when_an_xsp_dies_its_channels_are_told_so_at_once() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[affinity]", "lost_channels_for", "1s");
    })
    .await;
    let mut channel = Channel::open(&stage).await;
    stage.xsp(&channel.xsp).kill().await;
    assert!(within("the end", channel.stream.frame()).await.expect("no last chunk").is_err());
    let asked = stage.asked();
    for _ in 0..3 {
        let answer = channel.beats(&stage).await;
        assert_eq!((answer.status, answer.xsp()), (StatusCode::NOT_FOUND, ""));
    }
    let answer = stage.client().send(request(Method::DELETE, &channel.path(), body(""))).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(stage.asked(), asked, "an XSP was asked");
    assert_eq!((closed(&stage).await, outcomes(&stage).await), (vec![("lost", 1.0)], vec![("lost", 3.0)]));
    eventually("it is forgotten", async || !channel.beats(&stage).await.xsp().is_empty()).await;
    assert_ne!(Channel::open(&stage).await.xsp, channel.xsp);
}

#[tokio::test]
async fn a_channel_whose_xsp_takes_no_connections_any_more_is_lost() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[farm.xsp.pool]", "idle_per_endpoint", 0);
    })
    .await;
    let mut channel = Channel::open(&stage).await;
    // Its host is gone without a word, as far as the stream can tell.
    stage.xsp(&channel.xsp).behave(Behaviour::Refuse).await;
    assert_eq!(channel.beats(&stage).await.status, StatusCode::NOT_FOUND);
    assert!(within("the end", channel.stream.frame()).await.expect("no last chunk").is_err());
    assert_eq!(channel.beats(&stage).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_channel_request_is_sent_twice_only_where_its_own_interface_says_so() {
    for (section, asked) in [("[farm.xsp.failover]", 1), ("[https.interface.xsi-events.failover]", 2)] {
        let stage = Stage::in_order(|_, text| {
            if section.starts_with("[https") {
                text.push("[https.interface.xsi-events]").push(section);
            }
            text.set(section, "replay", "all").set(section, "response_timeout", "500ms");
            text.set(section, "advance_after", "off");
        })
        .await;
        stage.xsp("a1").behave(Behaviour::Hang).await;
        let opened = stage.client().open(request(Method::POST, CHANNEL, body("<Channel/>"))).await.unwrap();
        let expected = if asked == 1 { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::OK };
        assert_eq!(opened.status(), expected, "{section}");
        assert_eq!(stage.asked(), asked, "{section}");
    }
}

#[tokio::test]
async fn a_document_leaves_as_one_chunk_however_it_comes() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let first = "<?xml version=\"1.0\"?>\n<Channel><channelId>raw-1</channelId></Channel>";
    let event = format!("<?xml version=\"1.0\"?><Event a='/>'>{}</Event>", "x".repeat(40_000));
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let (cut, rest) = event.split_at(20_000);
    let mut steps = vec![Step::send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")];
    let gates: Vec<Gate> = (0..3).map(|_| Gate::new()).collect();
    // In pieces; in one chunk after all; two at once.
    for (piece, gate) in [chunk(first), chunk(cut), chunk(rest)].into_iter().zip(&gates) {
        steps.extend([Step::send(piece), Step::Gate(gate.clone())]);
    }
    steps.push(Step::send(format!("{}{}0\r\n\r\n", chunk(&format!("{first}{event}")), chunk("<b/>"))));
    raw.next(steps);
    let mut client = stage.raw_client().await;
    client.send(format!("POST {CHANNEL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 0\r\n\r\n")).await;
    client.until_tail(&chunk(first)).await;
    gates.iter().for_each(Gate::open);
    let received = client.until_tail("0\r\n\r\n").await.text();
    let expected = [&event, first, &event, "<b/>"].map(chunk).concat();
    assert!(received == format!("{expected}0\r\n\r\n"), "{} bytes", received.len());
    assert!(counted(&stage, "reassembled").await >= 1.0);
    assert_eq!(opened(&stage).await, 1.0);
}

#[tokio::test]
async fn what_is_no_document_passes_through_a_channel_as_it_comes() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let body = "5\r\nhello\r\n6\r\n<a/><b\r\n2\r\n/>\r\n0\r\n\r\n";
    raw.answer(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
    let mut client = stage.raw_client().await;
    client.send(format!("POST {CHANNEL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 0\r\n\r\n")).await;
    let received = client.until_tail("0\r\n\r\n").await.text();
    assert_eq!(received.split_once("\r\n\r\n").unwrap().1, body);
}

#[tokio::test]
async fn a_channel_is_asked_for_in_the_clear_of_any_compression() {
    let stage = Stage::in_order(|_, _| ()).await;
    let asks = |method: Method, target: &str| {
        let mut request = request(method, target, body(""));
        request.headers_mut().insert("accept-encoding", "gzip, br".parse().unwrap());
        request
    };
    stage.client().send(asks(Method::GET, PROFILE)).await;
    let _stream = stage.client().open(asks(Method::POST, CHANNEL)).await.unwrap();
    let seen: Vec<_> =
        stage.xsp("a1").requests().iter().map(|asked| asked.header("accept-encoding").to_owned()).collect();
    assert_eq!(seen, ["gzip, br", ""]);
}

#[tokio::test]
async fn a_stream_goes_on_though_another_one_has_its_id() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let document = "<Channel><channelId>twice</channelId></Channel>";
    let (chunk, gate) = (format!("{:x}\r\n{document}\r\n", document.len()), Gate::new());
    raw.always(vec![
        Step::send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}")),
        Step::Gate(gate.clone()),
        Step::send(format!("{chunk}0\r\n\r\n")),
    ]);
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = stage.raw_client().await;
        client.send(format!("POST {CHANNEL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 0\r\n\r\n")).await;
        client.until_tail(&chunk).await;
        clients.push(client);
    }
    for _ in 0..2 {
        gate.open();
    }
    for client in &mut clients {
        assert!(client.until_tail("0\r\n\r\n").await.text().starts_with(&chunk));
    }
    eventually("both ends", async || closed(&stage).await == [("xsp", 2.0)]).await;
    assert_eq!(stage.metrics().await.count("xspgate_channels", &[]), 0.0);
}
