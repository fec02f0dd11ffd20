//! Tells a network backend of its guest's pauses.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

sel4cp_pd::protection_domain!(init = sel4cp_backends::pause::init);
