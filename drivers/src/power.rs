//! Powers the machine off when every guest is done.
