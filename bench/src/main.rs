//! Drives a Milvus-compatible server over the wire and prints what it measures.
fn main() {}
