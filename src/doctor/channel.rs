//! An event channel and its heartbeat, as the app has them (R-AFF-2, R-AFF-3). The one check that leaves a trace for a
//! moment, and that needs credentials: the channel is deleted again, and expires by itself if that fails.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;

use super::ask::{Ask, ask, open};
use super::door::Door;
use super::finding::{Finding, Subject};
use super::verdict::affinity::returned;
use crate::broadworks::channel::finder::{Finder, Found};

/// A BroadWorks user, to try event channels with.
#[derive(Clone)]
pub struct Login {
    authorization: String,
}

impl Login {
    /// Basic authentication.
    pub fn new(user: &str, password: &str) -> Self {
        Self { authorization: format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))) }
    }
}

/// Shows nothing: it is all secret.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}

/// Where Xsi-Events is, as its clients call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contexts {
    /// Such as `/com.broadsoft.xsi-events`.
    pub(super) events: String,
    /// What stands before it where streams are opened, such as `/com.broadsoft.async`.
    pub(super) streams: String,
}

/// Opens a channel, sends a heartbeat, deletes the channel.
pub(super) async fn check(door: &Door, host: &str, contexts: &Contexts, login: &Login, subject: &mut Subject) {
    const CHECK: &str = "channel";
    let Contexts { events, streams } = contexts;
    let (target, body) = (format!("{streams}{events}/v2.0/channel"), document());
    let authorization = ("Authorization", login.authorization.clone());
    let opening = Ask { method: Method::POST, path: &target, host, fields: vec![authorization.clone()], body: &body };
    let (answer, mut stream) = match open(door, &opening).await {
        Ok(opened) => opened,
        Err(trouble) => {
            let help = "an answer must begin at once: see the XSPs' logs, and whether something buffers it";
            return subject.add(Finding::fail(CHECK, format!("POST {target}: {trouble}"), help));
        }
    };
    if answer.status != 200 {
        return subject.add(refused(answer.status, &target));
    }
    let mut finder = Finder::new();
    let told = stream.until(|bytes| match finder.read(bytes) {
        Found::Searching => None,
        Found::Id(id) => Some(Some(id)),
        Found::GivenUp => Some(None),
    });
    let Some(Some(id)) = told.await else {
        let help = "the first document holds it, and must come at once: does something before the XSPs buffer?";
        return subject.add(Finding::fail(CHECK, format!("200 from {target}, and no channelId on its stream"), help));
    };
    subject.add(Finding::ok(CHECK, format!("opened after {} ms", answer.took.as_millis())));
    let id = String::from_utf8_lossy(&escaped(id.as_bytes())).into_owned();
    let mut fields = vec![authorization];
    fields.extend(returned(&answer.cookies).map(|cookies| ("Cookie", cookies)));
    let beat = format!("{events}/v2.0/channel/{id}/heartbeat");
    let heartbeat = Ask { method: Method::PUT, path: &beat, host, fields: fields.clone(), body: "" };
    subject.add(match ask(door, &heartbeat).await {
        Ok(answer) => pulse(answer.status),
        Err(trouble) => Finding::fail("heartbeat", trouble.to_string(), LANDED),
    });
    let echoed = stream.until(|bytes| memchr::memmem::find(bytes, b"ChannelHeartBeat").map(drop));
    if echoed.await.is_none() {
        let help = "what an XSP sends on a stream must arrive at once: does something before the XSPs buffer?";
        subject.add(Finding::warn("stream", "the heartbeat did not show on the channel's stream", help));
    } else {
        subject.add(Finding::ok("stream", "the heartbeat showed on the channel's stream"));
    }
    let gone = format!("{events}/v2.0/channel/{id}");
    let deletion = Ask { method: Method::DELETE, path: &gone, host, fields, body: "" };
    match ask(door, &deletion).await {
        Ok(answer) if answer.status < 300 => {}
        Ok(_) | Err(_) => {
            let help = "nothing needs to be done: it expires within minutes";
            subject.add(Finding::warn(CHECK, "the channel could not be deleted again", help));
        }
    }
}

const LANDED: &str = "a heartbeat must reach the XSP that holds its channel (R-AFF-2): see the `affinity` check, and \
                      what is between Webex and the gateway";

fn pulse(status: u16) -> Finding {
    const CHECK: &str = "heartbeat";
    match status {
        200 => Finding::ok(CHECK, "200"),
        404 => Finding::fail(CHECK, "404: it came to an XSP that does not hold the channel", LANDED),
        status => Finding::fail(CHECK, format!("{status}, where 200 would be right"), LANDED),
    }
}

fn refused(status: u16, target: &str) -> Finding {
    let found = format!("{status} from {target}");
    let help = match status {
        401 | 403 => "is that user's name and password right, and may the user use Xsi-Events?",
        404 => "is Xsi-Events served there, /com.broadsoft.async/ included?",
        503 => "the XSPs or the gateway's channel_rate take no more channels at the moment",
        _ => "see the XSPs' logs",
    };
    Finding::fail("channel", found, help)
}

/// A channel set of an application of its own, so that it ends nobody's channel, that of another check included.
fn document() -> String {
    let id = format!("xspgate-doctor-{:032x}", rand::random::<u128>());
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Channel xmlns=\"http://schema.broadsoft.com/xsi\">\
         <channelSetId>{id}</channelSetId><priority>1</priority><weight>50</weight><expires>300</expires>\
         <applicationId>{id}</applicationId></Channel>"
    )
}

/// As it may stand in a path.
fn escaped(id: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:@".contains(byte);
    id.iter().flat_map(|byte| if plain(byte) { vec![*byte] } else { format!("%{byte:02X}").into_bytes() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Standing;

    #[test]
    fn a_login_is_never_shown() {
        let login = Login::new("alice@example.com", "secret");
        assert_eq!(format!("{login:?}"), "Login");
        assert_eq!(login.authorization, "Basic YWxpY2VAZXhhbXBsZS5jb206c2VjcmV0");
    }

    #[test]
    fn r_aff_2_a_heartbeat_that_lands_elsewhere_fails() {
        assert_eq!(pulse(200).standing, Standing::Ok);
        assert!(pulse(404).found.contains("does not hold"));
        assert_eq!(pulse(500).standing, Standing::Fail);
        assert!(refused(401, "/x").help.unwrap().contains("password"));
    }

    #[test]
    fn an_id_stands_in_a_path() {
        assert_eq!(escaped(b"0f-1:a/b c\xe9"), b"0f-1:a%2Fb%20c%E9");
        assert!(document() != document());
    }
}
