//! Which XSP is meant, as the command line says it. Kept on its own because five commands take it.

use clap::Args;

use crate::control::Whom;

/// An XSP, and the farm that it is meant in.
#[derive(Args, Debug)]
pub(super) struct Named {
    /// Address, address:port, or the name of an SRV target
    #[arg(value_name = "XSP")]
    pub(super) xsp: String,
    /// Only in this farm
    #[arg(long)]
    pub(super) farm: Option<String>,
}

impl From<Named> for Whom {
    fn from(named: Named) -> Self {
        Self { xsp: named.xsp, farm: named.farm, formerly: Vec::new() }
    }
}
