//! The generated code of everything under `proto/`: where the binaries meet. A module per package.

/// Every file under `proto/` with its imports and options, as an encoded `google.protobuf.FileDescriptorSet`.
/// It has one address in a program, by which it is known again.
pub static FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/accord.binpb"));

/// Accord's own packages.
pub mod accord {
    /// Credentials, decisions, keys and revocations.
    pub mod auth {
        /// Version 1.
        pub mod v1 {
            #![allow(missing_docs, clippy::pedantic, reason = "generated code")]
            tonic::include_proto!("accord.auth.v1");
        }
    }

    /// Read-through, invalidations and idempotency records.
    pub mod cache {
        /// Version 1.
        pub mod v1 {
            #![allow(missing_docs, clippy::pedantic, reason = "generated code")]
            tonic::include_proto!("accord.cache.v1");
        }
    }

    /// The stable reasons of error answers.
    pub mod fault {
        /// Version 1.
        pub mod v1 {
            #![allow(missing_docs, clippy::pedantic, reason = "generated code")]
            tonic::include_proto!("accord.fault.v1");
        }
    }

    /// The effective contract, explained.
    pub mod gateway {
        /// Version 1.
        pub mod v1 {
            #![allow(missing_docs, clippy::pedantic, reason = "generated code")]
            tonic::include_proto!("accord.gateway.v1");
        }
    }

    /// How a method behaves in operation.
    pub mod policy {
        /// Version 1.
        pub mod v1 {
            #![allow(missing_docs, clippy::pedantic, reason = "generated code")]
            tonic::include_proto!("accord.policy.v1");
        }
    }
}

/// The sample service.
pub mod catalog {
    /// Version 1.
    pub mod v1 {
        #![allow(missing_docs, clippy::pedantic, reason = "generated code")]
        tonic::include_proto!("catalog.v1");
    }
}

/// The sample's second service, which calls the first.
pub mod orders {
    /// Version 1.
    pub mod v1 {
        #![allow(missing_docs, clippy::pedantic, reason = "generated code")]
        tonic::include_proto!("orders.v1");
    }
}

/// Google's packages, as far as a contract needs them.
pub mod google {
    /// HTTP mapping and field behaviour.
    pub mod api {
        #![allow(missing_docs, clippy::pedantic, reason = "generated code")]
        tonic::include_proto!("google.api");
    }

    /// The error model.
    pub mod rpc {
        #![allow(missing_docs, clippy::pedantic, reason = "generated code")]
        tonic::include_proto!("google.rpc");
    }
}

/// The SPIFFE Workload API, which has no package.
pub mod spiffe {
    #![allow(missing_docs, clippy::pedantic, reason = "generated code")]
    tonic::include_proto!("_");
}

/// Envoy's packages, as far as auth needs them to be asked by Envoy.
pub mod envoy {
    /// What they share.
    pub mod config {
        /// Headers and addresses.
        pub mod core {
            /// Version 3.
            pub mod v3 {
                #![allow(missing_docs, clippy::pedantic, reason = "generated code")]
                tonic::include_proto!("envoy.config.core.v3");
            }
        }
    }

    /// Statuses.
    pub mod r#type {
        /// Version 3.
        pub mod v3 {
            #![allow(missing_docs, clippy::pedantic, reason = "generated code")]
            tonic::include_proto!("envoy.r#type.v3");
        }
    }

    /// Services.
    pub mod service {
        /// External authorization.
        pub mod auth {
            /// Version 3.
            pub mod v3 {
                #![allow(missing_docs, clippy::pedantic, reason = "generated code")]
                tonic::include_proto!("envoy.service.auth.v3");
            }
        }
    }
}
