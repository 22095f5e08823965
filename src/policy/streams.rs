//! The kinds of connections that live long. Separate from those who serve them, because control calls, processes and metrics
//! have to mean the same.

use serde::{Deserialize, Serialize};

/// What lives long at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StreamKind {
    /// An event channel.
    Channel,
    /// A CTI connection.
    Cti,
    /// A connection that passes through.
    Passthrough,
}

impl StreamKind {
    /// In the order of their values.
    pub const ALL: [Self; 3] = [Self::Channel, Self::Cti, Self::Passthrough];

    /// So many of each kind, for people; `None`: there is none.
    pub fn in_words(streams: [u64; Self::ALL.len()]) -> Option<String> {
        let counted = Self::ALL.iter().zip(streams).filter(|(_, count)| *count > 0);
        let mut words: Vec<_> = counted
            .map(|(kind, count)| format!("{count} {}{}", kind.noun(), if count == 1 { "" } else { "s" }))
            .collect();
        let last = words.pop()?;
        Some(if words.is_empty() { last } else { format!("{} and {last}", words.join(", ")) })
    }

    const fn noun(self) -> &'static str {
        match self {
            Self::Channel => "event channel",
            Self::Cti => "CTI connection",
            Self::Passthrough => "pass-through connection",
        }
    }

    /// A word for people, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Cti => "cti",
            Self::Passthrough => "passthrough",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_counted_in_english() {
        let table: [([u64; 3], Option<&str>); 4] = [
            ([0, 0, 0], None),
            ([1, 0, 0], Some("1 event channel")),
            ([0, 1, 2], Some("1 CTI connection and 2 pass-through connections")),
            ([2, 3, 1], Some("2 event channels, 3 CTI connections and 1 pass-through connection")),
        ];
        for (streams, words) in table {
            assert_eq!(StreamKind::in_words(streams).as_deref(), words);
        }
    }
}
