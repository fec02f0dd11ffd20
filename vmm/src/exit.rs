//! From a fault message to a typed exit. Pure: numbers in, meaning out.
//!
//! The kernel tells a VMM about its guest in six kinds of message (system/abi, `fault`). Three of them carry a
//! syndrome (ESR_EL2, Arm ARM D17.2.37), whose fields have names here.

use core::fmt;
use sel4cp_abi::fault::Fault;

/// Why a vCPU stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It read or wrote an address that stage 2 does not give it.
    Access(Access),
    /// It fetched an instruction from such an address.
    Fetch {
        /// Where the instruction is, virtual.
        ip: u64,
        /// The same, guest-physical.
        address: u64,
        /// The syndrome.
        syndrome: Syndrome,
    },
    /// WFI, WFE or one of their variants with a timeout.
    Wait(Wait),
    /// SMC: a firmware call. pc is still at the instruction.
    Smc,
    /// An access to a system register that the kernel does not give to guests.
    SystemRegister(SystemRegister),
    /// An instruction of an extension that the kernel does not give to guests.
    Extension(Extension),
    /// HVC, which the kernel takes for a system call of its own and does not know.
    Hypercall {
        /// Where the instruction is.
        ip: u64,
        /// x0 to x3.
        arguments: [u64; 4],
    },
    /// The guest ended an interrupt: the one in this list register; `None` if the kernel cannot tell.
    Maintenance(Option<u8>),
    /// A private interrupt of the hardware is to be passed on (27, the virtual timer's).
    PrivateInterrupt(u64),
    /// Anything else, for a report: the message's label and its first word.
    Other {
        /// The label.
        label: u64,
        /// First message register; the syndrome, where there is one.
        word: u64,
    },
}

/// A load or store that stage 2 refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Where the instruction is, virtual.
    pub ip: u64,
    /// What it accesses, guest-physical.
    pub address: u64,
    /// How.
    pub syndrome: Syndrome,
}

/// What kind of waiting instruction it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// WFI: until an interrupt is pending.
    Interrupt,
    /// WFE, or WFIT and WFET, which may return at any time.
    Event,
}

/// An extension of the architecture with registers of its own, which no kernel saves for a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// FEAT_PAuth.
    PointerAuthentication,
    /// FEAT_SVE.
    Sve,
    /// FEAT_SME.
    Sme,
}

/// A trapped MRS or MSR.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SystemRegister {
    /// Op0, Op1, CRn, CRm, Op2.
    pub name: (u8, u8, u8, u8, u8),
    /// General register 0 to 31 (31: the zero register).
    pub register: u8,
    /// MRS.
    pub read: bool,
}

/// An exception syndrome, as ESR_ELx holds it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Syndrome(pub u64);

impl Syndrome {
    /// The exception class (EC).
    pub const fn class(self) -> u8 {
        (self.0 >> 26 & 0x3f) as u8
    }

    /// ISV: size, register and direction below are valid.
    pub const fn is_valid(self) -> bool {
        self.0 >> 24 & 1 != 0
    }

    /// SAS: bytes of the access, 1 to 8.
    pub const fn size(self) -> u8 {
        1 << (self.0 >> 22 & 3)
    }

    /// SSE: a load extends the sign.
    pub const fn is_signed(self) -> bool {
        self.0 >> 21 & 1 != 0
    }

    /// SRT: the register that is loaded or stored, 31 for the zero register.
    pub const fn register(self) -> u8 {
        (self.0 >> 16 & 0x1f) as u8
    }

    /// SF: a load writes 64 bits (a 32-bit one clears the upper half all the same).
    pub const fn is_64_bit(self) -> bool {
        self.0 >> 15 & 1 != 0
    }

    /// CM: a cache maintenance instruction, not a load or store.
    pub const fn is_cache_maintenance(self) -> bool {
        self.0 >> 8 & 1 != 0
    }

    /// S1PTW: the access is the walk of the guest's own translation tables.
    pub const fn is_table_walk(self) -> bool {
        self.0 >> 7 & 1 != 0
    }

    /// WnR: a store.
    pub const fn is_write(self) -> bool {
        self.0 >> 6 & 1 != 0
    }

