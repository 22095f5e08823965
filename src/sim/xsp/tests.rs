//! Event channels of simulated XSPs, tried without a gateway.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{Behaviour, Xsp};
use crate::sim::site::{Network, Simulation};
use crate::sim::tests::{DEADLINE, connect, request};

const CHANNEL: &str = "/com.broadsoft.async/com.broadsoft.xsi-events/v2.0/channel";

struct Open {
    id: String,
    stream: Incoming,
}

impl Open {
    async fn new(simulation: &Simulation, xsp: &Xsp, body: &str) -> Self {
        let answer = ask(simulation, xsp, Method::POST, CHANNEL, body).await;
        let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap();
        assert!(cookie.starts_with("JSESSIONID="), "{cookie}");
        assert!(cookie.ends_with("; Path=/com.broadsoft.xsi-events; Secure; HttpOnly"), "{cookie}");
        assert!(!answer.headers()["trackingid"].is_empty());
        let mut stream = answer.into_body();
        let first = next(&mut stream).await.unwrap();
        let id = super::documents::text_of(&first, "channelId").unwrap();
        Self { id, stream }
    }

    /// The next document must be the last one, and say why.
    async fn ends(&mut self, reason: &str) {
        let last = next(&mut self.stream).await.unwrap();
        assert!(last.contains("xsi1:type=\"xsi:ChannelTerminatedEvent\""), "{last}");
        assert!(last.contains(&format!("<xsi:channelId>{}</xsi:channelId><xsi:reason>{reason}<", self.id)), "{last}");
        assert_eq!(next(&mut self.stream).await, None);
    }

    fn path(&self, below: &str) -> String {
        format!("/com.broadsoft.xsi-events/v2.0/channel/{}{below}", self.id)
    }
}

async fn next(stream: &mut Incoming) -> Option<String> {
    let frame = tokio::time::timeout(DEADLINE, stream.frame()).await.unwrap()?;
    Some(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap())
}

async fn ask(simulation: &Simulation, xsp: &Xsp, method: Method, target: &str, body: &str) -> Response<Incoming> {
    let mut client = connect(simulation, xsp).await.unwrap();
    let request = request(method, target).map(|_| Bytes::from(body.to_owned()).into());
    client.send_request(request).await.unwrap()
}

fn set(id: &str, application: &str) -> String {
    format!("<Channel><channelSetId>{id}</channelSetId><applicationId>{application}</applicationId></Channel>")
}

#[tokio::test]
async fn a_second_channel_set_of_an_application_ends_the_first_at_every_xsp() {
    let simulation = Simulation::start(Network::Own).await.unwrap();
    let (a1, a2) = (simulation.xsp("a1"), simulation.xsp("a2"));
    let mut first = Open::new(&simulation, a1, &set("one", "app")).await;
    let mut elsewhere = Open::new(&simulation, a2, &set("one", "app")).await;
    let _others = Open::new(&simulation, a2, &set("two", "another")).await;
    let _nobodys = Open::new(&simulation, a1, "<Channel/>").await;
    assert_eq!((a1.channels().len(), a2.channels().len()), (2, 2));
    let _second = Open::new(&simulation, a2, &set("two", "app")).await;
    first.ends("DuplicateChannelSet").await;
    elsewhere.ends("DuplicateChannelSet").await;
    assert_eq!((a1.channels().len(), a2.channels().len()), (1, 2));
}

#[tokio::test]
async fn a_channel_is_refreshed_and_deleted_where_it_is() {
    let simulation = Simulation::start(Network::Own).await.unwrap();
    let (a1, a2) = (simulation.xsp("a1"), simulation.xsp("a2"));
    let mut channel = Open::new(&simulation, a1, "<Channel/>").await;
    for (xsp, method, below, expected) in [
        (a2, Method::PUT, "/heartbeat", StatusCode::NOT_FOUND),
        (a2, Method::PUT, "", StatusCode::NOT_FOUND),
        (a2, Method::DELETE, "", StatusCode::FORBIDDEN),
        (a1, Method::PUT, "", StatusCode::OK),
        (a1, Method::DELETE, "", StatusCode::OK),
        (a1, Method::PUT, "/heartbeat", StatusCode::NOT_FOUND),
    ] {
        let answer = ask(&simulation, xsp, method.clone(), &channel.path(below), "").await;
        assert_eq!(answer.status(), expected, "{method} {below} at {}", xsp.name());
    }
    channel.ends("ExplicitDelete").await;
    assert_eq!((a1.stray_heartbeats(), a2.stray_heartbeats()), (0, 1));
}

#[tokio::test]
async fn events_are_acknowledged_in_time_or_the_channel_ends() {
    let simulation = Simulation::start(Network::Own).await.unwrap();
    let (a1, a2) = (simulation.xsp("a1"), simulation.xsp("a2"));
    let mut channel = Open::new(&simulation, a1, "<Channel/>").await;
    let respond = async |xsp: &Xsp, event: &str| {
        let response = format!("<xsi:EventResponse><xsi:eventID>{event}</xsi:eventID></xsi:EventResponse>");
        ask(&simulation, xsp, Method::POST, &format!("{}/eventresponse", CHANNEL), &response).await.status()
    };
    let mut sent = Vec::new();
    for number in 1..=2 {
        let event = a1.publish_event(&channel.id, "alice@example.com", "<x/>").unwrap();
        let document = next(&mut channel.stream).await.unwrap();
        assert!(document.contains(&format!("<xsi:eventID>{event}</xsi:eventID><xsi:sequenceNumber>{number}<")));
        assert!(document.contains(&format!("<xsi:channelId>{}</xsi:channelId>", channel.id)), "{document}");
        sent.push(event);
    }
    assert_eq!(respond(a2, &sent[0]).await, StatusCode::NOT_FOUND);
    assert_eq!(respond(a1, &sent[0]).await, StatusCode::OK);
    assert_eq!((a1.stray_acknowledgements(), a2.stray_acknowledgements()), (0, 1));
    assert_eq!(a2.publish_event(&channel.id, "alice@example.com", "<x/>"), None);
    a1.acknowledge_within(Duration::ZERO);
    a1.publish_event(&channel.id, "alice@example.com", "<x/>").unwrap();
    next(&mut channel.stream).await.unwrap();
    channel.ends("NonResponsiveChannel").await;
}

#[tokio::test]
async fn a_user_who_asks_too_often_is_told_so_in_html() {
    let simulation = Simulation::start(Network::Own).await.unwrap();
    let xsp = simulation.xsp("a1");
    xsp.behave(Behaviour::PerUser(2)).await;
    let mut client = connect(&simulation, xsp).await.unwrap();
    let mut asked = async |user: &str| {
        let target = format!("/com.broadsoft.xsi-actions/v2.0/user/{user}/profile");
        let answer = client.send_request(request(Method::GET, &target)).await.unwrap();
        let (status, media) = (answer.status(), answer.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned());
        answer.into_body().collect().await.unwrap();
        (status, media.starts_with("text/html"))
    };
    // More than fit into two of its seconds, whenever the first one began.
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(asked("alice").await);
    }
    assert_eq!(answers[0], (StatusCode::OK, false));
    assert!(answers.contains(&(StatusCode::SERVICE_UNAVAILABLE, true)), "{answers:?}");
    assert_eq!(asked("bob").await, (StatusCode::OK, false));
}
