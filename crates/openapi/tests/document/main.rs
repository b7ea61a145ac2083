//! The document as its readers meet it: protos and overlays in, operations and schemas out.

mod fixture;
mod operations;
mod schemas;
mod versions;
