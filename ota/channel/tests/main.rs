//! The central side, against real devices, real servers and other people's software.
mod ddi;
mod enrol;
mod fixture;
mod repository;
mod rollouts;
