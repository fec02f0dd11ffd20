//! Reads programs: what is loaded, and the symbols that are given values.

use super::error::{Error, Result};
use object::LittleEndian;
use object::elf::{EM_AARCH64, FileHeader64, PF_W, PF_X, PT_LOAD, SHT_SYMTAB};
use object::read::elf::{FileHeader, ProgramHeader, Sym};
use sel4cp_abi::image::PAGE;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Most bytes of one segment.
const MAX_SEGMENT: u64 = 1 << 30;

/// A program.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) entry: u64,
    /// What is loaded, in ascending order of address.
    pub(super) segments: Vec<Segment>,
    symbols: HashMap<String, Symbol>,
}

/// A part of a program that is loaded.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) vaddr: u64,
    /// Physical address, which only a kernel has.
    pub(super) physical: u64,
    /// The whole of it, with zeroes for what the file does not have.
    pub(super) bytes: Vec<u8>,
    pub(super) write: bool,
    pub(super) execute: bool,
}

#[derive(Clone, Copy, Debug)]
struct Symbol {
    address: u64,
    size: u64,
    /// There is another symbol of this name.
    twice: bool,
}

impl Segment {
    /// One past its last byte.
    pub(super) fn end(&self) -> u64 {
        let length = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
        self.vaddr.saturating_add(length)
    }
}

impl Program {
    /// Reads the program at `path`, and its symbols from `symbols` if they are in another file.
    pub(super) fn read(path: &Path, symbols: Option<&Path>) -> Result<Self> {
        let bytes = read(path)?;
        let mut program = parse(path, &bytes)
            .map_err(|error| Error::file(path, format!("not a program: {error}")))?;
        let found = match symbols {
            Some(symbols) => parse_symbols(&read(symbols)?),
            None => parse_symbols(&bytes),
        };
        let path = symbols.unwrap_or(path);
        program.symbols = found.map_err(|error| Error::file(path, error))?;
        Ok(program)
    }

    /// Holds a PD's segments against the rule that each has its own pages.
    pub(super) fn check_pages(&self) -> Result<()> {
        for pair in self.segments.windows(2) {
            if let [low, high] = pair
                && low.end().next_multiple_of(PAGE) > high.vaddr / PAGE * PAGE
            {
                let text = format!(
                    "found segments at {:#x} and {:#x} that share a page, expected each to start on a page of its own",
                    low.vaddr, high.vaddr
                );
                return Err(Error::file(&self.path, text));
            }
        }
        Ok(())
    }

    /// Address and size of the symbol called `name`.
    pub(super) fn symbol(&self, name: &str) -> Result<(u64, u64)> {
        match self.symbols.get(name) {
            Some(Symbol { twice: true, .. }) => Err(Error::file(
                &self.path,
                format!("found two symbols called {name}, expected one"),
            )),
            Some(symbol) => Ok((symbol.address, symbol.size)),
            None => Err(Error::file(
                &self.path,
                format!(
                    "found no symbol {name}, expected one (is .symtab stripped, or the symbol unused and dropped by the linker?)"
                ),
            )),
        }
    }

    /// Writes `value` to the symbol called `name`, which may be larger.
    pub(super) fn patch(&mut self, name: &str, value: &[u8]) -> Result<()> {
        let (address, size) = self.symbol(name)?;
        let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
        if size < length {
            return Err(Error::file(
                &self.path,
                format!("found the symbol {name} with {size} bytes, expected {length}"),
            ));
        }
        let place = self.segments.iter_mut().find_map(|segment| {
            let offset = usize::try_from(address.checked_sub(segment.vaddr)?).ok()?;
            segment.bytes.get_mut(offset..)?.get_mut(..value.len())
        });
        match place {
            Some(place) => {
                place.copy_from_slice(value);
                Ok(())
            }
            None => Err(Error::file(
                &self.path,
                format!("found the symbol {name} at {address:#x}, expected it in a loaded segment"),
            )),
        }
    }

