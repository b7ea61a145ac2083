//! `EndpointSlices` of a Service, and the endpoints that they come to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

use crate::discovery::{Address, Discovered};
use crate::url::{ServicePort, Url};

/// The slices of one Service, by their names.
#[derive(Debug, Default)]
pub(super) struct Slices(BTreeMap<String, EndpointSlice>);

/// Whether an endpoint takes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    /// It ends, and serves until it is gone.
    Terminating,
}

impl Slices {
    /// These are all.
    pub(super) fn replace(&mut self, slices: impl IntoIterator<Item = EndpointSlice>) {
        self.0.clear();
        slices.into_iter().for_each(|slice| self.insert(slice));
    }

    /// A slice is new, or has changed.
    pub(super) fn insert(&mut self, slice: EndpointSlice) {
        self.0.insert(slice.metadata.name.clone().unwrap_or_default(), slice);
    }

    /// A slice is gone.
    pub(super) fn remove(&mut self, slice: &EndpointSlice) {
        self.0.remove(slice.metadata.name.as_deref().unwrap_or_default());
    }

    /// The endpoints of one port: those that are ready, or, where none is, those that serve while they end, as in kube-proxy
    /// (KEP-1669). A pod with addresses of both families counts once, with that of IPv4.
    pub(super) fn endpoints(&self, url: &Arc<Url>, port: &ServicePort) -> Vec<Discovered> {
        let all: Vec<_> = self.0.values().flat_map(|slice| of_slice(slice, url, port)).collect();
        let has_ready = all.iter().any(|found| found.state == State::Ready);
        let wanted = if has_ready { State::Ready } else { State::Terminating };
        let mut found: Vec<_> = all.into_iter().filter(|found| found.state == wanted).collect();
        // Addresses of IPv4 are less than those of IPv6.
        found.sort_by_key(|found| found.discovered.address.socket);
        let mut pods = BTreeSet::new();
        found.retain(|found| found.pod.is_none_or(|pod| pods.insert(pod)));
        found.into_iter().map(|found| found.discovered).collect()
    }

    /// The ports that there are, as a person would write them.
    pub(super) fn ports(&self) -> String {
        let text = |port: &EndpointPort| match (port.name.as_deref(), port.port) {
            (None | Some(""), Some(number)) => number.to_string(),
            (Some(name), Some(number)) => format!("{name} ({number})"),
            (name, None) => name.unwrap_or_default().to_owned(),
        };
        let ports: BTreeSet<_> = self.0.values().flat_map(|slice| slice.ports.iter().flatten().map(text)).collect();
        ports.into_iter().collect::<Vec<_>>().join(", ")
    }

    /// Whether there are endpoints, of whatever port.
    pub(super) fn is_empty(&self) -> bool {
        self.0.values().all(|slice| slice.endpoints.is_empty())
    }
}

/// An endpoint in its slice.
struct Found<'a> {
    discovered: Discovered,
    state: State,
    /// The id of its pod.
    pod: Option<&'a str>,
}

fn of_slice<'a>(
    slice: &'a EndpointSlice,
    url: &'a Arc<Url>,
    port: &'a ServicePort,
) -> impl Iterator<Item = Found<'a>> + use<'a> {
    let port = slice.ports.iter().flatten().find_map(|candidate| number(candidate, port));
    slice.endpoints.iter().filter_map(move |endpoint| {
        // Of several addresses, which are the same endpoint, only the first is used; names (FQDN) are none.
        let ip: IpAddr = endpoint.addresses.first()?.parse().ok()?;
        let zones = endpoint.hints.iter().flat_map(|hints| hints.for_zones.iter().flatten());
        let discovered = Discovered {
            address: Address { socket: SocketAddr::new(ip, port?), url: Arc::clone(url) },
            zone: endpoint.zone.as_deref().map(Arc::from),
            for_zones: zones.map(|zone| Arc::from(zone.name.as_str())).collect(),
        };
        let pod = endpoint.target_ref.as_ref().and_then(|target| target.uid.as_deref());
        Some(Found { discovered, state: state(endpoint)?, pod })
    })
}

/// The number of a slice's port, where it is the one that is asked for.
fn number(candidate: &EndpointPort, wanted: &ServicePort) -> Option<u16> {
    let is_tcp = candidate.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
    let number = candidate.port.and_then(|port| u16::try_from(port).ok());
    match wanted {
        ServicePort::Name(name) => number.filter(|_| candidate.name.as_deref() == Some(name)),
        ServicePort::Number(wanted) => number.filter(|number| number == wanted),
    }
    .filter(|_| is_tcp)
}

/// What is not said counts as ready (the API's own rule), and as serving where it is ready.
fn state(endpoint: &Endpoint) -> Option<State> {
    let conditions = endpoint.conditions.as_ref();
    let is_ready = conditions.and_then(|it| it.ready).unwrap_or(true);
    let is_serving = conditions.and_then(|it| it.serving).unwrap_or(is_ready);
    let is_terminating = conditions.and_then(|it| it.terminating).unwrap_or(false);
    match (is_ready, is_serving, is_terminating) {
        (true, _, _) => Some(State::Ready),
        (false, true, true) => Some(State::Terminating),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
