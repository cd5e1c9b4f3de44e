//! The supervisor process.
