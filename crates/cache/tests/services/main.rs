//! The services over the wire, before an upstream that tells what it was asked.

mod fixture;
mod invalidations;
mod keyed;
mod loads;
mod reads;
mod refusals;
mod shop;
