//! The kinds of UARTs that the serial driver knows.

/// Which UART a machine has, as a configuration says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum UartKind {
    /// Arm's PL011.
    Pl011 = 1,
    /// NXP's, in the i.MX family.
    Imx = 2,
    /// Amlogic's, in the Meson family.
    Meson = 3,
    /// Cadence's, in AMD's Zynq family.
    Cadence = 4,
}

impl UartKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Pl011, Self::Imx, Self::Meson, Self::Cadence];

    /// The kind with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_comes_back_from_its_number() {
        for kind in UartKind::ALL {
            assert_eq!(UartKind::from_number(kind as u32), Some(kind));
        }
        assert_eq!(UartKind::from_number(0), None);
        assert_eq!(UartKind::from_number(5), None);
    }
}
