//! The real program on a temporary folder, as a user runs it.

mod access;
mod bad_input;
mod crash;
mod demo;
mod durability;
mod helper;
mod postgres;
mod tour;
mod upkeep;
