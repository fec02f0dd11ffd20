//! The serial line: a PL011 and the multiplexer that shares it.
