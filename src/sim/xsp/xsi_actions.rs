//! Xsi-Actions on a simulated XSP: as much of it as a client's day needs.

use http::StatusCode;

use super::answer::{Draft, empty, error_info, html, json, text, xml};
use super::service::Asked;

/// Answers a request below `/com.broadsoft.xsi-actions`.
pub(super) fn answer(asked: &Asked<'_>) -> Draft {
    let (method, words) = asked.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match (method, words.as_slice()) {
        // The test client, which nobody outside should ever see.
        (_, ["test", ..]) => text(StatusCode::OK, "text/html", "<html><body>Xsi test client</body></html>".to_owned()),
        ("GET", ["v2.0", "versions"]) => {
            xml(StatusCode::OK, "<Versions xmlns=\"http://schema.broadsoft.com/xsi\"><version>2.0</version></Versions>")
        }
        ("GET", ["v2.0", "user", _, "profile"]) => profile(asked),
        ("GET", ["v2.0", "user", _, "calls"]) => list("Calls"),
        ("POST", ["v2.0", "user", _, "calls", "new"]) => call_start_info(),
        ("GET", ["v2.0", "user", _, "calls", _]) => list("Call"),
        ("PUT", ["v2.0", "user", _, "calls", _, _]) | ("DELETE", ["v2.0", "user", _, "calls", _]) => empty(),
        ("GET", ["v2.0", "user", _, "directories", ..]) => list("Enterprise"),
        ("GET", ["v2.0", "user", _, "services", ..]) => list("Services"),
        ("PUT" | "POST", ["v2.0", "user", _, "services", ..]) => empty(),
        ("GET", ["v2.0", "user", _, "voicemessagingmessages", ..]) => list("VoiceMessagingMessages"),
        ("OPTIONS", _) => empty(),
        (_, ["v2.0", ..]) => error_info(StatusCode::NOT_FOUND, "Resource not found", "111402"),
        _ => html(StatusCode::NOT_FOUND),
    }
}

fn profile(asked: &Asked<'_>) -> Draft {
    let user = asked.segments[2];
    if user.starts_with("unknown") {
        return error_info(StatusCode::NOT_FOUND, "User not found", "110001");
    }
    if asked.wants_json() {
        return json(StatusCode::OK, format!("{{\"Profile\":{{\"details\":{{\"userId\":{{\"$\":\"{user}\"}}}}}}}}"));
    }
    let element = format!(
        "<Profile xmlns=\"http://schema.broadsoft.com/xsi\"><details><userId>{user}</userId>\
         <firstName>Sim</firstName><lastName>User</lastName></details></Profile>"
    );
    xml(StatusCode::OK, &element)
}

fn list(element: &str) -> Draft {
    xml(StatusCode::OK, &format!("<{element} xmlns=\"http://schema.broadsoft.com/xsi\"/>"))
}

fn call_start_info() -> Draft {
    let element = format!(
        "<CallStartInfo xmlns=\"http://schema.broadsoft.com/xsi\"><callId>callhalf-{}:0</callId>\
         <externalTrackingId>{:x}</externalTrackingId></CallStartInfo>",
        rand::random::<u16>(),
        rand::random::<u64>()
    );
    xml(StatusCode::CREATED, &element)
}