    /// Writes `value` to the symbol called `name`, which must have eight bytes.
    pub(super) fn patch_word(&mut self, name: &str, value: u64) -> Result<()> {
        let (_, size) = self.symbol(name)?;
        if size != 8 {
            return Err(Error::file(
                &self.path,
                format!(
                    "found the symbol {name} with {size} bytes, expected 8: a setvar sets one word"
                ),
            ));
        }
        self.patch(name, &value.to_le_bytes())
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::file(path, format!("cannot read it: {error}")))
}

type Parsed<T> = std::result::Result<T, String>;

fn header(bytes: &[u8]) -> Parsed<&FileHeader64<LittleEndian>> {
    let header = FileHeader64::<LittleEndian>::parse(bytes)
        .map_err(|_| "expected a 64-bit ELF file".to_owned())?;
    if !header.is_little_endian() {
        return Err("found a big-endian ELF file, expected a little-endian one".to_owned());
    }
    Ok(header)
}

fn parse(path: &Path, bytes: &[u8]) -> Parsed<Program> {
    let endian = LittleEndian;
    let header = header(bytes)?;
    let machine = header.e_machine(endian);
    if machine != EM_AARCH64 {
        return Err(format!(
            "found an ELF file for machine {machine}, expected {EM_AARCH64} (AArch64)"
        ));
    }
    let headers = header
        .program_headers(endian, bytes)
        .map_err(|error| error.to_string())?;
    let mut segments = Vec::new();
    for entry in headers
        .iter()
        .filter(|entry| entry.p_type(endian) == PT_LOAD)
    {
        let (vaddr, size) = (entry.p_vaddr(endian), entry.p_memsz(endian));
        if size == 0 {
            continue;
        }
        let data = entry.data(endian, bytes).map_err(|()| {
            format!("found a segment at {vaddr:#x} that goes beyond the file's end")
        })?;
        let length = usize::try_from(size).ok().filter(|_| size <= MAX_SEGMENT);
        let length =
            length.filter(|length| *length >= data.len() && vaddr.checked_add(size).is_some());
        let Some(length) = length else {
            return Err(format!(
                "found a segment at {vaddr:#x} with {size:#x} bytes of memory, expected at least those in the file and at most {MAX_SEGMENT:#x}"
            ));
        };
        let mut contents = data.to_vec();
        contents.resize(length, 0);
        let flags = entry.p_flags(endian);
        segments.push(Segment {
            vaddr,
            physical: entry.p_paddr(endian),
            bytes: contents,
            write: flags.contains(PF_W),
            execute: flags.contains(PF_X),
        });
    }
    if segments.is_empty() {
        return Err("found no segment to load".to_owned());
    }
    segments.sort_by_key(|segment| segment.vaddr);
    Ok(Program {
        path: path.to_owned(),
        entry: header.e_entry(endian),
        segments,
        symbols: HashMap::new(),
    })
}

fn parse_symbols(bytes: &[u8]) -> Parsed<HashMap<String, Symbol>> {
    let endian = LittleEndian;
    let failed = |error: object::Error| format!("cannot read its symbols: {error}");
    let sections = header(bytes)?.sections(endian, bytes).map_err(failed)?;
    let table = sections
        .symbols(endian, bytes, SHT_SYMTAB)
        .map_err(failed)?;
    if table.is_empty() {
        return Err("found no symbol table, expected .symtab (do not strip programs)".to_owned());
    }
    let mut symbols: HashMap<String, Symbol> = HashMap::new();
    for symbol in table.iter() {
        let name = symbol.name(endian, table.strings()).map_err(failed)?;
        let name = String::from_utf8_lossy(name).into_owned();
        let fresh = Symbol {
            address: symbol.st_value(endian),
            size: symbol.st_size(endian),
            twice: false,
        };
        symbols
            .entry(name)
            .and_modify(|symbol| symbol.twice = true)
            .or_insert(fresh);
    }
    Ok(symbols)
}
