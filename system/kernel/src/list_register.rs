//! List registers of the virtual CPU interface, as a GICv2 has them (GICH_LR) and as a GICv3 (`ICH_LR<n>_EL2`), and what may be injected.

use sel4cp_abi::message::Error;

/// A list register's value, in the form of a GICv2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListRegister(pub u32);

/// What a list register says about its interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing, or done.
    Invalid,
    /// Not taken yet.
    Pending,
    /// Taken by the guest, not ended.
    Active,
    /// Taken, and pending again.
    Both,
}

impl ListRegister {
    /// Bit: tell the hypervisor when the guest ends the interrupt.
    const END_INTERRUPT: u32 = 1 << 19;

    /// A pending interrupt whose end is told. Fields are in range.
    const fn pending(number: u32, priority: u32, group: u32) -> Self {
        Self(number | Self::END_INTERRUPT | priority << 23 | 1 << 28 | group << 30)
    }

    /// Its state.
    pub const fn state(self) -> State {
        match self.0 >> 28 & 3 {
            0 => State::Invalid,
            1 => State::Pending,
            2 => State::Active,
            _ => State::Both,
        }
    }

    /// The same in the form of a GICv3.
    pub fn to_v3(self) -> u64 {
        let field = |shift: u32, mask: u32| u64::from(self.0 >> shift & mask);
        field(0, 0x3ff)
            | field(19, 1) << 41
            | field(23, 31) << 48
            | field(30, 1) << 60
            | field(28, 3) << 62
    }

    /// From the form of a GICv3.
    pub fn from_v3(value: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "masked")]
        let field = |shift: u32, mask: u64| (value >> shift & mask) as u32;
        Self(
            field(0, 0x3ff)
                | field(41, 1) << 19
                | field(48, 31) << 23
                | field(60, 1) << 30
                | field(62, 3) << 28,
        )
    }

    /// The same, no longer telling the end of the interrupt.
    pub const fn without_end(self) -> Self {
        Self(self.0 & !Self::END_INTERRUPT)
    }
}

/// A refused injection: the error and, for a range error, the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The error.
    pub error: Error,
    /// The highest value allowed (the lowest is 0).
    pub highest: u64,
}

/// What VCPU InjectIRQ with this argument writes where: the list register's index and value. `count` is the number of
/// list registers, `seen` tells what was last seen in one.
///
/// # Errors
/// In seL4's order of checks: interrupt, priority, group, index, then whether the register's interrupt is active.
pub fn inject(
    argument: u64,
    count: u8,
    seen: impl Fn(u8) -> ListRegister,
) -> Result<(u8, ListRegister), Refused> {
    #[expect(clippy::cast_possible_truncation, reason = "masked")]
    let field = |shift: u32, mask: u64| (argument >> shift & mask) as u32;
    let number = field(0, 0xffff);
    let priority = field(16, 0xff);
    let group = field(24, 0xff);
    let index = field(32, 0xff);
    let range = |value: u32, highest: u32| {
        let refused = Refused {
            error: Error::RangeError,
            highest: u64::from(highest),
        };
        if value > highest {
            Err(refused)
        } else {
            Ok(())
        }
    };
    range(number, 1023)?;
    range(priority, 31)?;
    range(group, 1)?;
    range(index, u32::from(count).saturating_sub(1))?;
    #[expect(clippy::cast_possible_truncation, reason = "masked to eight bits")]
    let index = index as u8;
    if seen(index).state() == State::Active {
        return Err(Refused {
            error: Error::DeleteFirst,
            highest: 0,
        });
    }
    Ok((index, ListRegister::pending(number, priority, group)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: fn(u8) -> ListRegister = |_| ListRegister(0);

    #[test]
    fn an_injection_is_pending_and_tells_its_end() {
        let (index, value) = inject(2 << 32 | 1 << 24 | 31 << 16 | 48, 4, FREE).unwrap();
        assert_eq!(index, 2);
        assert_eq!(value.0, 1 << 30 | 1 << 28 | 31 << 23 | 1 << 19 | 48);
        assert_eq!(value.state(), State::Pending);
        assert_eq!(value.without_end().0 & 1 << 19, 0);
    }

    #[test]
    fn the_two_forms_say_the_same() {
        let (_, value) = inject(2 << 32 | 1 << 24 | 31 << 16 | 48, 4, FREE).unwrap();
        assert_eq!(value.to_v3(), 1 << 62 | 1 << 60 | 31 << 48 | 1 << 41 | 48);
        for value in [
            value,
            value.without_end(),
            ListRegister(3 << 28 | 1023),
            ListRegister(0),
        ] {
            assert_eq!(ListRegister::from_v3(value.to_v3()), value);
        }
    }

    #[test]
    fn fields_out_of_range_tell_their_bound() {
        let highest = |argument| inject(argument, 4, FREE).unwrap_err();
        for (argument, bound) in [(1024, 1023), (32 << 16, 31), (2 << 24, 1), (4 << 32, 3)] {
            assert_eq!(highest(argument).error, Error::RangeError);
            assert_eq!(highest(argument).highest, bound);
        }
    }

    #[test]
    fn only_an_active_register_is_protected() {
        for (state, allowed) in [(0, true), (1, true), (2, false), (3, true)] {
            let result = inject(27, 4, |_| ListRegister(state << 28));
            assert_eq!(result.is_ok(), allowed, "state {state}");
        }
        let error = inject(27, 4, |_| ListRegister(2 << 28)).unwrap_err();
        assert_eq!(error.error, Error::DeleteFirst);
    }
}
