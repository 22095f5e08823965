//! Durations, sizes and counts, each with the range that makes sense for its key. Separate from other values, because
//! their ranges are part of their types.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Leaf, Refusal, matching, quoted};

/// A duration of `MIN` to `MAX` milliseconds: `"600ms"`, `"2s"`, `"5m"`, `"1h"`, `"1m30s"`, `"1h 30m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time<const MIN: u64, const MAX: u64>(pub Duration);

/// `"off"`, or a duration of `MIN` to `MAX` milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffOrTime<const MIN: u64, const MAX: u64>(pub Option<Duration>);

/// A size of `MIN` to `MAX` bytes: `"512B"`, `"64KiB"`, `"16MiB"`, `"1GiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size<const MIN: u64, const MAX: u64>(pub u64);

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count<const MIN: u64, const MAX: u64>(pub u64);

/// `"off"`, or a whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffOrCount<const MIN: u64, const MAX: u64>(pub Option<u64>);

const TIME_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl<const MIN: u64, const MAX: u64> Leaf for Time<MIN, MAX> {
    fn expected() -> String {
        "a duration such as \"2s\"".into()
    }

    fn schema() -> Value {
        matching(times(MAX))
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        milliseconds(text, MIN, MAX).map(|amount| Self(Duration::from_millis(amount)))
    }

    fn integer(number: i64) -> Result<Self, Refusal> {
        Err(no_time_unit(number))
    }
}

impl<const MIN: u64, const MAX: u64> Leaf for OffOrTime<MIN, MAX> {
    fn expected() -> String {
        "a duration such as \"600ms\", or \"off\"".into()
    }

    fn schema() -> Value {
        matching(format!("off|{}", times(MAX)))
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        match text {
            "off" => Ok(Self(None)),
            _ if time(text).is_none() && meant(text).is_none() => {
                let help = "a whole number and ms, s, m or h, such as \"600ms\" or \"1m30s\"; or \"off\"";
                Err(Refusal::new(format!("{} is not a duration", quoted(text))).help(help))
            }
            _ => milliseconds(text, MIN, MAX).map(|amount| Self(Some(Duration::from_millis(amount)))),
        }
    }

    fn integer(number: i64) -> Result<Self, Refusal> {
        Err(no_time_unit(number))
    }
}

macro_rules! readable {
    ($($name:ident),+) => {$(
        impl<'de, const MIN: u64, const MAX: u64> serde::Deserialize<'de> for $name<MIN, MAX> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                super::leaf(deserializer)
            }
        }
        #[cfg(test)]
        impl<const MIN: u64, const MAX: u64> serde::Serialize for $name<MIN, MAX> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bool(true)
            }
        }
    )+};
}
readable!(Time, OffOrTime, Size, Count, OffOrCount);

fn no_time_unit(number: i64) -> Refusal {
    Refusal::new(format!("the duration {number} has no unit")).help(format!("write \"{number}s\" or \"{number}ms\""))
}

impl<const MIN: u64, const MAX: u64> Leaf for Size<MIN, MAX> {
    fn expected() -> String {
        "a size such as \"64KiB\"".into()
    }

    fn schema() -> Value {
        matching(amounts(MAX, &SIZE_UNITS))
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        let help = "a size is a whole number and B, KiB, MiB or GiB, such as \"64KiB\"";
        let bytes = amount(text, &SIZE_UNITS)
            .ok_or_else(|| Refusal::new(format!("{} is not a size", quoted(text))).help(help))?;
        within(bytes, MIN, MAX, |bytes| shown(bytes, &SIZE_UNITS), quoted(text)).map(Self)
    }

    fn integer(number: i64) -> Result<Self, Refusal> {
        Err(Refusal::new(format!("the size {number} has no unit")).help(format!("write \"{number}B\" for bytes")))
    }
}

impl<const MIN: u64, const MAX: u64> Leaf for Count<MIN, MAX> {
    fn expected() -> String {
        format!("a whole number from {MIN} to {MAX}")
    }

    fn schema() -> Value {
        json!({"type": "integer", "minimum": MIN, "maximum": MAX})
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        let refusal = super::wrong_type::<Self>(&format!("the string {}", quoted(text)));
        match text.parse::<u64>() {
            Ok(number) => Err(refusal.help(format!("write {number} without quotes"))),
            Err(_) => Err(refusal),
        }
    }

    fn integer(number: i64) -> Result<Self, Refusal> {
        let out_of_range =
            || Refusal::new(format!("{number} is out of range")).help(range(MIN, MAX, |n| n.to_string()));
        match u64::try_from(number) {
            Ok(number) if (MIN..=MAX).contains(&number) => Ok(Self(number)),
            Ok(_) | Err(_) => Err(out_of_range()),
        }
    }
}

