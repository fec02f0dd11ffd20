//! Small made-up ELF files and kernels.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test states what must hold by unwrapping it"
)]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test program uses a part, as a module of its own"
)]

pub mod made;
pub mod sdf;

use std::path::{Path, PathBuf};
use xtask::pack::{Configuration, pack};

/// A program to make.
#[derive(Clone)]
pub struct Elf {
    /// As ELF numbers machines.
    pub machine: u16,
    /// Entry point.
    pub entry: u64,
    /// Address, contents, bytes in memory, flags.
    pub segments: Vec<(u64, Vec<u8>, u64, u32)>,
    /// Name, address, size.
    pub symbols: Vec<(String, u64, u64)>,
}

/// Where the code of [`Elf::program`] is.
pub const CODE: u64 = 0x20_0000;
/// Where the data of [`Elf::program`] is.
pub const DATA: u64 = 0x20_2000;
/// Where the first of its variables is.
pub const VARIABLES: u64 = DATA + 0x100;

const EXECUTE: u32 = 1;
const WRITE: u32 = 2;
const READ: u32 = 4;

impl Elf {
    /// A PD's program: a page of code, and data with the Microkit's symbols and `variables` of eight bytes each.
    pub fn program(variables: &[&str]) -> Self {
        let microkit = [
            ("microkit_name", 0, 64),
            ("microkit_passive", 64, 1),
            ("microkit_irqs", 72, 8),
            ("microkit_notifications", 80, 8),
            ("microkit_pps", 88, 8),
            ("microkit_ioports", 96, 8),
        ];
        let microkit = microkit.map(|(name, offset, size)| (name.to_owned(), DATA + offset, size));
        let addresses = (VARIABLES..).step_by(8);
        let variables = variables.iter().zip(addresses);
        let variables = variables.map(|(name, address)| ((*name).to_owned(), address, 8));
        Self {
            machine: 183,
            entry: CODE,
            segments: vec![
                (CODE, vec![0x14; 0x10], 0x10, READ | EXECUTE),
                (DATA, vec![0xff; 0x200], 0x5000, READ | WRITE),
            ],
            symbols: microkit.into_iter().chain(variables).collect(),
        }
    }

    /// A kernel that takes two pages.
    pub fn kernel() -> Self {
        let base = sel4cp_abi::image::BASE;
        Self {
            machine: 183,
            entry: base,
            segments: vec![(base, vec![0x15; 0x20], 0x1800, READ | WRITE | EXECUTE)],
            symbols: vec![("__kernel_end".to_owned(), base + 0x2000, 0)],
        }
    }

    /// The file's bytes: header, program headers, contents, symbols, their names, section headers.
    pub fn bytes(&self) -> Vec<u8> {
        let mut names = vec![0];
        let mut symbols = vec![0; 24];
        for (name, address, size) in &self.symbols {
            symbols.extend(u32::try_from(names.len()).unwrap().to_le_bytes());
            // A global object in section 1.
            symbols.extend([0x11, 0, 1, 0]);
            symbols.extend(address.to_le_bytes());
            symbols.extend(size.to_le_bytes());
            names.extend(name.bytes().chain([0]));
        }
        let mut headers = Vec::new();
        let mut contents = Vec::new();
        let first = 64 + 56 * self.segments.len();
        for (address, bytes, memory, flags) in &self.segments {
            headers.extend(1_u32.to_le_bytes());
            headers.extend(flags.to_le_bytes());
            let words = [
                first + contents.len(),
                usize::try_from(*address).unwrap(),
                usize::try_from(*address).unwrap(),
                bytes.len(),
                usize::try_from(*memory).unwrap(),
                0x1000,
            ];
            headers.extend(words.into_iter().flat_map(usize::to_le_bytes));
            contents.extend(bytes);
        }
        let mut sections = vec![0; 64];
        let table = first + contents.len();
        // A stripped file has no symbol table.
        let kind = if self.symbols.is_empty() { 0 } else { 2 };
        sections.extend(section(kind, table, symbols.len(), 2, 24));
        sections.extend(section(3, table + symbols.len(), names.len(), 0, 0));
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec();
        file.extend(self.machine.to_le_bytes());
        file.extend(1_u32.to_le_bytes());
        file.extend(self.entry.to_le_bytes());
        file.extend(64_u64.to_le_bytes());
        file.extend((table + symbols.len() + names.len()).to_le_bytes());
        file.extend(0_u32.to_le_bytes());
        let halves = [64, 56, self.segments.len(), 64, sections.len() / 64, 2];
        file.extend(
            halves
                .map(|half| u16::try_from(half).unwrap())
                .iter()
                .flat_map(|half| half.to_le_bytes()),
        );
        [file, headers, contents, symbols, names, sections].concat()
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> PathBuf {
        std::fs::write(path, self.bytes()).unwrap();
        path.to_owned()
    }
}

/// A section header.
fn section(kind: u32, offset: usize, size: usize, link: u32, entry: usize) -> Vec<u8> {
    let mut header = [0, kind].map(u32::to_le_bytes).concat();
    header.extend([0, 0, offset, size].map(usize::to_le_bytes).concat());
    header.extend([link, 1].map(u32::to_le_bytes).concat());
    header.extend([1, entry].map(usize::to_le_bytes).concat());
    header
}

/// Makes a program for each of the systems', in `folder`.
pub fn programs(folder: &Path) {
    const NAMES: &str = "vmm console net pause block vsock serial virtio_blk virtio_net timer power supervisor services";
    for name in NAMES.split(' ') {
        Elf::program(&["sel4cp_config"]).write(&folder.join(name));
    }
}

/// An arm64 `Image` of `bytes` bytes that takes `size` bytes of memory.
pub fn image(bytes: usize, size: u64) -> Vec<u8> {
    let mut image = vec![0xa5; bytes];
    image[..64].fill(0);
    image[16..24].copy_from_slice(&size.to_le_bytes());
    image[56..60].copy_from_slice(b"ARM\x64");
    image
}

/// Packs the system `sdf` with the files in `folder`; the error's text does not depend on the folder's name.
pub fn pack_in(folder: &Path, sdf: &str) -> Result<(), String> {
    std::fs::write(folder.join("a.system"), sdf).unwrap();
    let path = |name: &str| folder.join(name);
    let result = pack(
        &path("a.system"),
        &[folder.to_owned()],
        &path("kernel"),
        Configuration::Debug,
        &path("image"),
        &path("report"),
    );
    result.map_err(|error| {
        let text = error.to_string();
        let text = text.replace(&format!("{}/", folder.display()), "");
        text.replace(&folder.display().to_string(), "FOLDER")
    })
}
