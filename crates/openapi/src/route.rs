//! By which way a method is called.

use accord_contract::http::Binding;
use accord_contract::{Method, MethodKind, Policy};

/// The way to a method.
#[derive(Clone, Copy)]
pub(crate) enum Route<'b> {
    /// By a rule of `google.api.http`.
    Binding(&'b Binding),
    /// By its own path: the body is the message, of a stream one per line.
    OwnPath,
    /// By its own path as Connect has it: every message is written in its canonical form, and errors are Connect's.
    Connect,
}

impl<'b> Route<'b> {
    /// The way to a method that has no binding.
    pub(crate) fn own(method: &Method) -> Self {
        if method.kind == MethodKind::Unary { Self::Connect } else { Self::OwnPath }
    }

    /// The binding, where it is one.
    pub(crate) fn binding(self) -> Option<&'b Binding> {
        if let Self::Binding(binding) = self { Some(binding) } else { None }
    }

    /// Whether answers have an entity tag, by which a caller who has one already is told only that it still holds.
    pub(crate) fn is_tagged(self, policy: &Policy) -> bool {
        policy.cache.is_some() && self.binding().is_some_and(|binding| binding.method == "GET")
    }

    /// Whether it is Connect's.
    pub(crate) fn is_connect(self) -> bool {
        matches!(self, Self::Connect)
    }
}
