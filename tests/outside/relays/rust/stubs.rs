//! The generated code of the clients' protos. A module per package.

/// The last hop.
pub(super) mod echo {
    /// Version 1.
    pub(in super::super) mod v1 {
        #![allow(missing_docs, clippy::pedantic, unreachable_pub, reason = "generated code")]
        tonic::include_proto!("echo.v1");
    }
}

/// The hop between.
pub(super) mod relay {
    /// Version 1.
    pub(in super::super) mod v1 {
        #![allow(missing_docs, clippy::pedantic, unreachable_pub, reason = "generated code")]
        tonic::include_proto!("relay.v1");
    }
}
