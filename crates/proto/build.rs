//! Generates the Milvus wire contract from the `.proto` files of a pinned registry package, and what
//! is used of etcd's from our own.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The registry package that carries the files; `Cargo.lock` pins its checksum.
const PACKAGE: &str = "milvus-sdk-rust";
const PACKAGE_PROTO_DIR: &str = "milvus-proto/proto";
/// A folder with the same files, for builds that cannot ask cargo.
const OVERRIDE: &str = "MILVUS_PROTO_DIR";
/// Our own `.proto` files.
const OWN_PROTO_DIR: &str = "proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed={OVERRIDE}");
    let protos = proto_dir()?;
    println!("cargo:rerun-if-changed={}", protos.display());
    generate(&protos)?;
    println!("cargo:rerun-if-changed={OWN_PROTO_DIR}");
    generate_etcd()
}

fn proto_dir() -> Result<PathBuf, Box<dyn Error>> {
    if let Some(dir) = env::var_os(OVERRIDE) {
        return Ok(dir.into());
    }
    let output = Command::new(env::var_os("CARGO").ok_or("CARGO is not set")?)
        .args(["metadata", "--format-version=1", "--locked", "--manifest-path"])
        .arg(Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("Cargo.toml"))
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let manifest = metadata["packages"]
        .as_array()
        .and_then(|packages| packages.iter().find(|package| package["name"] == PACKAGE))
        .and_then(|package| package["manifest_path"].as_str())
        .ok_or_else(|| format!("cargo metadata names no package {PACKAGE}"))?;
    let package = Path::new(manifest).parent().ok_or("manifest without a folder")?;
    Ok(package.join(PACKAGE_PROTO_DIR))
}

fn generate(protos: &Path) -> Result<(), Box<dyn Error>> {
    let mut compiler = protox::Compiler::new([protos])?;
    compiler.include_imports(true).include_source_info(false).open_file("milvus.proto")?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // These bytes keep custom options (privileges), which the typed set below drops.
    fs::write(out.join("milvus.descriptors"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .build_server(true)
        .build_client(env::var_os("CARGO_FEATURE_CLIENT").is_some())
        // With it the client would get two `connect` functions: an RPC is called Connect.
        .build_transport(false)
        .generate_default_stubs(true)
        .bytes(".")
        .extern_path(".milvus.proto.schema.FloatArray", "crate::wire::FloatArray")
        .extern_path(".milvus.proto.schema.DoubleArray", "crate::wire::DoubleArray")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

fn generate_etcd() -> Result<(), Box<dyn Error>> {
    let mut compiler = protox::Compiler::new([OWN_PROTO_DIR])?;
    compiler.include_source_info(false).open_file("etcd.proto")?;
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
