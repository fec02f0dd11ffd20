//! Programs that break: copies of ours whose first instructions are others.

use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};
use std::path::Path;

/// Where each program's own code begins, after the runtime has given it a stack.
const START: &str = "sel4cp_main";

/// What a program does wrong, first of all.
#[derive(Clone, Copy, Debug)]
pub enum Mistake {
    /// It writes to address 0.
    WriteToZero,
    /// It uses more stack than it has.
    StackOverflow,
    /// It makes a system call that does not exist, number -100.
    UnknownSyscall,
    /// It runs into what is no instruction.
    Undefined,
    /// It reads where the bundled kernel sees itself.
    ReadKernel,
    /// It writes there.
    WriteKernel,
    /// It jumps there.
    RunKernel,
}

impl Mistake {
    fn instructions(self) -> &'static [u32] {
        match self {
            // mov x0, #0; str x0, [x0]
            Self::WriteToZero => &[0xd280_0000, 0xf900_0000],
            // again: str x0, [sp, #-16]!; b again
            Self::StackOverflow => &[0xf81f_0fe0, 0x17ff_ffff],
            // mov x7, #-100; svc #0
            Self::UnknownSyscall => &[0x9280_0c67, 0xd400_0001],
            // udf #0
            Self::Undefined => &[0],
            // mov x0, #0x800000000000; movk x0, #0x7000, lsl #16; then: ldr x0, [x0]; str x0, [x0]; br x0
            Self::ReadKernel => &[0xd2d0_0000, 0xf2ae_0000, 0xf940_0000],
            Self::WriteKernel => &[0xd2d0_0000, 0xf2ae_0000, 0xf900_0000],
            Self::RunKernel => &[0xd2d0_0000, 0xf2ae_0000, 0xd61f_0000],
        }
    }

    /// Writes it over the start of the program in the ELF file at `path`.
    pub(crate) fn put_into(self, path: &Path) {
        let mut bytes = std::fs::read(path).expect("the program is there");
        let at = start(&bytes);
        let code = self
            .instructions()
            .iter()
            .flat_map(|word| word.to_le_bytes());
        for (to, from) in bytes.iter_mut().skip(at).zip(code) {
            *to = from;
        }
        std::fs::write(path, bytes).expect("the program's copy can be written");
    }
}

/// Where the program's start is in its ELF file.
fn start(bytes: &[u8]) -> usize {
    let file = object::File::parse(bytes).expect("a program is an ELF file");
    let address = file
        .symbol_by_name(START)
        .expect("a program starts")
        .address();
    let offset = file.segments().find_map(|segment| {
        let inside = address.checked_sub(segment.address())?;
        let (offset, size) = segment.file_range();
        (inside < size).then_some(offset + inside)
    });
    let offset = offset.expect("the start is in a segment");
    usize::try_from(offset).expect("an offset fits an address")
}
