//! How every process starts, talks to the others and reports itself.
