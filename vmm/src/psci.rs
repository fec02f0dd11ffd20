//! What firmware does for a guest: PSCI 1.1 (Arm DEN 0022) and the SMC calling convention (DEN 0028).
//!
//! Pure: arguments in, what to do out. Who carries it out is the guest's lifecycle.

/// What a firmware call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// The answer is known: x0.
    Return(u64),
    /// Start a vCPU.
    CpuOn {
        /// Its MPIDR.
        target: u64,
        /// Where, guest-physical.
        entry: u64,
        /// Its x0.
        context: u64,
    },
    /// Stop the calling vCPU.
    CpuOff,
    /// Let the calling vCPU sleep until an interrupt is pending. All power states are served as standby, which
    /// PSCI allows (§5.4.5: the call then returns).
    CpuSuspend,
    /// Tell whether a vCPU runs.
    AffinityInfo {
        /// Its MPIDR.
        target: u64,
    },
    /// Power the guest off.
    SystemOff,
    /// Start the guest again.
    SystemReset,
}

/// Results of PSCI calls (§5.2.2), as 32-bit numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Result {
    /// Done.
    Success = 0,
    /// There is no such function.
    NotSupported = -1,
    /// An argument is wrong.
    InvalidParameters = -2,
    /// The caller may not.
    Denied = -3,
    /// The vCPU runs.
    AlreadyOn = -4,
    /// The vCPU is being started.
    OnPending = -5,
    /// The entry address is wrong.
    InvalidAddress = -9,
}

/// States of AFFINITY_INFO (§5.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Affinity {
    /// It runs.
    On = 0,
    /// It does not.
    Off = 1,
}

impl Result {
    /// As the caller finds it in x0.
    pub const fn value(self) -> u64 {
        (self as i64).cast_unsigned()
    }
}

/// Function ids. Those with a 64-bit variant have it at `SMC64` more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs, reason = "the names are the specifications'")]
pub enum Function {
    SmcccVersion = 0x8000_0000,
    SmcccArchFeatures = 0x8000_0001,
    PsciVersion = 0x8400_0000,
    CpuSuspend = 0x8400_0001,
    CpuOff = 0x8400_0002,
    CpuOn = 0x8400_0003,
    AffinityInfo = 0x8400_0004,
    MigrateInfoType = 0x8400_0006,
    SystemOff = 0x8400_0008,
    SystemReset = 0x8400_0009,
    PsciFeatures = 0x8400_000a,
    SystemReset2 = 0x8400_0012,
}

/// Bit of a function id: arguments are 64 bits wide.
const SMC64: u32 = 1 << 30;
/// PSCI 1.1 and SMCCC 1.1: major in the upper half, minor in the lower.
const VERSION_1_1: u64 = 0x1_0001;
/// MIGRATE_INFO_TYPE: there is no trusted OS that would have to move (§5.9).
const NO_TRUSTED_OS: u64 = 2;
/// Bit of SYSTEM_RESET2's type: the vendor's own (§5.12).
const VENDOR_RESET: u64 = 1 << 31;

impl Function {
    const ALL: [Self; 12] = [
        Self::SmcccVersion,
        Self::SmcccArchFeatures,
        Self::PsciVersion,
        Self::CpuSuspend,
        Self::CpuOff,
        Self::CpuOn,
        Self::AffinityInfo,
        Self::MigrateInfoType,
        Self::SystemOff,
        Self::SystemReset,
        Self::PsciFeatures,
        Self::SystemReset2,
    ];

    /// Whether there is a variant with 64-bit arguments.
    const fn has_64_bit(self) -> bool {
        matches!(
            self,
            Self::CpuSuspend | Self::CpuOn | Self::AffinityInfo | Self::SystemReset2
        )
    }

    /// The function with this id, and whether its arguments are 64 bits wide.
    fn from_id(id: u32) -> Option<(Self, bool)> {
        let wide = id & SMC64 != 0;
        Self::ALL
            .into_iter()
            .find(|function| *function as u32 == id & !SMC64)
            .filter(|function| !wide || function.has_64_bit())
            .map(|function| (function, wide))
    }
}

/// What the call with x0 to x3 asks for.
pub fn call(arguments: [u64; 4]) -> Call {
    let [id, first, second, third] = arguments;
    // The id is w0: the upper half is not part of it (SMCCC §2.5).
    let [b0, b1, b2, b3, ..] = id.to_le_bytes();
    let id = u32::from_le_bytes([b0, b1, b2, b3]);
    let Some((function, wide)) = Function::from_id(id) else {
        return refuse(Result::NotSupported);
    };
    let mask = if wide { u64::MAX } else { 0xffff_ffff };
    let [first, second, third] = [first & mask, second & mask, third & mask];
    match function {
        Function::PsciVersion | Function::SmcccVersion => Call::Return(VERSION_1_1),
        Function::SmcccArchFeatures => arch_features(first),
        Function::PsciFeatures => psci_features(first),
        Function::MigrateInfoType => Call::Return(NO_TRUSTED_OS),
        Function::CpuSuspend => Call::CpuSuspend,
        Function::CpuOff => Call::CpuOff,
        Function::CpuOn => Call::CpuOn {
            target: first,
            entry: second,
            context: third,
        },
        Function::AffinityInfo if second == 0 => Call::AffinityInfo { target: first },
        Function::AffinityInfo => refuse(Result::InvalidParameters),
        Function::SystemOff => Call::SystemOff,
        Function::SystemReset => Call::SystemReset,
        Function::SystemReset2 if first == 0 => Call::SystemReset,
        Function::SystemReset2 if first & VENDOR_RESET != 0 => refuse(Result::NotSupported),
        Function::SystemReset2 => refuse(Result::InvalidParameters),
    }
}

