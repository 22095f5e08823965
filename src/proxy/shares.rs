//! How many connections each source has, so that none takes what all need. Separate from the rule (`policy::shares`), because all
//! workers count here without waiting for each other: in tables of fixed size (256 KiB in all), by keyed hashes. Two sources that
//! meet in all of their places would count as one, which nobody outside can bring about.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::policy::shares::{Over, network_of, source_of};

/// Places in each row of a table: 16384.
const BITS: u32 = 14;
const WIDTH: usize = 1 << BITS;
/// Each is counted at so many places, and the least one counts.
const ROWS: usize = 2;

static SOURCES: LazyLock<Table> = LazyLock::new(Table::new);
static NETWORKS: LazyLock<Table> = LazyLock::new(Table::new);

/// A source's part in all connections; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    source: Places,
    network: Places,
}

/// Where one is counted, by row.
type Places = [u16; ROWS];

#[derive(Debug)]
struct Table {
    seed: RandomState,
    rows: Box<[AtomicU32]>,
}

impl Share {
    /// One more connection of `client`, with which so many of `limit` are in use.
    ///
    /// # Errors
    /// The source or its network has more than its share.
    pub(super) fn take(client: IpAddr, used: usize, limit: usize) -> Result<Self, Over> {
        let (source, network) = (SOURCES.places(source_of(client)), NETWORKS.places(network_of(client)));
        let share = Self { source, network };
        let (of_source, of_network) = (SOURCES.add(source), NETWORKS.add(network));
        // Dropping it counts this one no longer.
        match Over::of(of_source, of_network, used, limit) {
            Some(over) => Err(over),
            None => Ok(share),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        SOURCES.remove(self.source);
        NETWORKS.remove(self.network);
    }
}

impl Table {
    fn new() -> Self {
        Self { seed: RandomState::new(), rows: (0..ROWS * WIDTH).map(|_| AtomicU32::new(0)).collect() }
    }

    fn places(&self, address: IpAddr) -> Places {
        let hash = self.seed.hash_one(address);
        std::array::from_fn(|row| (hash >> (row as u32 * BITS)) as u16 & (WIDTH - 1) as u16)
    }

    fn cells(&self, places: Places) -> impl Iterator<Item = &AtomicU32> {
        places.into_iter().enumerate().map(|(row, place)| &self.rows[row * WIDTH + usize::from(place)])
    }

    /// Counts one more, and says how many there are then.
    fn add(&self, places: Places) -> u32 {
        self.cells(places).map(|cell| cell.fetch_add(1, Ordering::Relaxed) + 1).min().unwrap_or(0)
    }

    fn remove(&self, places: Places) {
        self.cells(places).for_each(|cell| _ = cell.fetch_sub(1, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_counted_is_given_back() {
        let taken = |client: &str, used| Share::take(address(client), used, 1000);
        let mut shares: Vec<_> = (1..=500).map(|used| taken("192.0.2.1", used).unwrap()).collect();
        assert_eq!(taken("192.0.2.1", 501).unwrap_err(), Over::Source);
        assert_eq!(taken("192.0.2.2", 501).unwrap_err(), Over::Network);
        let other = taken("198.51.100.1", 501).unwrap();
        shares.clear();
        drop((taken("192.0.2.1", 501).unwrap(), other));
    }
}
