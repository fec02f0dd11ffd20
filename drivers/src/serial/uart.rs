//! The UARTs that machines have: one program for all of them, and the configuration says which it is.
//!
//! Only the PL011 gets its speed here. The others' depends on clocks that the firmware has set up, and it has used
//! them before: speed, pins and clocks stay as they are.

#![expect(unsafe_code, reason = "device registers")]

use super::cadence::Cadence;
use super::imx::Imx;
use super::line::Line;
use super::meson::Meson;
use super::pl011::Pl011;
use safe_mmio::UniqueMmioPointer;
use sel4cp_abi::config::Region;
use sel4cp_abi::uart::UartKind;
use sel4cp_pd::{self as pd, RegionError};
use zerocopy::{FromBytes, IntoBytes};

/// The machine's UART.
#[allow(missing_docs, reason = "the kinds' names")]
pub enum Uart {
    Pl011(Pl011),
    Imx(Imx),
    Meson(Meson),
    Cadence(Cadence),
}

impl Uart {
    /// The UART of this kind whose registers are `region`: enabled, 8N1, all interrupts masked.
    ///
    /// # Errors
    /// [`RegionError`] says what is wrong with the region.
    pub fn new(kind: UartKind, region: &'static Region) -> Result<Self, RegionError> {
        Ok(match kind {
            UartKind::Pl011 => Self::Pl011(Pl011::new(region)?),
            UartKind::Imx => Self::Imx(Imx::new(region)?),
            UartKind::Meson => Self::Meson(Meson::new(region)?),
            UartKind::Cadence => Self::Cadence(Cadence::new(region)?),
        })
    }

    fn line(&self) -> &dyn Line {
        match self {
            Self::Pl011(uart) => uart,
            Self::Imx(uart) => uart,
            Self::Meson(uart) => uart,
            Self::Cadence(uart) => uart,
        }
    }

    fn line_mut(&mut self) -> &mut dyn Line {
        match self {
            Self::Pl011(uart) => uart,
            Self::Imx(uart) => uart,
            Self::Meson(uart) => uart,
            Self::Cadence(uart) => uart,
        }
    }
}

impl Line for Uart {
    fn send(&mut self, bytes: &[u8]) -> usize {
        self.line_mut().send(bytes)
    }

    fn receive(&mut self) -> Option<u8> {
        self.line_mut().receive()
    }

    fn is_idle(&self) -> bool {
        self.line().is_idle()
    }

    fn is_almost_idle(&self) -> bool {
        self.line().is_almost_idle()
    }

    fn listen(&mut self, incoming: bool, room: bool) {
        self.line_mut().listen(incoming, room);
    }
}

/// The registers `T` in `region`.
pub(super) fn registers<T: FromBytes + IntoBytes>(
    region: &'static Region,
) -> Result<UniqueMmioPointer<'static, T>, RegionError> {
    let registers = pd::claim(region, size_of::<T>(), 0x1000)?.cast();
    // SAFETY: the tool maps the UART's registers there, for this PD alone and as long as it runs; `claim` has checked size
    // and alignment and hands the region out once. Whatever the registers hold is a `T`.
    Ok(unsafe { UniqueMmioPointer::new(registers) })
}

/// Sends from the first of `bytes` as many as the FIFO takes, and returns how many. `room` looks how many there is room
/// for at least (0: it is full); it is asked once for so many bytes, and not for each of them.
pub(super) fn fill<U>(
    uart: &mut U,
    bytes: &[u8],
    room: impl Fn(&U) -> usize,
    mut put: impl FnMut(&mut U, u8),
) -> usize {
    let mut rest = bytes;
    while !rest.is_empty() {
        let room = room(uart);
        if room == 0 {
            break;
        }
        let (now, later) = rest.split_at(room.min(rest.len()));
        now.iter().for_each(|byte| put(uart, *byte));
        rest = later;
    }
    bytes.len() - rest.len()
}

#[cfg(test)]
pub(super) mod fake {
    //! Registers that are memory: what is written stays, and nothing moves by itself.

    use super::*;

    /// A page of registers.
    pub(in crate::serial) struct Fake(*mut u32);

    impl Fake {
        /// A page with `values` at their offsets, and the UART on it.
        pub(in crate::serial) fn new(kind: UartKind, values: &[(usize, u32)]) -> (Self, Uart) {
            let region = Box::leak(Box::new(pd::host::region(0x1000)));
            let fake = Self(core::ptr::with_exposed_provenance_mut(
                usize::try_from(region.vaddr).unwrap(),
            ));
            for (offset, value) in values {
                fake.write(*offset, *value);
            }
            (fake, Uart::new(kind, region).unwrap())
        }

        fn register(&self, offset: usize) -> *mut u32 {
            assert!(offset < 0x1000 && offset.is_multiple_of(4));
            // SAFETY: in the page that the fake was made for.
            unsafe { self.0.add(offset / 4) }
        }

        pub(in crate::serial) fn write(&self, offset: usize, value: u32) {
            // SAFETY: `register` has checked the offset.
            unsafe { self.register(offset).write_volatile(value) };
        }

        pub(in crate::serial) fn read(&self, offset: usize) -> u32 {
            // SAFETY: `register` has checked the offset.
            unsafe { self.register(offset).read_volatile() }
        }
    }
}
