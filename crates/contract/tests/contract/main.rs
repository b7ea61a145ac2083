//! The contract as its users meet it: protos and overlays in, policies and findings out.

mod declared;
mod fixture;
mod headers;
mod http;
mod json;
mod layers;
mod near;
mod overlays;
mod reach;
mod reading;
mod refusals;
mod required;
mod resource;
mod served;
mod validate;
mod versions;
