//! A channel's documents, each put into one chunk however the XSP has cut it: to several clients a chunk is a document.
//! Separate from relaying, which leaves every other body as it is.

use crate::broadworks::channel::documents::{Cut, Documents};
use crate::http1::chunked::Event;

/// The body of a channel's stream on its way to the client.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    documents: Documents,
    /// The beginning of a document whose end has not come.
    pending: Vec<u8>,
    chunks: Chunks,
    /// Documents that came in pieces.
    assembled: u64,
}

/// Whose chunks the client gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Chunks {
    /// One for each document.
    #[default]
    Ours,
    /// The XSP's, from the next one on: these are no documents.
    TheirsNext,
    /// The XSP's.
    Theirs,
}

impl Assembly {
    /// Takes one event of the XSP's body, and gives `out` those of the client's.
    pub(super) fn pass(&mut self, event: Event<'_>, out: &mut impl FnMut(Event<'_>)) {
        match (event, self.chunks) {
            (Event::Data(bytes), Chunks::Ours) => self.gather(bytes, out),
            (Event::Data(bytes), Chunks::TheirsNext) => chunk(bytes, out),
            (Event::Chunk(_) | Event::ChunkEnd, Chunks::Ours) | (Event::ChunkEnd, Chunks::TheirsNext) => {}
            (Event::Chunk(size), Chunks::TheirsNext) => {
                self.chunks = Chunks::Theirs;
                out(Event::Chunk(size));
            }
            (Event::End(trailers), _) => {
                chunk(&std::mem::take(&mut self.pending), out);
                out(Event::End(trailers));
            }
            (event @ (Event::Chunk(_) | Event::Data(_) | Event::ChunkEnd), Chunks::Theirs) => out(event),
        }
    }

    /// How many documents have come in pieces since this was last asked.
    pub(super) fn assembled(&mut self) -> u64 {
        std::mem::take(&mut self.assembled)
    }

    fn gather(&mut self, bytes: &[u8], out: &mut impl FnMut(Event<'_>)) {
        if self.pending.is_empty() {
            let left = self.cut(bytes, out);
            self.pending.extend_from_slice(left);
            return;
        }
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let left = self.cut(&pending, out).len();
        if left < pending.len() {
            self.assembled += 1;
            // Nothing is held between documents.
            pending = pending.split_off(pending.len() - left);
        }
        self.pending = pending;
    }

    /// Gives out the whole documents at the front of `bytes`; what is left is not whole.
    fn cut<'b>(&mut self, mut bytes: &'b [u8], out: &mut impl FnMut(Event<'_>)) -> &'b [u8] {
        loop {
            match self.documents.cut(bytes) {
                Cut::Document(length) | Cut::Blank(length) => {
                    let (whole, rest) = bytes.split_at(length);
                    chunk(whole, out);
                    bytes = rest;
                }
                Cut::Incomplete => return bytes,
                Cut::AsIs => {
                    self.chunks = Chunks::TheirsNext;
                    chunk(bytes, out);
                    return &[];
                }
            }
        }
    }
}

fn chunk(bytes: &[u8], out: &mut impl FnMut(Event<'_>)) {
    if !bytes.is_empty() {
        out(Event::Chunk(bytes.len() as u64));
        out(Event::Data(bytes));
        out(Event::ChunkEnd);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http1::head::Fields;

    /// What the client gets for the XSP's chunks, each of which comes in pieces of `size`: its chunks.
    fn chunks(theirs: &[&[u8]], size: usize) -> Vec<Vec<u8>> {
        let mut assembly = Assembly::default();
        let mut ours: Vec<Vec<u8>> = Vec::new();
        let mut announced = Vec::new();
        let mut out = |event: Event<'_>| match event {
            Event::Chunk(size) => {
                announced.push(size);
                ours.push(Vec::new());
            }
            Event::Data(bytes) => ours.last_mut().unwrap().extend_from_slice(bytes),
            Event::ChunkEnd | Event::End(_) => {}
        };
        for chunk in theirs {
            assembly.pass(Event::Chunk(chunk.len() as u64), &mut out);
            for piece in chunk.chunks(size) {
                assembly.pass(Event::Data(piece), &mut out);
            }
            assembly.pass(Event::ChunkEnd, &mut out);
        }
        assembly.pass(Event::End(Fields::default()), &mut out);
        assert_eq!(announced, ours.iter().map(|chunk| chunk.len() as u64).collect::<Vec<_>>());
        ours
    }

    #[test]
    fn a_document_is_a_chunk_however_it_comes() {
        let (first, second) = (b"<?xml version=\"1.0\"?>\n<a><b c='>'/></a>", b"<?xml version=\"1.0\"?>\n<d/>");
        let together = [&first[..], second].concat();
        for size in [1, 2, 7, 1000] {
            assert_eq!(chunks(&[first, second], size), [&first[..], second], "{size}");
            assert_eq!(chunks(&[&together], size), [&first[..], second], "together, {size}");
            assert_eq!(chunks(&[&together[..30], &together[30..50], &together[50..]], size), [&first[..], second]);
        }
    }

    #[test]
    fn what_is_no_document_passes_as_it_comes() {
        let theirs: [&[u8]; 4] = [b"<a/>", b"hello", b"<b/><c/>", b"world"];
        assert_eq!(chunks(&theirs, 1000), theirs);
        let long = vec![b'x'; 70_000];
        let long = [b"<a>", &long[..], b"</a>"].concat();
        let passed = chunks(&[&long, b"<b/><c/>"], 16_384);
        assert_eq!(passed.last().unwrap(), b"<b/><c/>");
        assert_eq!(passed[..passed.len() - 1].concat(), long);
    }

    #[test]
    fn what_is_unfinished_at_the_end_is_not_lost() {
        assert_eq!(chunks(&[b"<a/><b>"], 3), [&b"<a/>"[..], b"<b>"]);
    }

    proptest! {
        #[test]
        fn bytes_are_never_changed(
            theirs in prop::collection::vec(prop::collection::vec(prop::sample::select(b"<a/>&; {}\"x\n!-".to_vec()), 1..40), 0..8),
            size in 1usize..50,
        ) {
            let slices: Vec<&[u8]> = theirs.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(chunks(&slices, size).concat(), theirs.concat());
        }
    }
}
