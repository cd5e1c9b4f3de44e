//! Secret bytes in locked memory and the table of who owns which secret.
