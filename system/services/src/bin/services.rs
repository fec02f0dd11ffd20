//! The native services of all guests that have sockets: wiring only.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

sel4cp_pd::protection_domain!(init = sel4cp_services::domain::init);
