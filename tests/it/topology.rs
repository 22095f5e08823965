//! R-TOP-1 to R-TOP-6: the gateway as the one XSP that clients see.

use std::net::TcpListener;

use http::StatusCode;
use xspgate::sim::raw::Raw;
use xspgate::sim::site::{APP, CLOUD, DOMAIN};
use xspgate::sim::xsp::Behaviour;

use crate::harness::{NEW_CALL, PROFILE, RawClient, Stage, client_requests, tiers};

#[tokio::test]
async fn r_top_1_every_interface_is_served_as_if_by_one_xsp() {
    let stage = Stage::start().await;
    let mut client = stage.client();
    let cases = [
        ("/com.broadsoft.xsi-actions/v2.0/versions", "<version>2.0</version>"),
        (PROFILE, "<userId>alice%40example.com</userId>"),
        ("/com.broadsoft.xsi-events/v2.0/versions", "<version>2.0</version>"),
        ("/authService/token/alice?format=json", "\"bearer\""),
        ("/dms/", "DMS"),
        ("/callsettings/", "Call settings"),
    ];
    for (target, content) in cases {
        let answer = client.get(target).await;
        assert_eq!(answer.status, StatusCode::OK, "{target}");
        assert!(answer.text().contains(content), "{target}: {}", answer.text());
    }
    assert_eq!(client.post(NEW_CALL, "<Call/>").await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn r_top_7_a_listener_at_every_address_of_ipv6_takes_no_ipv4() {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("left out: this machine has no IPv6");
        return;
    }
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[[https]]", "listen", vec!["[::]:0".to_owned()]);
        text.set("[[https]]", "allow", vec!["::1".to_owned()]);
    })
    .await;
    let port = stage.gateway.https().port();
    let dial = async |ip: &str| {
        let tls = crate::harness::tls_config(&stage.sim.pki.public_roots());
        RawClient::try_connect(format!("{ip}:{port}").parse().unwrap(), CLOUD, tls).await
    };
    let mut sixth = dial("[::1]").await.unwrap();
    sixth.send(format!("HEAD {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
    assert_eq!(sixth.until_tail("\r\n\r\n").await.status(), 200);
    assert!(dial("127.0.0.1").await.is_err(), "nobody listens there");
}

#[tokio::test]
async fn r_top_2_tls_ends_at_the_gateway_and_begins_anew_towards_the_xsp() {
    let stage = Stage::start().await;
    // The public certificate is what clients see; the XSPs' own is signed by a CA that they don't know.
    let answer = stage.client().get(PROFILE).await;
    let xsp = stage.xsp(answer.xsp());
    assert_eq!(xsp.connections().handshakes, 1);
    let internal = crate::harness::tls_config(&stage.sim.pki.internal_roots());
    let refused = crate::harness::RawClient::try_connect(stage.gateway.https(), CLOUD, internal).await;
    assert!(refused.is_err(), "the public certificate is not the internal CA's");
}

#[tokio::test]
async fn r_top_4_cloud_and_app_come_under_two_names() {
    let stage = Stage::start().await;
    for name in [CLOUD, APP] {
        let answer = stage.client().host(name).get(PROFILE).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}");
        let seen = stage.xsp(answer.xsp()).requests().pop().unwrap();
        assert_eq!(seen.header("host"), name);
        assert_eq!(seen.header("x-forwarded-host"), name);
    }
}

#[tokio::test]
async fn r_top_6_a_location_within_the_farm_is_followed_by_the_gateway() {
    let stage = Stage::in_order(|_, _| ()).await;
    let target = format!("https://{}{PROFILE}?moved=1", stage.xsp("b1").address());
    stage.xsp("a1").behave(Behaviour::Redirect(target)).await;
    let answer = stage.client().get(PROFILE).await;
    assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, "b1"));
    assert_eq!(stage.xsp("b1").requests()[0].target, format!("{PROFILE}?moved=1"));
    assert_eq!(stage.metrics().await.count("xspgate_redirects_total", &[("outcome", "followed")]), 1.0);
}

