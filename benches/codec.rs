//! What the codec costs: one head in, one head out, one chunk.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{Method, StatusCode};
use xspgate::http1::chunked::{Decoder, Event};
use xspgate::http1::encode;
use xspgate::http1::head::{Fields, HeadLimits, Sender, parse_request, parse_response};

const REQUEST: &[u8] = b"GET /com.broadsoft.xsi-actions/v2.0/user/alice%40example.com/profile?format=json HTTP/1.1\r\n\
    Host: xsp.example.com\r\n\
    User-Agent: Webex/44.6 (Windows 11)\r\n\
    Accept: application/json, text/xml\r\n\
    Accept-Encoding: identity\r\n\
    Accept-Language: en-GB,en;q=0.8\r\n\
    Authorization: Bearer eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl\r\n\
    Cookie: JSESSIONID=0123456789ABCDEF0123456789ABCDEF; XSPGATE=AAAAAAAAAAAAAAAAAAAAAA\r\n\
    TrackingID: CLIENT_5a1b2c3d-0000-4000-8000-000000000001\r\n\
    Cache-Control: no-cache\r\n\
    Connection: keep-alive\r\n\
    \r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
    Content-Type: text/xml;charset=UTF-8\r\n\
    Content-Length: 1374\r\n\
    TrackingID: CLIENT_5a1b2c3d-0000-4000-8000-000000000001\r\n\
    Set-Cookie: JSESSIONID=0123456789ABCDEF0123456789ABCDEF; Path=/com.broadsoft.xsi-actions; Secure; HttpOnly\r\n\
    Cache-Control: no-store\r\n\
    X-Content-Type-Options: nosniff\r\n\
    X-Frame-Options: DENY\r\n\
    Strict-Transport-Security: max-age=31536000\r\n\
    Keep-Alive: timeout=60\r\n\
    \r\n";

fn heads(criterion: &mut Criterion) {
    let limits = HeadLimits::default();
    let mut group = criterion.benchmark_group("head");
    group.throughput(Throughput::Bytes(REQUEST.len() as u64));
    group.bench_function("parse a request of 10 fields", |bencher| {
        bencher.iter(|| parse_request(black_box(REQUEST), &limits));
    });
    group.throughput(Throughput::Bytes(RESPONSE.len() as u64));
    group.bench_function("parse a response of 10 fields", |bencher| {
        bencher.iter(|| parse_response(black_box(RESPONSE), &limits, &Method::GET));
    });
    let fields = parse_response(RESPONSE, &limits, &Method::GET).ok().flatten().map(|(head, _)| head.fields);
    let fields = fields.expect("the response is well-formed");
    group.bench_function("encode a response of 10 fields", |bencher| {
        let mut out = Vec::new();
        bencher.iter(|| {
            out.clear();
            encode_head(&mut out, black_box(&fields));
            out.len()
        });
    });
    group.finish();
}

fn encode_head(out: &mut Vec<u8>, fields: &Fields) {
    encode::status_line(out, StatusCode::OK, b"OK");
    for (name, value) in fields.iter() {
        encode::field(out, name, value);
    }
    encode::end(out);
}

/// A head of the greatest size that comes byte by byte: what the repeated looking costs in all.
fn trickle(criterion: &mut Criterion) {
    let limits = HeadLimits::default();
    let mut head = REQUEST[..REQUEST.len() - 2].to_vec();
    head.extend_from_slice(b"Filler: ");
    head.resize(limits.head_size - 4, b'x');
    head.extend_from_slice(b"\r\n\r\n");
    criterion.bench_function("parse 16 KiB that come byte by byte", |bencher| {
        bencher.iter(|| (1..=head.len()).filter(|&length| parse_request(&head[..length], &limits).is_ok()).count());
    });
}

fn chunks(criterion: &mut Criterion) {
    let mut body = Vec::new();
    encode::chunk_start(&mut body, 700);
    body.resize(body.len() + 700, b'x');
    encode::chunk_end(&mut body);
    criterion.bench_function("decode a chunk of 700 bytes", |bencher| {
        let mut decoder = Decoder::new(Sender::Xsp, HeadLimits::TRAILERS);
        bencher.iter(|| {
            let mut input = black_box(&body[..]);
            while let Ok((taken, Some(event))) = decoder.next(input) {
                input = &input[taken..];
                black_box(&event);
                if event == Event::ChunkEnd {
                    break;
                }
            }
            input.len()
        });
    });
}

criterion_group!(benches, heads, trickle, chunks);
criterion_main!(benches);
