//! What BroadWorks is: its applications and the addresses that Webex comes from. Pure domain knowledge, so that it
//! can be read, and corrected, by someone who knows BroadWorks rather than this program.

pub mod channel;
pub mod cti;
pub mod interface;
pub mod ranges;
pub mod xsi;