/// Which PSCI functions there are. CPU_SUSPEND has the original format of its power state, and no mode in which
/// the operating system coordinates (§5.13: flags 0), so the answer is 0 for all of them.
fn psci_features(id: u64) -> Call {
    let known = u32::try_from(id)
        .ok()
        .and_then(Function::from_id)
        .is_some_and(|(function, _)| function != Function::SmcccArchFeatures);
    refuse(if known {
        Result::Success
    } else {
        Result::NotSupported
    })
}

/// Which of the convention's own functions there are: no workaround is, as the kernel handles the hardware's.
fn arch_features(id: u64) -> Call {
    let known = [Function::SmcccVersion, Function::SmcccArchFeatures];
    refuse(if known.iter().any(|function| *function as u64 == id) {
        Result::Success
    } else {
        Result::NotSupported
    })
}

fn refuse(result: Result) -> Call {
    Call::Return(result.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_SUPPORTED: Call = Call::Return(u64::MAX);
    const INVALID: Call = Call::Return(u64::MAX - 1);

    fn with(id: u32, arguments: [u64; 3]) -> Call {
        let [first, second, third] = arguments;
        call([id.into(), first, second, third])
    }

    #[test]
    fn versions_are_1_1() {
        assert_eq!(with(0x8400_0000, [0; 3]), Call::Return(0x1_0001));
        assert_eq!(with(0x8000_0000, [0; 3]), Call::Return(0x1_0001));
        assert_eq!(with(0x8400_0006, [0; 3]), Call::Return(2));
    }

    #[test]
    fn the_upper_half_of_x0_is_not_part_of_the_id() {
        assert_eq!(call([0xdead_beef_8400_0008, 0, 0, 0]), Call::SystemOff);
    }

    #[test]
    fn arguments_have_the_width_of_the_call() {
        let arguments = [1 << 40 | 2, 1 << 40 | 0x4000_0000, u64::MAX];
        let wide = Call::CpuOn {
            target: 1 << 40 | 2,
            entry: 1 << 40 | 0x4000_0000,
            context: u64::MAX,
        };
        let narrow = Call::CpuOn {
            target: 2,
            entry: 0x4000_0000,
            context: 0xffff_ffff,
        };
        assert_eq!(with(0xc400_0003, arguments), wide);
        assert_eq!(with(0x8400_0003, arguments), narrow);
    }

    #[test]
    fn lifecycle_calls() {
        assert_eq!(with(0x8400_0002, [0; 3]), Call::CpuOff);
        assert_eq!(with(0x8400_0001, [0; 3]), Call::CpuSuspend);
        assert_eq!(with(0xc400_0001, [1 << 16, 0, 0]), Call::CpuSuspend);
        assert_eq!(with(0x8400_0009, [0; 3]), Call::SystemReset);
        assert_eq!(with(0x8400_0012, [0; 3]), Call::SystemReset);
        assert_eq!(with(0xc400_0012, [1 << 31, 0, 0]), NOT_SUPPORTED);
        assert_eq!(with(0xc400_0012, [1, 0, 0]), INVALID);
        assert_eq!(
            with(0xc400_0004, [1, 0, 0]),
            Call::AffinityInfo { target: 1 }
        );
        assert_eq!(with(0xc400_0004, [1, 1, 0]), INVALID);
    }

    #[test]
    fn features_list_what_there_is() {
        let known = [
            0x8000_0000,
            0x8400_0000,
            0x8400_0001,
            0xc400_0001,
            0x8400_0002,
            0x8400_0003,
            0xc400_0003,
            0x8400_0004,
            0xc400_0004,
            0x8400_0006,
            0x8400_0008,
            0x8400_0009,
            0x8400_000a,
            0x8400_0012,
            0xc400_0012,
        ];
        for id in known {
            assert_eq!(with(0x8400_000a, [id, 0, 0]), Call::Return(0), "{id:#x}");
        }
        // MIGRATE, STAT_COUNT, a 64-bit variant that does not exist, TRNG, numbers wider than an id.
        for id in [
            0x8400_0005,
            0x8400_0010,
            0xc400_0008,
            0x8400_0050,
            0x8000_0001,
            1 << 33,
        ] {
            assert_eq!(with(0x8400_000a, [id, 0, 0]), NOT_SUPPORTED, "{id:#x}");
        }
        assert_eq!(with(0x8000_0001, [0x8000_0001, 0, 0]), Call::Return(0));
        assert_eq!(with(0x8000_0001, [0x8000_8000, 0, 0]), NOT_SUPPORTED);
    }

    #[test]
    fn what_is_unknown_is_not_supported() {
        for id in [
            0,
            1,
            0x8400_0005,
            0xc400_0000,
            0xc400_0008,
            0x8600_0000,
            0xffff_ffff,
        ] {
            assert_eq!(with(id, [0; 3]), NOT_SUPPORTED, "{id:#x}");
        }
    }

    #[test]
    fn results_are_sign_extended() {
        assert_eq!(Result::NotSupported.value(), u64::MAX);
        assert_eq!(Result::InvalidAddress.value(), 0xffff_ffff_ffff_fff7);
    }
}
