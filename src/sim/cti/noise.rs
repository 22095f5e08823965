//! Bytes in bulk that are told apart from each other wherever they are cut, and the hash by which they are compared. Separate
//! from who sends them, because both sides do.

use aws_lc_rs::digest::{Context, SHA256};

/// A prime, so that no block or record has its length.
const PERIOD: usize = 1_048_573;

/// A stream of bytes without structure; all of them are the same.
#[derive(Clone, Debug)]
pub struct Noise {
    period: Vec<u8>,
    next: usize,
}

impl Noise {
    /// The stream from its beginning.
    pub fn new() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        let mut period: Vec<u8> = (0..PERIOD.div_ceil(8)).flat_map(next).collect();
        period.truncate(PERIOD);
        Self { period, next: 0 }
    }

    /// The next bytes: at least one, and at most `most`.
    pub fn take(&mut self, most: u64) -> &[u8] {
        let rest = PERIOD - self.next;
        let length = usize::try_from(most).map_or(rest, |most| most.min(rest));
        let begin = self.next;
        self.next = (begin + length) % PERIOD;
        &self.period[begin..begin + length]
    }

    /// SHA-256 of the first `length` bytes.
    pub fn digest(length: u64) -> [u8; 32] {
        let (mut noise, mut hasher, mut left) = (Self::new(), Hasher::new(), length);
        while left > 0 {
            let piece = noise.take(left);
            hasher.update(piece);
            left -= piece.len() as u64;
        }
        hasher.digest()
    }
}

impl Default for Noise {
    fn default() -> Self {
        Self::new()
    }
}

/// SHA-256 of what has come so far.
#[derive(Clone)]
pub struct Hasher(Context);

impl Hasher {
    /// Of nothing.
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// And of these bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash so far.
    pub fn digest(&self) -> [u8; 32] {
        self.0.clone().finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Self::new()
    }
}
