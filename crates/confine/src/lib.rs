//! Confinement of a process by its own hand, descriptors and locked memory; the only unsafe code.
