//! How the gateway itself can ask the endpoints of a farm for something. Separate from the rest of the snapshot, which says how
//! clients can.

use std::sync::Arc;

use super::{Route, Served, Snapshot};
use crate::broadworks::interface::Interface;
use crate::config::model::ProxyProtocol;
use crate::farm::Farm;

/// How an endpoint is asked.
#[derive(Debug)]
pub(in crate::proxy) enum Way {
    /// As clients do at this interface, under this name.
    Http(Arc<Route>, String),
    /// By a handshake of its own.
    Handshake,
    /// By the beginning of one, behind what tells it of clients.
    Hello(ProxyProtocol),
}

impl Snapshot {
    /// The best way to ask the endpoints of `farm`, at `interface` rather than at another one. Without that, event channels come
    /// first, since these are what lasts.
    pub(in crate::proxy) fn way_to(&self, farm: &Arc<Farm>, interface: Option<Interface>) -> Way {
        let wanted = interface.unwrap_or(Interface::XsiEvents);
        let served = || self.listeners.iter().flat_map(|listener| listener.by_host.iter());
        let routes = served().filter_map(|(host, served)| match served {
            Served::Https(block) => Some((host, block)),
            Served::Passthrough(_) => None,
        });
        let routes = routes.flat_map(|(host, block)| block.routes.iter().flatten().map(move |route| (host, route)));
        let leads_there = |(host, route): (&String, &Arc<Route>)| match Arc::ptr_eq(&route.farm, farm) {
            true => Some((host.clone(), Arc::clone(route))),
            false => Some((host.clone(), route.back_to(farm)?)),
        };
        let best = routes.filter_map(leads_there).max_by_key(|(_, route)| route.interface == wanted);
        if let Some((host, route)) = best {
            return Way::Http(route, host);
        }
        let told = served().find_map(|(_, served)| match served {
            Served::Passthrough(block) => Arc::ptr_eq(&block.line.farm, farm).then_some(block.proxy_protocol),
            Served::Https(_) => None,
        });
        match (told, &farm.config().proof) {
            (Some(told), _) => Way::Hello(told),
            (None, Some(_)) => Way::Handshake,
            (None, None) => Way::Hello(ProxyProtocol::Off),
        }
    }
}