    /// DFSC: what is wrong with the access.
    pub const fn fault_status(self) -> FaultStatus {
        match self.0 & 0x3f {
            0x04..=0x07 => FaultStatus::Translation,
            0x0c..=0x0f => FaultStatus::Permission,
            0x10 | 0x14..=0x17 => FaultStatus::External,
            _ => FaultStatus::Other,
        }
    }

    /// What a load gets into its register when the device says `value`.
    pub const fn loaded(self, value: u64) -> u64 {
        let bits = 8 * self.size() as u32;
        let shift = 64 - bits;
        let extended = if self.is_signed() {
            ((value << shift).cast_signed() >> shift).cast_unsigned()
        } else {
            value << shift >> shift
        };
        if self.is_64_bit() {
            extended
        } else {
            extended & 0xffff_ffff
        }
    }

    /// What a store puts on the bus when its register holds `value`.
    pub const fn stored(self, value: u64) -> u64 {
        let shift = 64 - 8 * self.size() as u32;
        value << shift >> shift
    }
}

/// The kinds of fault that matter here (DFSC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultStatus {
    /// Nothing is mapped there.
    Translation,
    /// Something is mapped, but not for this.
    Permission,
    /// The hardware refused.
    External,
    /// Anything else.
    Other,
}

/// Exception classes that reach a VMM (EC).
mod class {
    pub(super) const WFX: u8 = 0x01;
    pub(super) const PAUTH: u8 = 0x09;
    pub(super) const SMC32: u8 = 0x13;
    pub(super) const SMC64: u8 = 0x17;
    pub(super) const SYSTEM_REGISTER: u8 = 0x18;
    pub(super) const SVE: u8 = 0x19;
    pub(super) const SME: u8 = 0x1d;
}

impl Exit {
    /// The exit that a fault message with `label` tells about; `word` reads its message registers.
    #[inline]
    pub fn decode(label: u64, word: impl Fn(usize) -> u64) -> Self {
        match Fault::from_label(label) {
            Some(Fault::Vm) => {
                let (ip, address, syndrome) = (word(0), word(1), Syndrome(word(3)));
                if word(2) != 0 {
                    Self::Fetch {
                        ip,
                        address,
                        syndrome,
                    }
                } else {
                    Self::Access(Access {
                        ip,
                        address,
                        syndrome,
                    })
                }
            }
            Some(Fault::VgicMaintenance) => Self::Maintenance(u8::try_from(word(0)).ok()),
            Some(Fault::VppiEvent) => Self::PrivateInterrupt(word(0)),
            Some(Fault::Vcpu) => Self::trap(label, word(0)),
            Some(Fault::UnknownSyscall) => Self::Hypercall {
                ip: word(8),
                arguments: [word(0), word(1), word(2), word(3)],
            },
            _ => Self::Other {
                label,
                word: word(0),
            },
        }
    }

    fn trap(label: u64, esr: u64) -> Self {
        match Syndrome(esr).class() {
            class::WFX => Self::Wait(if esr & 3 == 0 {
                Wait::Interrupt
            } else {
                Wait::Event
            }),
            class::SMC32 | class::SMC64 => Self::Smc,
            class::SYSTEM_REGISTER => {
                let field = |shift: u32, mask: u64| (esr >> shift & mask).to_le_bytes()[0];
                Self::SystemRegister(SystemRegister {
                    name: (
                        field(20, 3),
                        field(14, 7),
                        field(10, 15),
                        field(1, 15),
                        field(17, 7),
                    ),
                    register: field(5, 31),
                    read: esr & 1 != 0,
                })
            }
            class::PAUTH => Self::Extension(Extension::PointerAuthentication),
            class::SVE => Self::Extension(Extension::Sve),
            class::SME => Self::Extension(Extension::Sme),
            _ => Self::Other { label, word: esr },
        }
    }
}

/// What a trapped system register is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Debug, or the performance monitors.
    Debug,
    /// ICC_SGI1R_EL1: SGIs of both groups.
    GenerateSgi,
    /// ICC_SGI0R_EL1 and, with one security state, ICC_ASGI1R_EL1: SGIs of group 0.
    GenerateSgiOfGroup0,
    /// ICC_SRE_EL1: whether a GICv3's CPU interface is system registers.
    InterruptRegistersEnable,
    /// Nothing that a guest may have.
    Other,
}

