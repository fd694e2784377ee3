//! The central side, against real devices, real servers and other people's software.
mod ddi;
mod enrol;
mod fixture;
mod kills;
mod page;
mod people;
mod repository;
mod rollouts;
