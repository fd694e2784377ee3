//! The device's side, against real servers, real files and other people's software.
mod agent;
mod appliance;
mod channel;
mod conversation;
mod deployment;
mod kill;
mod region;
mod shapes;
mod threats;
