//! Names that can only hold valid values: roles, sessions, principals, model references.
