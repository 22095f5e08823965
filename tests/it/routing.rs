//! What is served to whom: interfaces by path, hosts by SNI and Host, clients by address. What is not served touches no XSP.

use http::{Method, StatusCode};
use xspgate::sim::site::{APP, CLOUD, Simulation, Text};

use crate::harness::{PROFILE, Stage, body, request};

/// Each target gets this status, and no XSP hears of it.
async fn is_refused(stage: &Stage, targets: &[&str], status: u16) {
    let mut client = stage.raw_client().await;
    for target in targets {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {CLOUD}\r\nConnection: close\r\n\r\n")).await;
        let received = client.until_closed().await;
        assert_eq!(received.status(), status, "{target}: {}", received.text());
        client = stage.raw_client().await;
    }
    assert_eq!(stage.asked(), 0);
}

#[tokio::test]
async fn what_is_no_interface_is_404() {
    let stage = Stage::start().await;
    let targets = [
        "/",
        "/webservice/services/ProvisioningService",
        "/com.broadsoft.xsi-actionsX/v2.0/versions",
        "/com.broadsoft.xsi-action/v2.0/versions",
        "/x/com.broadsoft.xsi-actions/v2.0/versions",
        "/authServiceX",
        "/authService2/token",
        "/NotificationPushServer/",
        "/Login/",
        "/dmsx/",
        "/metrics",
        "/com.broadsoft.xsi-actions/test",
        "/com.broadsoft.xsi-actions/test/",
        "/com.broadsoft.xsi-actions/test/index.html",
        "/Com.Broadsoft.XSI-Actions/TEST/",
    ];
    is_refused(&stage, &targets, 404).await;
}

#[tokio::test]
async fn what_reads_two_ways_is_400() {
    let stage = Stage::start().await;
    let targets = [
        "//com.broadsoft.xsi-actions/v2.0/versions",
        "/com.broadsoft.async/../com.broadsoft.xsi-actions//v2.0/versions",
        "/com.broadsoft.xsi-actions//test/",
        "/com.broadsoft.xsi-actions/;x/test/index.html",
        "/com.broadsoft.xsi-actions/test;x=y/index.html",
        "/com.broadsoft.xsi-actions/t%2565st/",
        "/com.broadsoft.xsi-actions/..;x=1/webservice/",
        "/com.broadsoft.xsi-actions/a;../webservice/",
        "/com.broadsoft.xsi-actions/.;x/v2.0/",
        "/com.broadsoft.xsi-actions//..//webservice/",
        "/com.broadsoft.xsi-actions/../webservice/",
        "/com.broadsoft.xsi-actions/./v2.0/versions",
        "/com.broadsoft.xsi-actions/..",
        "/com.broadsoft.xsi-actions/%2e%2e/webservice/",
        "/com.broadsoft.xsi-actions/.%2E/webservice/",
        "/com.broadsoft.xsi-actions/..%2fwebservice/",
        "/com.broadsoft.xsi-actions/%5c../webservice/",
        "/com.broadsoft.xsi-actions/..\\webservice/",
        "/com.broadsoft.xsi-actions/..;/webservice/",
        "/com.broadsoft.xsi-actions;x=y/v2.0/versions",
        "/com.broadsoft.xsi-actions%3b/v2.0/versions",
        "/com.broadsoft.xsi-actions/v2.0/%00",
        "/com.broadsoft.xsi-actions/v2.0/%0d%0aX:y",
        "/com.broadsoft.xsi-actions/%252e%252e/webservice/",
        "/com.broadsoft.xsi-actions/%252fx",
        "/com.broadsoft.xsi-actions/%zz",
        "/com.broadsoft.xsi-actions/%2",
        "//dms/x",
        "/;x/dms/x",
    ];
    is_refused(&stage, &targets, 400).await;
}

#[tokio::test]
async fn what_is_matched_is_what_is_forwarded() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let targets = [
        "/com.broadsoft.xsi-actions/v2.0/user/a%40b.example/profile",
        "/com.broadsoft.xsi-actions/v2.0/user/a@b/directories/x?start=1&results=50&lastName=*/i&a=b/../c//d;e%2e",
        "/COM.Broadsoft.XSI-actions/V2.0/Versions",
        "/com.broadsoft.xsi-actions/v2.0/user/a%20b/calls/callhalf-1:2",
        "/authService",
        "/AUTHSERVICE/token?key=%2F%2e",
        "/dms/bc/pc/config.xml?",
        "/callsettings/~x!$&'()*+,=:@_-.y",
        "/com.broadsoft.async/com.broadsoft.xsi-events/v2.0/x",
    ];
    let mut client = stage.raw_client().await;
    for target in targets {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
        let received = client.until_tail("ok").await;
        assert_eq!(received.status(), 200, "{target}: {}", received.text());
        let seen = String::from_utf8(raw.all_received()).unwrap();
        assert!(seen.contains(&format!("GET {target} HTTP/1.1\r\n")), "{target}: {seen}");
    }
}