impl<const MIN: u64, const MAX: u64> Leaf for OffOrCount<MIN, MAX> {
    fn expected() -> String {
        format!("a whole number from {MIN} to {MAX}, or \"off\"")
    }

    fn schema() -> Value {
        json!({"anyOf": [Count::<MIN, MAX>::schema(), super::one_of(["off"])]})
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        if text == "off" {
            return Ok(Self(None));
        }
        let refusal = super::wrong_type::<Self>(&format!("the string {}", quoted(text)));
        Err(match text.parse::<u64>() {
            Ok(number) => refusal.help(format!("write {number} without quotes")),
            Err(_) => refusal,
        })
    }

    fn integer(number: i64) -> Result<Self, Refusal> {
        Count::<MIN, MAX>::integer(number).map(|count| Self(Some(count.0)))
    }
}

fn milliseconds(text: &str, min: u64, max: u64) -> Result<u64, Refusal> {
    let time = time(text).ok_or_else(|| {
        let refusal = Refusal::new(format!("{} is not a duration", quoted(text)));
        refusal.help(match meant(text) {
            Some(time) => format!("write {}", shown(time, &TIME_UNITS)),
            None => "a duration is a whole number and ms, s, m or h, such as \"600ms\" or \"1m30s\"".to_owned(),
        })
    })?;
    within(time, min, max, |time| shown(time, &TIME_UNITS), quoted(text))
}

/// Milliseconds of a duration: numbers with units, the larger ones first, each unit once, with a space between them or none,
/// as systemd writes them.
fn time(text: &str) -> Option<u64> {
    let (mut total, mut units, mut rest) = (0_u64, &TIME_UNITS[..], text);
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let (part, left) = rest.split_at(digits + letters);
        total = total.saturating_add(amount(part, units)?);
        let (unit, more) = (&part[digits..], left.strip_prefix(' ').unwrap_or(left));
        units = &units[units.iter().position(|(name, _)| *name == unit)? + 1..];
        match left {
            "" => return Some(total),
            _ => rest = more,
        }
    }
}

/// Milliseconds of what is not written as a duration, and can't mean anything else: `1.5m`, `30 s`, `5min`, `1d`, `30s1m`.
fn meant(text: &str) -> Option<u64> {
    const UNITS: [(&[&str], u64); 5] = [
        (&["d", "day", "days"], 86_400_000),
        (&["h", "hr", "hrs", "hour", "hours"], 3_600_000),
        (&["m", "min", "mins", "minute", "minutes"], 60_000),
        (&["s", "sec", "secs", "second", "seconds"], 1000),
        (&["ms", "msec", "millisecond", "milliseconds"], 1),
    ];
    let lower = text.trim().to_ascii_lowercase();
    let (mut total, mut rest) = (0.0, lower.as_str());
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, left) = rest.split_at(digits);
        let left = left.trim_start();
        let letters = left.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, left) = left.split_at(letters);
        let (_, factor) = UNITS.iter().find(|(names, _)| names.contains(&unit))?;
        total += number.parse::<f64>().ok()? * Duration::from_millis(*factor).as_secs_f64();
        rest = left.trim_start();
    }
    let millis = Duration::try_from_secs_f64(total).ok()?.as_millis();
    u64::try_from(millis).ok().filter(|millis| *millis > 0)
}

/// Digits and a unit, and nothing else; saturates where the number does not fit.
fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    match number {
        "" => None,
        _ => Some(number.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(*factor)),
    }
}

/// The regular expression of durations.
fn times(max: u64) -> String {
    let part = amounts(max, &TIME_UNITS);
    format!("(({part}) ?)*({part})")
}

/// The regular expression of amounts, without the units that are too large for any; 0 of them fits anyway.
fn amounts(max: u64, units: &[(&str, u64)]) -> String {
    let (small, large): (Vec<_>, Vec<_>) = units.iter().partition(|(_, factor)| *factor <= max);
    let names = |units: Vec<&(&str, u64)>| units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join("|");
    match large.is_empty() {
        true => format!("[0-9]+({})", names(small)),
        false => format!("[0-9]+({})|0+({})", names(small), names(large)),
    }
}

/// The amount in the largest unit that it is a multiple of.
fn shown(amount: u64, units: &[(&str, u64)]) -> String {
    let (unit, factor) = units
        .iter()
        .find(|(_, factor)| amount >= *factor && amount.is_multiple_of(*factor))
        .or(units.last())
        .expect("there are units");
    format!("\"{}{unit}\"", amount / factor)
}

