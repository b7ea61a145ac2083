//! Stubs for the services of the outside clients, without `protoc`.

use std::{error::Error, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let files = ["echo/v1/echo_service.proto", "relay/v1/relay_service.proto"];
    tonic_prost_build::configure().compile_fds(protox::compile(files, [&root])?)?;
    Ok(())
}
