//! What a log line looks like for programs. Separate from where lines go, because it is the same frame that the access log's
//! lines have: anyone who reads the stream meets one time, one level and one set of names.

use std::error::Error;
use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::access::timestamp;
use super::json::Object;

/// One JSON object a line.
#[derive(Debug)]
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Vec::new();
        let metadata = event.metadata();
        let mut object = Object::line(&mut line, timestamp(), metadata.level().as_str(), metadata.target());
        event.record(&mut Fields(&mut object));
        drop(object);
        line.push(b'\n');
        writer.write_str(str::from_utf8(&line).map_err(|_| fmt::Error)?)
    }
}

/// Puts the fields of an event into an object, the message among them.
struct Fields<'a, 'b>(&'a mut Object<'b>);

impl Visit for Fields<'_, '_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        match value.is_finite() {
            true => self.0.shown_number(field.name(), format_args!("{value:?}")),
            // JSON has no such number.
            false => self.0.text(field.name(), &value.to_string()),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.shown_number(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.number(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.truth(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.text(field.name(), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.0.text(field.name(), &chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.text(field.name(), &format!("{value:?}"));
    }
}

/// What happened, and what was behind it, unless that has been said already.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    for cause in causes.map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use serde_json::{Value, json};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::lock::Locked;

    #[derive(Clone, Default)]
    struct Taken(Arc<Locked<Vec<u8>>>);

    impl io::Write for Taken {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.with(|taken| taken.extend_from_slice(bytes));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the name can't be looked up")]
    struct Outer(#[source] io::Error);

    #[test]
    fn an_event_has_the_common_frame_and_its_own_fields() {
        let taken = Taken::default();
        let writer = taken.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).event_format(Json);
        let error = Outer(io::ErrorKind::ConnectionRefused.into());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let error = &error as &(dyn Error + 'static);
            let (name, missing) = ("a \"b\"\u{9b}", None::<u32>);
            tracing::warn!(
                name,
                missing,
                kept = 3,
                less = -2,
                share = 0.5,
                none = f64::NAN,
                is = true,
                error,
                "odd {name}"
            );
        });
        let line = taken.0.with(|taken| String::from_utf8(taken.clone()).unwrap());
        assert!(line.is_ascii() && line.ends_with("}\n"), "{line:?}");
        let mut event: Value = serde_json::from_str(&line).unwrap();
        let time = event["time"].take();
        let time = time.as_str().unwrap();
        assert!(time.len() == 27 && time.starts_with("20") && time.ends_with('Z'), "{time}");
        let expected = json!({
            "time": null, "level": "WARN", "target": "xspgate::telemetry::format::tests",
            "message": "odd a \"b\"\u{9b}", "name": "a \"b\"\u{9b}", "kept": 3, "less": -2, "share": 0.5, "none": "NaN",
            "is": true, "error": "the name can't be looked up: connection refused",
        });
        assert_eq!(event, expected);
    }
}