/// A duration as it is written in the file; less than a millisecond is cut off.
pub fn shown_time(time: Duration) -> String {
    shown(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), &TIME_UNITS)
}

/// A size as it is written in the file.
pub fn shown_size(bytes: u64) -> String {
    shown(bytes, &SIZE_UNITS)
}

fn within(value: u64, min: u64, max: u64, show: impl Fn(u64) -> String, text: String) -> Result<u64, Refusal> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(Refusal::new(format!("{text} is out of range")).help(range(min, max, show)))
}

fn range(min: u64, max: u64, show: impl Fn(u64) -> String) -> String {
    format!("at least {}, at most {}", show(min), show(max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_a_range() {
        type T = Time<10, 7_200_000>;
        let good = [("10ms", 10), ("2s", 2000), ("600ms", 600), ("5m", 300_000), ("1h", 3_600_000), ("007s", 7000)];
        let composed = [("1m30s", 90_000), ("1h 30m", 5_400_000), ("1s500ms", 1500), ("1h 0m 1s", 3_601_000)];
        for (text, expected) in good.into_iter().chain(composed) {
            assert_eq!(T::text(text).unwrap().0.as_millis(), expected, "{text}");
        }
        let bad =
            ["", "2", "s", "-2s", "+2s", "٢s", "0x1s", "1h  30m", "1m ", " 1m", "1m1m", "1m,30s", "1.2.3s", "2h-1m"];
        for text in bad {
            assert!(T::text(text).unwrap_err().message.contains("is not a duration"), "{text}");
        }
        let nearly = [
            ("2 s", "2s"),
            ("1.5m", "90s"),
            ("2S", "2s"),
            ("2sec", "2s"),
            ("5min", "5m"),
            ("2 hours", "2h"),
            ("30s1m", "90s"),
            ("1 min 30 sec", "90s"),
            ("1d", "24h"),
        ];
        for (text, expected) in nearly {
            assert_eq!(T::text(text).unwrap_err().help.unwrap(), format!("write {expected:?}"), "{text}");
            assert_eq!(OffOrTime::<1, 9>::text(text).unwrap_err().help.unwrap(), format!("write {expected:?}"));
        }
        for text in ["9ms", "0s", "3h", "99999999999999999999h"] {
            let refusal = T::text(text).unwrap_err();
            assert_eq!(refusal.message, format!("{text:?} is out of range"));
            assert_eq!(refusal.help.unwrap(), "at least \"10ms\", at most \"2h\"");
        }
        assert_eq!(T::integer(2).unwrap_err().help.unwrap(), "write \"2s\" or \"2ms\"");
        assert_eq!(OffOrTime::<1, 9>::text("off").unwrap().0, None);
        assert!(OffOrTime::<1, 9>::text("none").unwrap_err().help.unwrap().ends_with("or \"off\""));
    }

    #[test]
    fn sizes_have_a_unit_and_a_range() {
        type S = Size<512, { 1 << 30 }>;
        for (text, expected) in [("512B", 512), ("64KiB", 65536), ("1MiB", 1 << 20), ("1GiB", 1 << 30)] {
            assert_eq!(S::text(text).unwrap().0, expected, "{text}");
        }
        for text in ["", "64", "64K", "64KB", "64kib", "1.5MiB", " 64KiB", "-1B"] {
            assert!(S::text(text).unwrap_err().message.contains("is not a size"), "{text}");
        }
        for text in ["511B", "2GiB", "99999999999999999999GiB"] {
            assert_eq!(S::text(text).unwrap_err().help.unwrap(), "at least \"512B\", at most \"1GiB\"", "{text}");
        }
    }

    #[test]
    fn counts_have_a_range() {
        type C = Count<1, 10>;
        assert_eq!(C::integer(10).unwrap().0, 10);
        for number in [0, 11, -1, i64::MIN, i64::MAX] {
            assert_eq!(C::integer(number).unwrap_err().help.unwrap(), "at least 1, at most 10");
        }
        assert_eq!(C::text("3").unwrap_err().help.unwrap(), "write 3 without quotes");
        type O = OffOrCount<1, 10>;
        assert_eq!((O::text("off").unwrap().0, O::integer(10).unwrap().0), (None, Some(10)));
        assert_eq!(O::integer(0).unwrap_err().help.unwrap(), "at least 1, at most 10");
        assert_eq!(O::text("3").unwrap_err().help.unwrap(), "write 3 without quotes");
        assert!(O::text("none").unwrap_err().message.contains("or \"off\", found the string \"none\""));
    }
}
