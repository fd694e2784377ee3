//! Integration tests of the agent: one binary, one module for each promise.
mod association;
mod audit;
mod config;
mod console;
mod crash;
mod decode;
mod documents;
mod engines;
mod hospital;
mod model;
mod results;
mod serve;
mod spool;
mod study;
mod sync_order;
mod vendor;
mod worker;
