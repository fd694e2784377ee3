//! The clinical data path of Sund.
//!
//! A study flows `association → spool → study → route → decode → preprocess → infer → postprocess → results → deliver`;
//! only [`pipeline`] knows that order.
#![forbid(unsafe_code)]

pub mod agent;
pub mod association;
pub mod audit;
pub mod bracket;
pub mod certificate;
pub mod channel;
pub mod cli;
pub mod code;
pub mod compile;
pub mod config;
pub mod console;
pub mod control;
mod counted;
pub mod dataset;
pub mod decode;
pub mod deliver;
pub mod demo;
pub mod exit;
pub mod fault;
pub mod gpus;
pub mod hex;
pub mod infer;
pub mod inference;
pub mod instance;
pub mod job;
pub mod limits;
mod lock;
mod manager;
pub mod metrics;
pub mod model;
mod numbered;
pub mod outcome;
pub mod pipeline;
pub mod postprocess;
pub mod preprocess;
pub mod privacy;
pub mod recall;
pub mod records;
mod refusals;
pub mod release;
pub mod results;
pub mod route;
pub mod sandbox;
pub mod schedule;
pub mod spool;
pub mod status;
pub mod study;
pub mod support;
pub mod trial;
pub mod worker;
