//! The specification's data, virtIO 1.2: numbers, bits and structures, with their paragraphs. No behaviour beyond tables.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod status;
