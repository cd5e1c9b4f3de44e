//! The messages of all edges and the one table of who may call whom.