#[tokio::test]
async fn r_top_6_the_body_goes_along_with_a_followed_location() {
    let stage = Stage::in_order(|_, _| ()).await;
    stage.xsp("a1").behave(Behaviour::Redirect(format!("https://{}{NEW_CALL}", stage.xsp("a2").address()))).await;
    let answer = stage.client().post(NEW_CALL, "<Call/>").await;
    assert_eq!((answer.status, answer.xsp()), (StatusCode::CREATED, "a2"));
    let seen = stage.xsp("a2").requests().remove(0);
    assert_eq!((seen.method.as_str(), seen.body.as_slice()), ("POST", b"<Call/>".as_slice()));
}

#[tokio::test]
async fn r_top_6_one_hop_is_followed_and_no_second() {
    let stage = Stage::in_order(|_, _| ()).await;
    let first = format!("https://{}{PROFILE}", stage.xsp("a2").address());
    let second = format!("https://{}{PROFILE}", stage.xsp("b1").address());
    stage.xsp("a1").behave(Behaviour::Redirect(first)).await;
    stage.xsp("a2").behave(Behaviour::Redirect(second.clone())).await;
    let answer = stage.client().get(PROFILE).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::FOUND, second.as_str()));
    assert_eq!(stage.asked(), 2);
}

#[tokio::test]
async fn r_top_6_an_answer_that_only_points_elsewhere_is_no_reason_to_ask_again() {
    let (stage, raw) = Stage::with(|sim, text| {
        let raw = Raw::start(DOMAIN, sim.address(31), &sim.pki).unwrap();
        tiers(text, &[raw.address(), sim.xsp("a1").address()]);
        raw
    })
    .await;
    let a1 = stage.xsp("a1").address();
    for status in ["300 Multiple Choices", "303 See Other", "304 Not Modified", "305 Use Proxy"] {
        let location = format!("Location: https://{a1}{NEW_CALL}");
        raw.answer(format!("HTTP/1.1 {status}\r\n{location}\r\nContent-Length: 0\r\n\r\n"));
        let answer = stage.client().post(NEW_CALL, "<Call/>").await;
        assert_eq!(answer.status.as_str(), &status[..3]);
    }
    assert_eq!(stage.asked(), 0);
}

#[tokio::test]
async fn r_top_6_other_locations_are_passed_on_and_counted() {
    let stage = Stage::in_order(|_, _| ()).await;
    let port = stage.sim.port();
    let b1 = stage.xsp("b1").address();
    let elsewhere = [
        "https://elsewhere.example.com/".to_owned(),
        format!("https://127.0.0.1:{port}{PROFILE}"),
        format!("http://{b1}{PROFILE}"),
        format!("https://{b1}/webservice/"),
        format!("https://{b1}/dms/"),
        format!("https://{b1}{PROFILE}/../../../../webservice"),
        format!("https://user@{b1}{PROFILE}"),
    ];
    for (index, location) in elsewhere.iter().enumerate() {
        stage.xsp("a1").behave(Behaviour::Redirect(location.clone())).await;
        let answer = stage.client().get(PROFILE).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::FOUND, location.as_str()));
        let passed = stage.metrics().await.count("xspgate_redirects_total", &[("outcome", "passed")]);
        assert_eq!(passed, index as f64 + 1.0, "{location}");
    }
    assert_eq!(client_requests(stage.xsp("b1")), 0);
}

#[tokio::test]
async fn r_top_7_an_xsp_may_have_an_address_and_port_of_its_own() {
    let (stage, raw) = Stage::with(|sim, text| {
        let mut address = sim.address(40);
        address.set_port(0);
        let raw = Raw::start(DOMAIN, address, &sim.pki).unwrap();
        tiers(text, &[raw.address()]);
        raw
    })
    .await;
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "raw");
    assert_eq!(raw.received().len(), 1);
}
