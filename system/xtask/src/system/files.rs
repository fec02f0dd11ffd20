//! Checks a guest's files: kernel, initial RAM disk, disk image.

use super::GuestFiles;
use super::board::{Area, Board};
use super::error::Mistake;
use super::kernel::Kernel;
use super::model::{Guest, Source};
use super::placement::{Complaint, Placement, place};
use std::path::Path;

/// Bytes of a sector (virtIO 1.2 §5.2.2: always 512).
const SECTOR: u64 = 512;

/// A guest's files, found to be in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checked {
    pub(super) placement: Placement,
    /// Bytes of the kernel's file.
    pub(super) kernel_bytes: u64,
}

/// What is wrong with the files that the system file itself names.
pub(super) fn check_named(file: &Path, guest: &Guest, board: &Board) -> Vec<Mistake> {
    let mut notes = Notes::new(file);
    let kernel = match &guest.kernel {
        Source::File(path) => notes.note(guest.lines.kernel, Kernel::read(path)),
        _ => None,
    };
    let initrd = match &guest.initrd {
        Source::File(path) => notes.note(guest.lines.initrd, bytes(path, INITRD)),
        Source::None => Some(0),
        Source::Debian => None,
    };
    if let (Some(kernel), Some(initrd)) = (kernel, initrd) {
        let line = if initrd == 0 {
            guest.lines.kernel
        } else {
            guest.lines.initrd
        };
        notes.note(line, place(ram(guest, board), &kernel, initrd));
    }
    if let Source::File(path) = &guest.root {
        notes.note(guest.lines.root, disk(path));
    }
    notes.mistakes
}

/// Checks all of a guest's files.
///
/// # Errors
/// What is wrong with them.
pub(super) fn check(
    file: &Path,
    guest: &Guest,
    files: &GuestFiles,
    board: &Board,
) -> Result<Checked, Vec<Mistake>> {
    let mut notes = Notes::new(file);
    let kernel = notes.note(guest.lines.kernel, Kernel::read(&files.kernel));
    let kernel_bytes = notes.note(guest.lines.kernel, bytes(&files.kernel, KERNEL));
    let initrd = match &files.initrd {
        Some(path) => notes.note(guest.lines.initrd, bytes(path, INITRD)),
        None => Some(0),
    };
    match (&files.root, &guest.block) {
        (Some(path), Some(_)) => {
            notes.note(guest.lines.root, disk(path));
        }
        (None, Some(_)) => {
            let missing = Complaint::new(
                "no disk image",
                "one for [vm.block]",
                "`root = \"debian\"` or the path of a raw image",
            );
            notes.note::<()>(guest.lines.root, Err(missing));
        }
        (_, None) => {}
    }
    if let (Some(kernel), Some(kernel_bytes), Some(initrd)) = (kernel, kernel_bytes, initrd) {
        let line = if initrd == 0 {
            guest.lines.kernel
        } else {
            guest.lines.initrd
        };
        let placement = notes.note(line, place(ram(guest, board), &kernel, initrd));
        if let (Some(placement), true) = (placement, notes.mistakes.is_empty()) {
            return Ok(Checked {
                placement,
                kernel_bytes,
            });
        }
    }
    Err(notes.mistakes)
}

/// The guest's RAM in its own addresses.
pub(super) fn ram(guest: &Guest, board: &Board) -> Area {
    Area {
        start: board.guest.ram,
        size: guest.memory,
    }
}

struct Notes<'a> {
    file: &'a Path,
    mistakes: Vec<Mistake>,
}

impl<'a> Notes<'a> {
    fn new(file: &'a Path) -> Self {
        Self {
            file,
            mistakes: Vec::new(),
        }
    }

    /// The value, or a note of the mistake at `line`.
    fn note<T>(&mut self, line: usize, result: Result<T, Complaint>) -> Option<T> {
        let complaint = match result {
            Ok(value) => return Some(value),
            Err(complaint) => complaint,
        };
        let mistake = Mistake {
            file: self.file.to_owned(),
            line: Some(line),
            found: complaint.found,
            expected: complaint.expected,
            write: complaint.write,
        };
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
        None
    }
}

/// What a file is for, and what to write instead of a wrong one.
type Purpose = (&'static str, &'static str);
const KERNEL: Purpose = ("kernel", "\"debian\" or the path of an arm64 Image");
const INITRD: Purpose = (
    "initial RAM disk",
    "\"debian\", \"none\" or the path of a cpio archive",
);
const DISK: Purpose = (
    "disk image",
    "\"debian\", \"none\" or the path of a raw image",
);

/// The bytes of a file that must not be empty.
fn bytes(path: &Path, (what, write): Purpose) -> Result<u64, Complaint> {
    let found = format!("the {what} {}", path.display());
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(Complaint::new(
            format!("{found}, a folder or device"),
            "a file",
            write,
        )),
        Ok(metadata) if metadata.len() == 0 => Err(Complaint::new(
            format!("{found}, which is empty"),
            "a file with contents",
            write,
        )),
        Ok(metadata) => Ok(metadata.len()),
        Err(error) => Err(Complaint::new(
            format!("{found} ({error})"),
            "a file that can be read",
            write,
        )),
    }
}

fn disk(path: &Path) -> Result<(), Complaint> {
    let length = bytes(path, DISK)?;
    if length.is_multiple_of(SECTOR) {
        return Ok(());
    }
    let whole = length.next_multiple_of(SECTOR);
    Err(Complaint::new(
        format!("a disk image of {length} bytes, {}", path.display()),
        format!("whole sectors of {SECTOR} bytes"),
        format!("a file of {whole} bytes (`truncate --size {whole}`)"),
    ))
}
