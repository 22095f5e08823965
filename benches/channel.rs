//! What an event channel costs beside its bytes: its id once, and a cut for each document.

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::Method;
use xspgate::broadworks::channel::ChannelId;
use xspgate::broadworks::channel::documents::{Cut, Documents};
use xspgate::broadworks::channel::event::event_ids;
use xspgate::broadworks::channel::finder::Finder;
use xspgate::broadworks::interface::Interface;
use xspgate::broadworks::xsi::Intent;
use xspgate::policy::channels::{Channels, REMEMBER};

const CHANNEL: &[u8] =
    b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Channel xmlns=\"http://schema.broadsoft.com/xsi\">\
    <channelId>0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0</channelId><expires>86400</expires></Channel>";

const HEARTBEAT: &[u8] = b"<ChannelHeartBeat xmlns=\"http://schema.broadsoft.com/xsi\"/>";

const EVENT: &[u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?><xsi:Event xsi1:type=\"xsi:SubscriptionEvent\" \
    xmlns:xsi=\"http://schema.broadsoft.com/xsi\" xmlns:xsi1=\"http://www.w3.org/2001/XMLSchema-instance\">\
    <xsi:eventID>7f0c2a1e-0000-4000-8000-000000000001</xsi:eventID><xsi:sequenceNumber>42</xsi:sequenceNumber>\
    <xsi:userId>alice@example.com</xsi:userId><xsi:externalApplicationId>app</xsi:externalApplicationId>\
    <xsi:subscriptionId>7f0c2a1e-0000-4000-8000-000000000002</xsi:subscriptionId>\
    <xsi:channelId>0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0</xsi:channelId>\
    <xsi:targetId>alice@example.com</xsi:targetId><xsi:eventData xsi1:type=\"xsi:CallReceivedEvent\"><xsi:call>\
    <xsi:callId>callhalf-12345:0</xsi:callId><xsi:extTrackingId>1:1</xsi:extTrackingId>\
    <xsi:personality>Terminator</xsi:personality><xsi:state>Alerting</xsi:state><xsi:remoteParty>\
    <xsi:name>Bob</xsi:name><xsi:address>tel:+15555550100</xsi:address><xsi:callType>Network</xsi:callType>\
    </xsi:remoteParty><xsi:startTime>1700000000000</xsi:startTime></xsi:call></xsi:eventData></xsi:Event>";

fn cut_all(documents: &mut Documents, stream: &[u8]) -> usize {
    let mut pending = stream;
    let mut cuts = 0;
    while let Cut::Document(end) = documents.cut(black_box(pending)) {
        pending = &pending[end..];
        cuts += 1;
    }
    cuts
}

fn documents(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cut");
    let long = [&b"<a>"[..], &b"<b>text</b>".repeat(5_900), b"</a>"].concat();
    for (name, document) in [("a heartbeat", HEARTBEAT), ("an event", EVENT), ("64 KiB of elements", &long)] {
        group.throughput(Throughput::Bytes(document.len() as u64));
        group.bench_function(format!("{name} ({} bytes)", document.len()), |bencher| {
            let mut documents = Documents::new();
            bencher.iter(|| cut_all(&mut documents, document));
        });
    }
    group.throughput(Throughput::Bytes(EVENT.len() as u64));
    group.bench_function("an event that comes byte by byte", |bencher| {
        let mut documents = Documents::new();
        bencher.iter(|| (1..=EVENT.len()).filter(|end| documents.cut(&EVENT[..*end]) != Cut::Incomplete).count());
    });
    group.finish();
}

fn ids(criterion: &mut Criterion) {
    criterion.bench_function("find the id of a channel", |bencher| {
        bencher.iter(|| Finder::new().read(black_box(CHANNEL)));
    });
    criterion.bench_function("read the id of an event", |bencher| {
        bencher.iter(|| event_ids(black_box(EVENT)).count());
    });
}

fn named(path: &str) -> Option<ChannelId> {
    Intent::of(Interface::XsiEvents, &Method::PUT, path.as_bytes()).channel().cloned()
}

fn table(criterion: &mut Criterion) {
    let now = Instant::now();
    let mut channels = Channels::new(20_000, REMEMBER);
    let path =
        |index: u32| format!("/com.broadsoft.xsi-events/v2.0/channel/0f1e2d3c-4b5a-6978-8796-{index:012}/heartbeat");
    let paths: Vec<String> = (0..10_000).map(path).collect();
    for (endpoint, path) in (0u32..).zip(&paths) {
        let stream = named(path).and_then(|id| channels.opened(id, endpoint, now));
        assert!(stream.is_some());
    }
    criterion.bench_function("a heartbeat's path to its endpoint, among 10,000 channels", |bencher| {
        let mut paths = paths.iter().cycle();
        bencher.iter(|| {
            let id = paths.next().and_then(|path| named(path));
            id.map(|id| channels.home(&id, now))
        });
    });
}

criterion_group!(benches, documents, ids, table);
criterion_main!(benches);
