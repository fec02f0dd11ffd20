//! The format of the bundled kernel's image: what the packer writes and the kernel reads.