impl SystemRegister {
    /// What it is for.
    pub const fn purpose(&self) -> Purpose {
        match self.name {
            (2, ..) | (3, _, 9, 12..=14, _) | (3, 3, 14, 8..=15, _) => Purpose::Debug,
            (3, 0, 12, 11, 5) => Purpose::GenerateSgi,
            (3, 0, 12, 11, 6 | 7) => Purpose::GenerateSgiOfGroup0,
            (3, 0, 12, 12, 5) => Purpose::InterruptRegistersEnable,
            _ => Purpose::Other,
        }
    }
}

impl fmt::Debug for SystemRegister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (op0, op1, crn, crm, op2) = self.name;
        let verb = if self.read { "read" } else { "write" };
        write!(f, "{verb} of S{op0}_{op1}_C{crn}_C{crm}_{op2}")
    }
}

impl fmt::Debug for Syndrome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} (class {:#04x})", self.0, self.class())
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let syndrome = self.syndrome;
        let verb = if syndrome.is_write() { "write" } else { "read" };
        if syndrome.is_cache_maintenance() {
            write!(f, "cache maintenance")?;
        } else if syndrome.is_valid() {
            let (size, register) = (syndrome.size(), syndrome.register());
            write!(f, "{size}-byte {verb} with x{register}")?;
        } else {
            write!(f, "{verb} of a kind the syndrome does not describe")?;
        }
        write!(
            f,
            " at {:#x}, pc {:#x}, {syndrome:?}",
            self.address, self.ip
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(label: u64, words: &[u64]) -> Exit {
        Exit::decode(label, |index| words.get(index).copied().unwrap_or(0))
    }

    fn access(esr: u64) -> Syndrome {
        match decode(6, &[0x8000, 0xa00_0050, 0, esr]) {
            Exit::Access(access) => {
                assert_eq!((access.ip, access.address), (0x8000, 0xa00_0050));
                access.syndrome
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_store_of_w3_is_decoded() {
        // EC 0x24, IL, ISV, SAS 2, SRT 3, WnR, permission fault at level 3.
        let syndrome = access(0x9383_004f);
        assert_eq!(syndrome.class(), 0x24);
        assert!(syndrome.is_valid() && syndrome.is_write() && !syndrome.is_signed());
        assert_eq!((syndrome.size(), syndrome.register()), (4, 3));
        assert_eq!(syndrome.fault_status(), FaultStatus::Permission);
        assert!(!syndrome.is_64_bit() && !syndrome.is_table_walk());
        assert_eq!(syndrome.stored(0x1_2345_6789_abcd), 0x6789_abcd);
    }

    #[test]
    fn loads_are_cut_and_extended() {
        let syndrome =
            |sas: u64, sse: u64, sf: u64| Syndrome(0x9300_0007 | sas << 22 | sse << 21 | sf << 15);
        let value = 0xfedc_ba98_f6d4_b281;
        let table = [
            (0, 0, 0, 0x81),
            (0, 1, 0, 0xffff_ff81),
            (0, 1, 1, 0xffff_ffff_ffff_ff81),
            (1, 0, 1, 0xb281),
            (1, 1, 0, 0xffff_b281),
            (2, 0, 0, 0xf6d4_b281),
            (2, 1, 1, 0xffff_ffff_f6d4_b281),
            (3, 0, 1, value),
        ];
        for (sas, sse, sf, expected) in table {
            let found = syndrome(sas, sse, sf).loaded(value);
            assert_eq!(found, expected, "size {sas} signed {sse} wide {sf}");
        }
        for (sas, expected) in [(0, 0x81), (1, 0xb281), (2, 0xf6d4_b281), (3, value)] {
            assert_eq!(syndrome(sas, 0, 0).stored(value), expected);
        }
    }

    #[test]
    fn an_access_without_description_says_so() {
        let syndrome = access(0x9200_0047);
        assert!(!syndrome.is_valid() && syndrome.is_write());
        assert_eq!(syndrome.fault_status(), FaultStatus::Translation);
        let access = Access {
            ip: 1,
            address: 2,
            syndrome,
        };
        assert!(access.to_string().contains("does not describe"));
        assert!(Syndrome(0x9200_0147).is_cache_maintenance());
        assert!(Syndrome(0x9200_0087).is_table_walk());
        assert_eq!(Syndrome(0x10).fault_status(), FaultStatus::External);
        assert_eq!(Syndrome(0x21).fault_status(), FaultStatus::Other);
    }

    #[test]
    fn a_fetch_is_told_from_an_access() {
        let exit = decode(6, &[0x1000, 0x2000, 1, 0x8200_0006]);
        let expected = Exit::Fetch {
            ip: 0x1000,
            address: 0x2000,
            syndrome: Syndrome(0x8200_0006),
        };
        assert_eq!(exit, expected);
    }

    #[test]
    fn waits_and_calls() {
        let trap = |esr| decode(8, &[esr]);
        assert_eq!(trap(0x07e0_0000), Exit::Wait(Wait::Interrupt));
        for event in 1..4 {
            assert_eq!(trap(0x07e0_0000 | event), Exit::Wait(Wait::Event));
        }
        assert_eq!(trap(0x5e00_0000), Exit::Smc);
        assert_eq!(trap(0x4e00_0000), Exit::Smc);
        assert_eq!(
            trap(0x1e00_0000),
            Exit::Other {
                label: 8,
                word: 0x1e00_0000
            }
        );
        for (esr, extension) in [
            (0x2600_0000, Extension::PointerAuthentication),
            (0x6600_0000, Extension::Sve),
            (0x7600_0002, Extension::Sme),
        ] {
            assert_eq!(trap(esr), Exit::Extension(extension));
        }
        let mut words = [0; 13];
        for (index, word) in (0..).zip(&mut words) {
            *word = 100 + index;
        }
        let expected = Exit::Hypercall {
            ip: 108,
            arguments: [100, 101, 102, 103],
        };
        assert_eq!(decode(2, &words), expected);
    }

    #[test]
    fn system_registers_have_names() {
        // MRS x5, S3_3_C14_C2_1 (CNTP_CTL_EL0).
        let esr =
            0x18 << 26 | 1 << 25 | 3 << 20 | 1 << 17 | 3 << 14 | 14 << 10 | 5 << 5 | 2 << 1 | 1;
        let Exit::SystemRegister(register) = decode(8, &[esr]) else {
            panic!("no system register");
        };
        assert_eq!(register.name, (3, 3, 14, 2, 1));
        assert_eq!((register.register, register.read), (5, true));
        assert_eq!(format!("{register:?}"), "read of S3_3_C14_C2_1");
        let purpose = |name| SystemRegister { name, ..register }.purpose();
        for (name, expected) in [
            // MDSCR_EL1, PMCR_EL0, PMINTENSET_EL1, PMCCFILTR_EL0; CNTP_CTL_EL0, SCTLR_EL1.
            ((2, 0, 0, 2, 2), Purpose::Debug),
            ((3, 3, 9, 12, 0), Purpose::Debug),
            ((3, 0, 9, 14, 1), Purpose::Debug),
            ((3, 3, 14, 15, 7), Purpose::Debug),
            ((3, 3, 14, 2, 1), Purpose::Other),
            ((3, 0, 1, 0, 0), Purpose::Other),
            // ICC_SGI1R_EL1, ICC_ASGI1R_EL1, ICC_SGI0R_EL1, ICC_SRE_EL1.
            ((3, 0, 12, 11, 5), Purpose::GenerateSgi),
            ((3, 0, 12, 11, 6), Purpose::GenerateSgiOfGroup0),
            ((3, 0, 12, 11, 7), Purpose::GenerateSgiOfGroup0),
            ((3, 0, 12, 12, 5), Purpose::InterruptRegistersEnable),
        ] {
            assert_eq!(purpose(name), expected, "{name:?}");
        }
    }

    #[test]
    fn interrupt_messages() {
        assert_eq!(decode(7, &[2]), Exit::Maintenance(Some(2)));
        assert_eq!(decode(7, &[u64::MAX]), Exit::Maintenance(None));
        assert_eq!(decode(9, &[27]), Exit::PrivateInterrupt(27));
        for label in [0, 1, 3, 4, 5, 10, u64::MAX] {
            assert_eq!(decode(label, &[7]), Exit::Other { label, word: 7 });
        }
    }
}
