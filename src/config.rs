//! The configuration: one TOML file in, a [`model::Config`] that can't be invalid out, or every problem with its place.

pub mod error;
pub mod file;
pub mod model;
pub mod types;
