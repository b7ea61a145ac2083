//! Compiles every file under `proto/` without `protoc`, keeping custom options in the descriptor set.

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());

    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();

    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(files)?;

    // Encoded by protox: going through prost-types would lose the options that the policies are.
    let out = Path::new(&env::var("OUT_DIR")?).join("accord.binpb");
    fs::write(out, compiler.encode_file_descriptor_set())?;

    tonic_prost_build::configure()
        // Answers of the cache may be large, and are handed on as they came.
        .bytes(".accord.cache.v1.Consistency")
        .bytes(".accord.cache.v1.Entry")
        .bytes(".accord.cache.v1.FailedKey")
        .bytes(".accord.cache.v1.Header")
        .bytes(".accord.cache.v1.InvalidateResponse.consistency_tokens")
        .bytes(".accord.cache.v1.PutRequest")
        .bytes(".accord.cache.v1.Failure")
        .bytes(".accord.cache.v1.ReadRequest")
        .bytes(".accord.cache.v1.ReadResponse")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

fn collect(directory: &Path, files: &mut Vec<std::path::PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
