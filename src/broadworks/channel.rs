//! Xsi event channels: their ids, and (in the modules below) what stands on their streams. Separate from the table of
//! channels, because this is BroadWorks' own knowledge and that one is about time.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::sync::Arc;

pub mod documents;
pub mod event;
pub mod finder;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod json;
mod search;
mod xml;

/// The most characters of an id.
const LONGEST_ID: usize = 256;

/// The id of an event channel, as an XSP gave it out. Cheap to clone; case matters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ChannelId(Arc<[u8]>);

impl ChannelId {
    /// `None` for what is no id: nothing at all, more than 256 characters, or a control among them. Bytes that are not
    /// UTF-8 are taken for ISO-8859-1, so that an id is the same on a stream of either encoding and in a path.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        id(bytes).map(Self)
    }

    /// The id in UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// For look-ups without an id at hand.
impl Borrow<[u8]> for ChannelId {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelId({:?})", String::from_utf8_lossy(&self.0))
    }
}

/// What an id is made of, in UTF-8.
fn id(bytes: &[u8]) -> Option<Arc<[u8]>> {
    let text = text(bytes);
    let fits = (1..=LONGEST_ID).contains(&text.chars().take(LONGEST_ID + 1).count());
    (fits && !text.chars().any(char::is_control)).then(|| text.as_bytes().into())
}

/// ISO-8859-1 if it is no UTF-8.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_up_to_256_characters_and_case() {
        assert_ne!(ChannelId::new(b"a"), ChannelId::new(b"A"));
        assert_eq!(ChannelId::new(b""), None);
        for character in ["a", "\u{e9}", "\u{1f4de}"] {
            assert_eq!(
                ChannelId::new(character.repeat(256).as_bytes()).unwrap().as_bytes(),
                character.repeat(256).as_bytes()
            );
            assert_eq!(ChannelId::new(character.repeat(257).as_bytes()), None);
        }
        assert_eq!(ChannelId::new(&[0xe9; 256]), ChannelId::new("\u{e9}".repeat(256).as_bytes()));
        assert_eq!(size_of::<Option<ChannelId>>(), 16);
    }
}
