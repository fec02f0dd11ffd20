//! The distributor's registers (IHI 0048B, table 4-1).

/// A register, with what it is about: a word of 32 interrupts, or the first interrupt of the four in a word of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    /// GICD_CTLR.
    Control,
    /// GICD_TYPER.
    Type,
    /// GICD_IIDR.
    Implementer,
    /// GICD_IGROUPR.
    Group(usize),
    /// GICD_ISENABLER.
    SetEnable(usize),
    /// GICD_ICENABLER.
    ClearEnable(usize),
    /// GICD_ISPENDR.
    SetPending(usize),
    /// GICD_ICPENDR.
    ClearPending(usize),
    /// GICD_ISACTIVER.
    SetActive(usize),
    /// GICD_ICACTIVER.
    ClearActive(usize),
    /// GICD_IPRIORITYR: first interrupt.
    Priority(usize),
    /// GICD_ITARGETSR: first interrupt.
    Target(usize),
    /// GICD_ICFGR: 16 interrupts each.
    Configuration(usize),
    /// GICD_SGIR.
    Generate,
    /// GICD_CPENDSGIR: first SGI.
    ClearSgi(usize),
    /// GICD_SPENDSGIR: first SGI.
    SetSgi(usize),
    /// GICD_PIDR, GICD_CIDR: the component's identification.
    Identification(usize),
}

/// Offset of the first word, number of words, and what they are. Numbers of words are those for 1020 interrupts.
type Row = (u64, u64, fn(usize) -> Register);

const TABLE: [Row; 17] = [
    (0x000, 1, |_| Register::Control),
    (0x004, 1, |_| Register::Type),
    (0x008, 1, |_| Register::Implementer),
    (0x080, 32, Register::Group),
    (0x100, 32, Register::SetEnable),
    (0x180, 32, Register::ClearEnable),
    (0x200, 32, Register::SetPending),
    (0x280, 32, Register::ClearPending),
    (0x300, 32, Register::SetActive),
    (0x380, 32, Register::ClearActive),
    (0x400, 255, |word| Register::Priority(4 * word)),
    (0x800, 255, |word| Register::Target(4 * word)),
    (0xc00, 64, Register::Configuration),
    (0xf00, 1, |_| Register::Generate),
    (0xf10, 4, |word| Register::ClearSgi(4 * word)),
    (0xf20, 4, |word| Register::SetSgi(4 * word)),
    (0xfd0, 12, Register::Identification),
];

impl Register {
    /// The register whose word holds `offset`; `None` for a reserved one.
    pub(super) fn at(offset: u64) -> Option<Self> {
        let (first, _, make) = TABLE
            .iter()
            .find(|(first, count, _)| (*first..first + 4 * count).contains(&offset))?;
        Some(make(usize::try_from((offset - first) / 4).ok()?))
    }

    /// The register of a GICv3's distributor: SPIs only, and no targets, because affinity routing is always on
    /// (IHI 0069H §12.8). Routes are not here: they are wider.
    pub(super) fn of_distributor(offset: u64) -> Option<Self> {
        match Self::at(offset) {
            Some(
                Self::Identification(_)
                | Self::Target(_)
                | Self::Generate
                | Self::ClearSgi(_)
                | Self::SetSgi(_),
            ) => None,
            None => Self::identification(offset),
            Some(register) if register.is_private() => None,
            register => register,
        }
    }

    /// The register of a redistributor's second frame: SGIs and PPIs, at the offsets where a GICv2's distributor has them
    /// (IHI 0069H §12.10).
    pub(super) fn of_private_frame(offset: u64) -> Option<Self> {
        Self::at(offset).filter(|register| register.is_private())
    }

    /// The identification registers of a GICv3's frames, at the end of 64 KiB.
    pub(super) fn identification(offset: u64) -> Option<Self> {
        let index = offset.checked_sub(0xffd0)? / 4;
        let index = usize::try_from(index).ok()?;
        (index < 12).then_some(Self::Identification(index))
    }

    /// Whether it is about SGIs and PPIs.
    const fn is_private(self) -> bool {
        matches!(
            self,
            Self::Group(0)
                | Self::SetEnable(0)
                | Self::ClearEnable(0)
                | Self::SetPending(0)
                | Self::ClearPending(0)
                | Self::SetActive(0)
                | Self::ClearActive(0)
                | Self::Priority(0..32)
                | Self::Configuration(0 | 1)
        )
    }

    /// Whether single bytes of it may be accessed (§4.1.4).
    pub(super) const fn has_bytes(self) -> bool {
        matches!(
            self,
            Self::Priority(_) | Self::Target(_) | Self::ClearSgi(_) | Self::SetSgi(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_where_the_manual_has_them() {
        for (offset, expected) in [
            (0x000, Some(Register::Control)),
            (0x004, Some(Register::Type)),
            (0x00c, None),
            (0x084, Some(Register::Group(1))),
            (0x100, Some(Register::SetEnable(0))),
            (0x17c, Some(Register::SetEnable(31))),
            (0x180, Some(Register::ClearEnable(0))),
            (0x208, Some(Register::SetPending(2))),
            (0x280, Some(Register::ClearPending(0))),
            (0x304, Some(Register::SetActive(1))),
            (0x380, Some(Register::ClearActive(0))),
            (0x41b, Some(Register::Priority(24))),
            (0x7fc, None),
            (0x820, Some(Register::Target(32))),
            (0xc04, Some(Register::Configuration(1))),
            (0xd00, None),
            (0xe00, None),
            (0xf00, Some(Register::Generate)),
            (0xf1c, Some(Register::ClearSgi(12))),
            (0xf20, Some(Register::SetSgi(0))),
            (0xfe8, Some(Register::Identification(6))),
            (0x1000, None),
            (u64::MAX, None),
        ] {
            assert_eq!(Register::at(offset), expected, "{offset:#x}");
        }
    }
}
