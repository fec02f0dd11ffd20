//! The records of a description, as they lie in memory.

use super::{LARGE_PAGE, MAGIC, PAGE, VERSION};
use crate::slot::NAME_LENGTH;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

macro_rules! plain {
    ($($(#[$meta:meta])* pub struct $name:ident { $($body:tt)* })*) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name { $($body)* }
    )* };
}

plain! {
    /// The start of the description.
    pub struct Header {
        /// [`MAGIC`].
        pub magic: [u8; 8],
        /// [`VERSION`].
        pub version: u32,
        /// [`Header::DEBUG`] or 0.
        pub flags: u32,
        /// Bytes of the header and all tables.
        pub description_bytes: u64,
        /// One past the image's last byte, a physical address (a multiple of [`PAGE`]).
        pub image_end: u64,
        /// Free RAM for the kernel's page tables, outside the image.
        pub tables_start: u64,
        /// One past that RAM.
        pub tables_end: u64,
        /// How many records each table has.
        pub tables: Tables,
    }

    /// Number of records in each table, in the order in which the tables follow the header.
    pub struct Tables {
        /// [`Domain`]s.
        pub domains: u32,
        /// [`Vcpu`]s.
        pub vcpus: u32,
        /// [`Space`]s.
        pub spaces: u32,
        /// [`Mapping`]s.
        pub mappings: u32,
        /// [`Clear`]s.
        pub clears: u32,
        /// [`Interrupt`]s.
        pub interrupts: u32,
        /// [`Channel`]s.
        pub channels: u32,
        /// [`UserCap`]s.
        pub user_caps: u32,
    }

    /// A protection domain. Its number is its place in the table, parents before their children.
    pub struct Domain {
        /// Name, padded with NUL.
        pub name: [u8; NAME_LENGTH],
        /// Entry point; its page must be executable.
        pub entry: u64,
        /// Initial stack pointer.
        pub stack_top: u64,
        /// Lowest address of the stack; a fault in the page below is reported as an overflow.
        pub stack_bottom: u64,
        /// Budget in microseconds.
        pub budget: u64,
        /// Period in microseconds, at least the budget.
        pub period: u64,
        /// Priority, 0 to 254.
        pub priority: u32,
        /// [`Domain::PASSIVE`] and others.
        pub flags: u32,
        /// The domain that gets its faults and its TCB, or [`NONE`](super::NONE).
        pub parent: u32,
        /// Its id among its parent's children and vCPUs (0 without a parent).
        pub child: u32,
        /// Its address space, which no other domain or vCPU has. The page at `slot::IPC_BUFFER` must be mapped there.
        pub space: u32,
        /// Explicit padding.
        pub reserved: u32,
    }

    /// A virtual CPU. It starts suspended.
    pub struct Vcpu {
        /// Name for messages (of the virtual machine), padded with NUL.
        pub name: [u8; NAME_LENGTH],
        /// Budget in microseconds.
        pub budget: u64,
        /// Period in microseconds, at least the budget.
        pub period: u64,
        /// Priority, 0 to 254.
        pub priority: u32,
        /// The domain that owns it.
        pub domain: u32,
        /// Its id among that domain's children and vCPUs.
        pub id: u32,
        /// Its address space (guest-physical), shared only by vCPUs of the same domain.
        pub space: u32,
    }

    /// An address space: a run of mappings. The runs of all spaces follow each other and cover the table.
    pub struct Space {
        /// Number of its first mapping.
        pub first: u32,
        /// How many mappings it has, in ascending order of address.
        pub count: u32,
    }

    /// A run of pages with one set of rights.
    pub struct Mapping {
        /// Address in the space.
        pub vaddr: u64,
        /// Physical address.
        pub paddr: u64,
        /// Bytes.
        pub bytes: u64,
        /// [`Mapping::READ`] and others.
        pub flags: u32,
        /// Explicit padding.
        pub reserved: u32,
    }

    /// RAM that the kernel fills with zeroes at boot.
    pub struct Clear {
        /// Physical address.
        pub paddr: u64,
        /// Bytes.
        pub bytes: u64,
    }

    /// An interrupt that a domain receives on a channel.
    pub struct Interrupt {
        /// The domain.
        pub domain: u32,
        /// Channel id.
        pub channel: u32,
        /// INTID.
        pub number: u32,
        /// [`Interrupt::LEVEL`] or [`Interrupt::EDGE`].
        pub trigger: u32,
    }

    /// A channel between two domains.
    pub struct Channel {
        /// Its ends.
        pub ends: [End; 2],
    }

    /// One end of a channel.
    pub struct End {
        /// The domain.
        pub domain: u32,
        /// The channel's id there.
        pub id: u32,
        /// [`End::NOTIFY`], [`End::PROTECTED`]: what this end may do to the other.
        pub flags: u32,
        /// Explicit padding.
        pub reserved: u32,
    }

    /// A capability from a `<cspace>` element.
    pub struct UserCap {
        /// The domain that gets it.
        pub domain: u32,
        /// Slot in its root CNode (1 to 63): the CPtr is the slot shifted left by 58.
        pub slot: u32,
        /// [`UserCap::TCB`], [`UserCap::SCHED_CONTEXT`] or [`UserCap::VSPACE`].
        pub kind: u32,
        /// The domain whose object it is.
        pub target: u32,
    }
}

impl Header {
    /// Bit of `flags`: labels and system calls are those of the SDK's debug configuration.
    pub const DEBUG: u32 = 1;

    /// A header for `tables`, with its own fields filled in.
    pub fn new(flags: u32, image_end: u64, free: core::ops::Range<u64>, tables: Tables) -> Self {
        Self {
            magic: MAGIC,
            version: VERSION,
            flags,
            description_bytes: tables.description_bytes(),
            image_end,
            tables_start: free.start,
            tables_end: free.end,
            tables,
        }
    }
}

impl Tables {
    /// Bytes of a header and these tables.
    pub fn description_bytes(&self) -> u64 {
        fn table<T>(count: u32) -> u64 {
            u64::from(count) * size_of::<T>() as u64
        }
        size_of::<Header>() as u64
            + table::<Domain>(self.domains)
            + table::<Vcpu>(self.vcpus)
            + table::<Space>(self.spaces)
            + table::<Mapping>(self.mappings)
            + table::<Clear>(self.clears)
            + table::<Interrupt>(self.interrupts)
            + table::<Channel>(self.channels)
            + table::<UserCap>(self.user_caps)
    }
}

impl Domain {
    /// Bit of `flags`: it gives its scheduling context up after `init`.
    pub const PASSIVE: u32 = 1;
    /// Bit of `flags`: it may make secure monitor calls.
    pub const SMC: u32 = 2;
    /// Bit of `flags`: it may use the FPU.
    pub const FPU: u32 = 4;
}

impl Mapping {
    /// Bit of `flags`: readable (every mapping is).
    pub const READ: u32 = 1;
    /// Bit of `flags`: writable.
    pub const WRITE: u32 = 2;
    /// Bit of `flags`: executable.
    pub const EXECUTE: u32 = 4;
    /// Bit of `flags`: Normal write-back memory; without it Device-nGnRnE.
    pub const CACHED: u32 = 8;
    /// Bit of `flags`: pages of 2 MiB, else of 4 KiB.
    pub const LARGE: u32 = 16;

    /// Bytes of its pages.
    pub const fn page(&self) -> u64 {
        if self.flags & Self::LARGE != 0 {
            LARGE_PAGE
        } else {
            PAGE
        }
    }
}

impl Interrupt {
    /// Value of `trigger`: level-sensitive.
    pub const LEVEL: u32 = 0;
    /// Value of `trigger`: edge-triggered.
    pub const EDGE: u32 = 1;
}

impl End {
    /// Bit of `flags`: may notify the other end.
    pub const NOTIFY: u32 = 1;
    /// Bit of `flags`: may make protected calls to the other end.
    pub const PROTECTED: u32 = 2;
}

impl UserCap {
    /// Value of `kind`: the domain's TCB.
    pub const TCB: u32 = 0;
    /// Value of `kind`: the domain's scheduling context.
    pub const SCHED_CONTEXT: u32 = 1;
    /// Value of `kind`: the domain's address space.
    pub const VSPACE: u32 = 2;
}
