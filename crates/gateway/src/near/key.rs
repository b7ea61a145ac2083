//! What a near answer depends on, known before the request is transcoded.

use crate::{authorize::Permit, protocol::WrittenAs, upstream::Call};
use accord_contract::{CachePolicy, CacheScope};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, request::Parts};
use moka::Equivalent;
use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

/// The place of an answer.
#[derive(PartialEq, Eq)]
pub(crate) struct NearKey {
    /// The method under one contract: another contract may answer otherwise.
    entry: u64,
    /// The version of its upstream, which may answer otherwise as well.
    version: Option<usize>,
    written_as: WrittenAs,
    line: Option<(Method, Box<str>)>,
    message: Bytes,
    tenant: Option<Arc<str>>,
    principal: Option<(Arc<str>, u64)>,
    /// The values of `cache.vary`, each with the place of its name.
    vary: Box<[(usize, HeaderValue)]>,
}

/// The same, borrowed from a call: so a look-up allocates nothing.
#[derive(Clone, Copy)]
pub(super) struct NearQuery<'a> {
    entry: u64,
    version: Option<usize>,
    written_as: WrittenAs,
    line: Option<(&'a Method, &'a str)>,
    message: &'a Bytes,
    tenant: Option<&'a Arc<str>>,
    principal: Option<(&'a Arc<str>, u64)>,
    names: &'a [Box<str>],
    metadata: &'a HeaderMap,
}

impl<'a> NearQuery<'a> {
    /// What is asked by a request line, by a message, or by both.
    pub(super) fn new(
        call: &'a Call,
        policy: &'a CachePolicy,
        written_as: WrittenAs,
        line: Option<&'a Parts>,
        message: Option<&'a Bytes>,
    ) -> Self {
        static NOTHING: Bytes = Bytes::new();
        let permit = &call.permit;
        Self {
            entry: permit.entry().serial,
            version: call.version,
            written_as,
            line: line.map(|parts| (&parts.method, parts.uri.path_and_query().map_or("/", |path| path.as_str()))),
            message: message.unwrap_or(&NOTHING),
            tenant: permit.tenant(),
            principal: if policy.scope == CacheScope::Shared { None } else { principal(permit) },
            names: &policy.vary,
            metadata: &call.metadata,
        }
    }

    /// With bytes of its own: a part of what a connection has read would keep all of that in memory.
    pub(super) fn to_owned(self) -> NearKey {
        NearKey {
            entry: self.entry,
            version: self.version,
            written_as: self.written_as,
            line: self.line.map(|(method, path)| (method.clone(), path.into())),
            message: Bytes::copy_from_slice(self.message),
            tenant: self.tenant.cloned(),
            principal: self.principal.map(|(subject, epoch)| (Arc::clone(subject), epoch)),
            vary: self.vary().map(|(place, value)| (place, apart(value))).collect(),
        }
    }

    fn vary(self) -> impl Iterator<Item = (usize, &'a HeaderValue)> {
        let names = self.names.iter().map(|name| &**name).enumerate();
        names.flat_map(move |(place, name)| self.metadata.get_all(name).iter().map(move |value| (place, value)))
    }
}

/// The same value in memory of its own.
pub(super) fn apart(value: &HeaderValue) -> HeaderValue {
    let mut own = HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
    own.set_sensitive(value.is_sensitive());
    own
}

/// Whose own answer it is. What an upstream told it while it had other roles is not told it again: they end with its token.
fn principal(permit: &Permit) -> Option<(&Arc<str>, u64)> {
    let epoch = permit.credentials().next().map_or(0, |verified| verified.claims.ep);
    permit.subject().map(|subject| (subject, epoch))
}

impl NearKey {
    /// Bytes of memory.
    pub(super) fn weight(&self) -> usize {
        let line = self.line.as_ref().map_or(0, |(_, path)| path.len());
        let vary: usize = self.vary.iter().map(|(_, value)| size_of::<(usize, HeaderValue)>() + value.len()).sum();
        size_of::<Self>() + line + self.message.len() + vary
    }

    fn vary(&self) -> impl Iterator<Item = (usize, &HeaderValue)> {
        self.vary.iter().map(|(place, value)| (*place, value))
    }
}

/// Owned and borrowed alike, or nothing would be found.
impl Hash for NearKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.entry.hash(state);
        self.version.hash(state);
        self.written_as.hash(state);
        self.line.as_ref().map(|(method, path)| (method, &**path)).hash(state);
        self.message.hash(state);
        self.tenant.as_deref().hash(state);
        self.principal.as_ref().map(|(subject, epoch)| (&**subject, *epoch)).hash(state);
        self.vary().for_each(|value| value.hash(state));
    }
}

impl Hash for NearQuery<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.entry.hash(state);
        self.version.hash(state);
        self.written_as.hash(state);
        self.line.hash(state);
        self.message.hash(state);
        self.tenant.map(|tenant| &**tenant).hash(state);
        self.principal.map(|(subject, epoch)| (&**subject, epoch)).hash(state);
        self.vary().for_each(|value| value.hash(state));
    }
}

impl Equivalent<NearKey> for NearQuery<'_> {
    fn equivalent(&self, key: &NearKey) -> bool {
        self.entry == key.entry
            && self.version == key.version
            && self.written_as == key.written_as
            && self.line == key.line.as_ref().map(|(method, path)| (method, &**path))
            && *self.message == key.message
            && self.tenant == key.tenant.as_ref()
            && self.principal == key.principal.as_ref().map(|(subject, epoch)| (subject, *epoch))
            && self.vary().eq(key.vary())
    }
}
