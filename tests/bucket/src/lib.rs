//! An S3 service for tests and local clusters: right about create-if-absent, wrong where it is asked to be.
//!
//! [`objects`] keeps the objects, [`service`] speaks S3 about them, [`faults`] decides what goes wrong, and
//! [`server`] puts faults around the service and answers two questions of its own: `GET` and `PUT /_faults`
//! (a [`Faults`] as JSON), and `GET /_stats` (a [`Stats`]).

pub mod faults;
mod objects;
pub mod server;
mod service;

pub use faults::{Faults, Lie, Stats};
pub use server::{Options, TestBucket};

/// The access key and the secret key that the service knows; MinIO's.
pub const CREDENTIALS: &str = "minioadmin";
