//! The wire contracts, Milvus's and what is used of etcd's: messages and services, generated at build time.
//!
//! Generated from the `.proto` files of Milvus (Apache-2.0), which come with a pinned registry
//! package, and from `proto/etcd.proto`; see `build.rs`. Byte fields are [`bytes::Bytes`] and share the received buffer; arrays of
//! floats are decoded in bulk by [`wire`].

pub mod wire;

macro_rules! generated {
    ($(#[$doc:meta])* $module:ident = $package:literal) => {
        $(#[$doc])*
        #[allow(
            missing_docs,
            unreachable_pub,
            clippy::all,
            clippy::pedantic,
            reason = "generated code"
        )]
        pub mod $module {
            tonic::include_proto!($package);
        }
    };
}

generated!(
    /// Status, errors, key-value pairs, placeholders, consistency levels.
    common = "milvus.proto.common"
);
generated!(
    /// Schemas and field data.
    schema = "milvus.proto.schema"
);
generated!(
    /// Requests, responses and the services.
    milvus = "milvus.proto.milvus"
);
generated!(
    /// Resource groups.
    rg = "milvus.proto.rg"
);
generated!(
    /// Message positions.
    msg = "milvus.proto.msg"
);
generated!(
    /// Index internals for visualisation.
    feder = "milvus.proto.feder"
);
generated!(
    /// etcd's v3 API, as far as it is used.
    etcd = "etcdserverpb"
);

/// Serialized `FileDescriptorSet` of the contract, custom options included.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/milvus.descriptors"));
