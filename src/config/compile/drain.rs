//! Which XSPs of a farm are drained. Separate from farms, because what is said here need not be right to be harmless.

use std::net::SocketAddr;

use toml::Spanned;

use super::Check;
use crate::config::error::Problem;
use crate::config::file;
use crate::config::model::{Site, Source};
use crate::config::types::network::DrainedXsp;
use crate::policy::drained::Drained;

/// The XSPs that are drained. What names none of the farm is only a warning: it may have left just now.
pub(super) fn drain(check: &mut Check<'_>, farm: &file::Farm, sites: &[Site]) -> Drained {
    let Some(listed) = &farm.drain else { return Drained::default() };
    let drained =
        |listed: &[Spanned<DrainedXsp>]| Drained::new(listed.iter().map(|whom| whom.get_ref().0.clone()).collect());
    let all = drained(listed.get_ref());
    let Some(addresses) = listed_addresses(sites) else { return all };
    for whom in listed.get_ref() {
        let one = drained(std::slice::from_ref(whom));
        if !addresses.iter().any(|address| one.has(*address, None)) {
            let problem =
                Problem::warning(whom.span(), "no XSP of the farm is meant by that, so that it drains nothing");
            check.report(problem.help("write an address of the farm as it stands there"));
        }
    }
    if addresses.iter().all(|address| all.has(*address, None)) {
        let problem = Problem::warning(listed.span(), "every XSP of the farm is drained");
        check.report(problem.help("new sessions and channels get 503, until one is left"));
    }
    all
}

/// The addresses of all the sites; `None`: some are not known before DNS is asked.
fn listed_addresses(sites: &[Site]) -> Option<Vec<SocketAddr>> {
    let listed = sites.iter().map(|site| match &site.source {
        Source::Static(addresses) => Some(addresses.clone()),
        Source::Address(_) | Source::Srv { .. } => None,
    });
    let all: Option<Vec<_>> = listed.collect();
    all.map(|all| all.concat()).filter(|all| !all.is_empty())
}
