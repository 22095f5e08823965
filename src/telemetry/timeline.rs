//! What has happened lately, for people who look: blocks, changes of DNS, reloads, drains. Separate from the log, which has
//! them too, because the log is elsewhere when somebody looks at the status page.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::lock::Locked;

/// Events that are kept; older ones are forgotten.
pub const KEPT: usize = 200;
/// Characters of an event's text that are kept.
const LONGEST: usize = 500;

/// The latest events of the process; cheap to clone, and to add to: never for each request.
#[derive(Clone, Debug)]
pub struct Timeline(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Locked<State>,
    /// How many events there ever were.
    news: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// Oldest first.
    events: VecDeque<Event>,
    read: Option<Event>,
}

/// One thing that has happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, in seconds since 1970.
    pub time: f64,
    /// What.
    pub kind: Kind,
    /// In which farm, if in one.
    pub farm: Option<String>,
    /// To which endpoint, as `address:port`, if to a single one.
    pub endpoint: Option<String>,
    /// What there is to add, for people; may be empty.
    pub text: String,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The process has begun to serve.
    Started,
    /// The same, in the place of another process.
    TookOver,
    /// That process, which had drained since, is gone.
    PredecessorGone,
    /// An endpoint failed, and is left out for a while.
    Blocked,
    /// It answers again, or was taken off the blocklist by an operator.
    Unblocked,
    /// It stays blocked, and its streams are ended.
    GivenUp,
    /// No XSP of a farm is up any more.
    FarmDown,
    /// One is up again.
    FarmUp,
    /// Discovery names an endpoint that was not known.
    Found,
    /// Discovery names it no more.
    Left,
    /// Discovery names it again.
    Returned,
    /// The configuration drains it, or an operator.
    Draining,
    /// Nobody drains it any more.
    Undrained,
    /// It is leaving, and holds no event channel and no connection any more.
    Vacated,
    /// It left, and nobody misses it.
    Forgotten,
    /// Look-ups of a name have begun to fail.
    LookupFails,
    /// They work again.
    LookupWorks,
    /// A configuration is in use that was read while everything ran.
    Reloaded,
    /// It can't be used, and the previous one is in use.
    ReloadRefused,
    /// Certificates, keys or CAs are in use that were read while everything ran.
    Renewed,
    /// They can't be used, and the previous ones are in use.
    RenewalRefused,
    /// The process is on its way to its end.
    Stopping,
}

impl Kind {
    /// Whether it is what came of reading files again.
    const fn is_of_reading(self) -> bool {
        matches!(self, Self::Reloaded | Self::ReloadRefused | Self::Renewed | Self::RenewalRefused)
    }
}

impl Event {
    /// It happens now, to the gateway as a whole.
    pub fn now(kind: Kind, text: impl Into<String>) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { time: since.as_secs_f64(), kind, farm: None, endpoint: None, text: clipped(text.into()) }
    }

    /// It happens in `farm`.
    pub fn of_farm(mut self, farm: &str) -> Self {
        self.farm = Some(farm.to_owned());
        self
    }

    /// It happens to the endpoint that is called so.
    pub fn of_endpoint(mut self, endpoint: &str) -> Self {
        self.endpoint = Some(endpoint.to_owned());
        self
    }
}

impl Default for Timeline {
    /// Nothing has happened yet.
    fn default() -> Self {
        Self(Arc::new(Inner { state: Locked::default(), news: watch::Sender::new(0) }))
    }
}

impl Timeline {
    /// Takes note of `event`, and wakes those who wait for news.
    pub fn add(&self, event: Event) {
        self.0.state.with(|state| {
            if event.kind.is_of_reading() {
                state.read = Some(event.clone());
            }
            if state.events.len() == KEPT {
                state.events.pop_front();
            }
            state.events.push_back(event);
        });
        self.0.news.send_modify(|count| *count += 1);
    }

    /// The events that are kept, newest first.
    pub fn latest(&self) -> Vec<Event> {
        self.0.state.with(|state| state.events.iter().rev().cloned().collect())
    }

    /// What came last of reading files again, however long ago.
    pub fn last_read(&self) -> Option<Event> {
        self.0.state.with(|state| state.read.clone())
    }

    /// When an endpoint of `farm` was blocked that has not been unblocked since, in seconds since 1970; none if that is not
    /// among the events that are kept.
    pub fn blocked_at(&self, farm: &str, endpoint: &str) -> Option<f64> {
        let concerns = |event: &&Event| {
            matches!(event.kind, Kind::Blocked | Kind::Unblocked)
                && event.farm.as_deref() == Some(farm)
                && event.endpoint.as_deref() == Some(endpoint)
        };
        self.0.state.with(|state| {
            let last = state.events.iter().rev().find(concerns)?;
            (last.kind == Kind::Blocked).then_some(last.time)
        })
    }

    /// Changes with every event.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.0.news.subscribe()
    }
}

fn clipped(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_events_are_kept_newest_first() {
        let timeline = Timeline::default();
        for index in 0..KEPT + 7 {
            timeline.add(Event::now(Kind::Blocked, index.to_string()).of_farm("xsp").of_endpoint("192.0.2.1:443"));
        }
        let texts: Vec<_> = timeline.latest().into_iter().map(|event| event.text).collect();
        assert_eq!((texts.len(), texts[0].as_str(), texts[KEPT - 1].as_str()), (KEPT, "206", "7"));
    }

    #[test]
    fn a_block_is_known_until_it_is_over() {
        let timeline = Timeline::default();
        let add = |kind, farm: &str, endpoint: &str| {
            let event = Event { time: 7.0, ..Event::now(kind, "") };
            timeline.add(event.of_farm(farm).of_endpoint(endpoint));
        };
        let blocked_at = || timeline.blocked_at("xsp", "192.0.2.1:443");
        add(Kind::Blocked, "cti", "192.0.2.1:443");
        add(Kind::Blocked, "xsp", "192.0.2.2:443");
        assert_eq!(blocked_at(), None);
        add(Kind::Blocked, "xsp", "192.0.2.1:443");
        add(Kind::Draining, "xsp", "192.0.2.1:443");
        add(Kind::Unblocked, "xsp", "192.0.2.2:443");
        assert_eq!(blocked_at(), Some(7.0));
        add(Kind::Unblocked, "xsp", "192.0.2.1:443");
        assert_eq!(blocked_at(), None);
    }

    #[test]
    fn what_came_of_reading_files_is_known_for_good() {
        let timeline = Timeline::default();
        assert_eq!(timeline.last_read(), None);
        timeline.add(Event::now(Kind::Reloaded, "first"));
        timeline.add(Event::now(Kind::RenewalRefused, "second"));
        (0..KEPT).for_each(|_| timeline.add(Event::now(Kind::Found, "")));
        assert!(timeline.latest().iter().all(|event| event.kind == Kind::Found));
        assert_eq!(timeline.last_read().unwrap().text, "second");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = Event::now(Kind::ReloadRefused, "ä".repeat(LONGEST + 1)).text;
        assert_eq!(text, format!("{}…", "ä".repeat(LONGEST)));
        assert_eq!(Event::now(Kind::ReloadRefused, "ä".repeat(LONGEST)).text, "ä".repeat(LONGEST));
    }

    #[tokio::test]
    async fn an_event_is_news() {
        let timeline = Timeline::default();
        let mut news = timeline.news();
        assert!(!news.has_changed().unwrap());
        timeline.add(Event::now(Kind::Started, ""));
        news.changed().await.unwrap();
        assert!(!news.has_changed().unwrap());
    }
}
