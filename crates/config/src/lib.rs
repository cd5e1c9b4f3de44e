//! The configuration: JSON5 with spans, the schema, errors that show the place.
