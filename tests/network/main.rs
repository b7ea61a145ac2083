//! What needs a network namespace of its own: `cargo xtask test --only network` makes one, as root or with user namespaces.

mod soak;
mod wires;