#[tokio::test]
async fn paths_of_an_interface_can_be_the_operators_own() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[https.interface.xsi-actions]", "paths", vec!["/my-xsi/".to_owned()]);
    })
    .await;
    assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::NOT_FOUND);
    assert_eq!(stage.client().get("/my-xsi/test/").await.status, StatusCode::NOT_FOUND);
    assert_eq!(stage.asked(), 0);
    // The simulated XSP has no such context: its own 404 shows that it was asked.
    let answer = stage.client().get("/My-Xsi/v2.0/versions").await;
    assert_ne!(answer.xsp(), "");
}

#[tokio::test]
async fn an_interface_that_is_not_listed_is_404() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[[https]]", "interfaces", vec!["xsi-actions".to_owned()]);
    })
    .await;
    assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::OK);
    assert_eq!(stage.client().get("/dms/").await.status, StatusCode::NOT_FOUND);
    assert_eq!(stage.asked(), 1);
}

#[tokio::test]
async fn r_fw_1_who_is_not_allowed_is_403() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[[https]]", "allow", vec!["127.0.0.8/29".to_owned(), "webex-usa".to_owned()]);
        let only = vec!["127.0.0.9".to_owned()];
        text.set("[https.interface.auth-service]", "allow", only);
    })
    .await;
    let token = "/authService/token/alice";
    let cases = [
        ([127, 0, 0, 1], PROFILE, 403),
        ([127, 0, 0, 1], token, 403),
        ([127, 0, 0, 8], PROFILE, 200),
        ([127, 0, 0, 8], token, 403),
        ([127, 0, 0, 9], token, 200),
        ([127, 0, 0, 16], PROFILE, 403),
    ];
    for (from, target, status) in cases {
        let answer = stage.client().from(from).get(target).await;
        assert_eq!(answer.status.as_u16(), status, "{from:?} {target}");
    }
    assert_eq!(stage.asked(), 2);
}

#[tokio::test]
async fn r_fw_1_no_header_makes_a_client_somebody_else() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[[https]]", "allow", vec!["192.0.2.0/24".to_owned()]);
    })
    .await;
    let mut disguised = request(Method::GET, PROFILE, body(""));
    for name in ["x-forwarded-for", "x-real-ip", "forwarded", "x_forwarded_for"] {
        disguised.headers_mut().insert(name, "192.0.2.7".parse().unwrap());
    }
    assert_eq!(stage.client().send(disguised).await.status, StatusCode::FORBIDDEN);
    assert_eq!(stage.asked(), 0);
}

/// A second block for the app alone, on the same address.
fn two_blocks(sim: &Simulation, text: &mut Text) {
    let address = sim.address(60).to_string();
    text.set("[[https]]", "listen", vec![address.clone()]).set("[[https]]", "hosts", vec![CLOUD.to_owned()]);
    Simulation::serve(text);
    text.set("[[https]]", "listen", vec![address]).set("[[https]]", "hosts", vec![APP.to_owned()]);
    text.set("[[https]]", "interfaces", vec!["dms".to_owned()]);
}

#[tokio::test]
async fn blocks_that_share_an_address_are_told_apart_by_sni() {
    let (stage, ()) = Stage::with(two_blocks).await;
    assert_eq!(stage.gateway.all_https().len(), 1);
    assert_eq!(stage.client().host(CLOUD).get(PROFILE).await.status, StatusCode::OK);
    assert_eq!(stage.client().host(APP).get(PROFILE).await.status, StatusCode::NOT_FOUND);
    assert_eq!(stage.client().host(APP).get("/dms/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_host_that_is_not_the_blocks_is_421() {
    let (stage, ()) = Stage::with(two_blocks).await;
    let cases = [
        (CLOUD, CLOUD.to_owned(), 200),
        (CLOUD, CLOUD.to_uppercase(), 200),
        (CLOUD, format!("{CLOUD}:{}", stage.gateway.https().port()), 200),
        (CLOUD, APP.to_owned(), 421),
        (CLOUD, "other.example.com".to_owned(), 421),
        (CLOUD, format!("{CLOUD}.evil.example"), 421),
        (CLOUD, "127.0.0.1".to_owned(), 421),
    ];
    for (sni, named, status) in cases {
        let asked = stage.asked();
        let answer = stage.client().host(sni).named(&named).get(PROFILE).await;
        assert_eq!(answer.status.as_u16(), status, "{sni} {named}");
        assert_eq!(stage.asked() - asked, usize::from(status == 200), "{sni} {named}");
    }
}
