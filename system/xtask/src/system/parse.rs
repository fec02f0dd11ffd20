//! From a `system/*.toml` file to a [`System`]: each section with its keys, their defaults and their limits.

use super::board::Board;
use super::error::{Error, Result};
use super::model::{Block, Console, Forward, Guest, Lines, Net, Source, System};
use super::reader::{Reader, Section};
use super::text::{nearest, one_of, parse_mac, parse_size, size};
use super::{files, lacks, limits, sockets};
use sel4cp_abi::config::MAX_VCPUS;
use sel4cp_abi::image::LARGE_PAGE;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// Least RAM of a guest.
const MIN_MEMORY: u64 = 32 << 20;
/// RAM of a guest that does not say.
const DEFAULT_MEMORY: u64 = 256 << 20;
/// The command line of a guest that does not say. Without `nokaslr` and `kpti=off`, system calls are several times
/// dearer under emulation when the device tree of the machine that it is compared with has a kaslr-seed. The last two keep Linux
/// from extensions whose registers no kernel saves for a guest.
const DEFAULT_COMMAND_LINE: &str = "console=hvc0 nokaslr kpti=off arm64.nosve arm64.nopauth";
/// Longest command line (Linux' COMMAND_LINE_SIZE on arm64, with its NUL).
const MAX_COMMAND_LINE: usize = 2047;
/// Highest number of a core (Microkit's are bytes); how many there are is the kernel's to say.
const LAST_CORE: u32 = u8::MAX as u32;
/// Longest name of a guest, so that `NAME.net_driver` fits a name of the configuration.
const MAX_NAME: usize = 20;
/// Columns of a console that does not say: Linux takes a terminal of unknown size for one of 0 by 0.
const DEFAULT_COLUMNS: u16 = 80;
/// Rows of a console that does not say.
const DEFAULT_ROWS: u16 = 25;
/// Longest serial number of a disk (virtIO 1.2 §5.2.6.1).
const MAX_SERIAL: usize = 20;
/// QEMU's cache modes of a disk's file.
const CACHE_MODES: [&str; 5] = ["writeback", "none", "writethrough", "directsync", "unsafe"];

impl System {
    /// Reads and checks the system file at `path`.
    ///
    /// # Errors
    /// Every mistake that was found, with file and line.
    pub fn load(path: &Path) -> Result<Self> {
        Self::load_on(path, None)
    }

    /// Like [`Self::load`], for the board called `chosen` instead of the one that the file names.
    ///
    /// # Errors
    /// As [`Self::load`]; lists the boards if there is none of this name.
    pub fn load_on(path: &Path, chosen: Option<&str>) -> Result<Self> {
        let chosen = chosen.map(Board::named).transpose();
        let chosen = chosen.map_err(Error::message)?;
        let text =
            std::fs::read_to_string(path).map_err(|error| Error::io("read", path, &error))?;
        let reader = Reader::new(path, &text);
        let document = match DeTable::parse(&text) {
            Ok(document) => document,
            Err(error) => {
                let line = error.span().map(|span| reader.line(span.start));
                let found = error.message().lines().collect::<Vec<_>>().join(", ");
                reader.mistake(
                    line,
                    format!("what is not TOML ({found})"),
                    "`key = value` or `[section]`",
                    "the line in that form",
                );
                return Err(Error::Mistakes(reader.into_mistakes()));
            }
        };
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let folder = path.parent().unwrap_or(Path::new(""));
        let root = reader.root(&document);
        let board = Board::of(&root).map(|board| chosen.unwrap_or(board));
        let mut guests = guests(&reader, &root, folder);
        let mut warnings = Vec::new();
        if let (Some(board), Some(guests)) = (&board, &mut guests) {
            warnings = lacks::take(board, guests);
            limits::check(&reader, board, &root, guests);
            for guest in guests {
                reader.add(files::check_named(path, guest, board));
            }
        }
        let mistakes = reader.into_mistakes();
        match (board, guests) {
            (Some(board), Some(guests)) if mistakes.is_empty() => Ok(Self {
                path: path.to_owned(),
                name: name.into_owned(),
                board,
                guests,
                warnings,
            }),
            _ => Err(Error::Mistakes(mistakes)),
        }
    }
}

/// The guests; `None` when one is so wrong that it cannot be compared with the others.
fn guests(reader: &Reader<'_>, root: &Section<'_>, folder: &Path) -> Option<Vec<Guest>> {
    let sections = root.sections("vm", "[[vm]]");
    if sections.is_empty() && !root.has("vm") {
        reader.mistake(
            None,
            "no [[vm]]",
            "at least one guest",
            "`[[vm]]` and under it `name = \"linux\"`",
        );
    }
    let guests: Vec<Option<Guest>> = (sections.iter().enumerate())
        .map(|(index, section)| guest(section, index, folder))
        .collect();
    guests.into_iter().collect()
}

fn guest(vm: &Section<'_>, index: usize, folder: &Path) -> Option<Guest> {
    vm.only(&[
        "name",
        "memory",
        "vcpus",
        "core",
        "kernel",
        "initrd",
        "root",
        "command_line",
        "earlycon",
        "console",
        "block",
        "net",
        "vsock",
    ]);
    let block_section = vm.section("block", "[vm.block]");
    let block = block_section.as_ref().map(block);
    let net = vm
        .section("net", "[vm.net]")
        .map(|net| net_device(&net, index));
    let vsock = vm.section("vsock", "[vm.vsock]");
    let vsock = vsock.map(|vsock| sockets::parse(&vsock, index));
    let console = vm.section("console", "[vm.console]");
    let console = console_device(console.as_ref());
    let earlycon = vm.boolean("earlycon").unwrap_or(false);
    let (kernel, kernel_line) = source(vm, "kernel", Source::Debian, folder);
    if kernel == Source::None {
        vm.mistake(
            kernel_line,
            "`kernel = \"none\"`",
            "a kernel: every guest needs one",
            "`kernel = \"debian\"` or the path of an arm64 Image",
        );
    }
    let (initrd, initrd_line) = source(vm, "initrd", Source::Debian, folder);
    let disk = if block.is_some() {
        Source::Debian
    } else {
        Source::None
    };
    let (root, root_line) = source(vm, "root", disk, folder);
    match (&root, &block) {
        (Source::None, Some(_)) => vm.mistake(
            root_line,
            "`root = \"none\"` and a section [vm.block]",
            "contents for the disk",
            "`root = \"debian\"` or the path of a raw image, or remove [vm.block]",
        ),
        (Source::Debian | Source::File(_), None) => vm.mistake(
            root_line,
            "a root disk and no section [vm.block]",
            "a device for the disk",
            "`[vm.block]` under the guest, or `root = \"none\"`",
        ),
        _ => {}
    }
    let (memory, memory_line) = memory(vm);
    let vcpus = vm.number(
        "vcpus",
        1..=u32::try_from(MAX_VCPUS).unwrap_or(u32::MAX),
        "",
        1,
    );
    let core = vm.number("core", 0..=LAST_CORE, "", 1);
    let command_line = command_line(vm, earlycon);
    Some(Guest {
        name: name(vm)?,
        memory,
        vcpus: vcpus.map_or(1, |vcpus| vcpus.value),
        core: core.as_ref().map_or(0, |core| core.value),
        kernel,
        initrd,
        root,
        command_line,
        earlycon,
        console,
        block,
        net,
        vsock,
        lines: Lines {
            vm: vm.line(),
            kernel: kernel_line,
            initrd: initrd_line,
            root: root_line,
            memory: memory_line,
            core: core.map_or(vm.line(), |core| core.line),
        },
    })
}

fn name(vm: &Section<'_>) -> Option<String> {
    let example = "name = \"linux\"";
    let Some(name) = vm.text("name", example) else {
        vm.missing("name", "a name for the guest", example);
        return None;
    };
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let starts = name
        .value
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_lowercase());
    if !starts || !name.value.bytes().all(letter) || name.value.len() > MAX_NAME {
        let mut better: String = name.value.to_ascii_lowercase();
        better.retain(|letter| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-');
        let better = better.replace('-', "_");
        let better = better.trim_start_matches(|letter: char| !letter.is_ascii_lowercase());
        let better: String = better.chars().take(MAX_NAME).collect();
        let better = if better.is_empty() {
            "linux".to_owned()
        } else {
            better
        };
        vm.mistake(
            name.line,
            format!("the name \"{}\"", name.value),
            format!("a letter a-z, then letters a-z, digits and _, at most {MAX_NAME} in all (it becomes part of the names of PDs)"),
            format!("`name = \"{better}\"`"),
        );
    }
    Some(name.value)
}

fn memory(vm: &Section<'_>) -> (u64, usize) {
    let example = format!("memory = \"{}\"", size(DEFAULT_MEMORY));
    let Some(memory) = vm.text("memory", &example) else {
        return (DEFAULT_MEMORY, vm.line());
    };
    let found = format!("`memory = \"{}\"`", memory.value);
    let Some(bytes) = parse_size(&memory.value) else {
        vm.mistake(
            memory.line,
            found,
            "a number with K, M or G behind it",
            format!("`{example}`"),
        );
        return (DEFAULT_MEMORY, memory.line);
    };
    if bytes < MIN_MEMORY {
        vm.mistake(
            memory.line,
            found,
            format!("at least {}", size(MIN_MEMORY)),
            format!("`{example}`"),
        );
        return (DEFAULT_MEMORY, memory.line);
    }
    if !bytes.is_multiple_of(LARGE_PAGE) {
        let rounded = size(bytes.next_multiple_of(LARGE_PAGE));
        let expected = format!(
            "a multiple of {} (guest RAM is mapped in pages of that size)",
            size(LARGE_PAGE)
        );
        vm.mistake(
            memory.line,
            found,
            expected,
            format!("`memory = \"{rounded}\"`"),
        );
        return (DEFAULT_MEMORY, memory.line);
    }
    (bytes, memory.line)
}

/// The value of `key`, and the line to report it at.
fn source(vm: &Section<'_>, key: &str, default: Source, folder: &Path) -> (Source, usize) {
    let Some(text) = vm.text(key, &format!("{key} = \"debian\"")) else {
        return (default, vm.line());
    };
    let source = match text.value.as_str() {
        "debian" => Source::Debian,
        "none" => Source::None,
        "" => {
            vm.mistake(
                text.line,
                format!("`{key} = \"\"`"),
                "\"debian\", \"none\" or a path",
                format!("`{key} = \"debian\"`"),
            );
            default
        }
        path => Source::File(folder.join(PathBuf::from(path))),
    };
    (source, text.line)
}

fn command_line(vm: &Section<'_>, earlycon: bool) -> String {
    let mut line = match vm.text(
        "command_line",
        &format!("command_line = \"{DEFAULT_COMMAND_LINE}\""),
    ) {
        Some(given) => {
            let default = format!("`command_line = \"{DEFAULT_COMMAND_LINE}\"`, or leave it out");
            if given.value.chars().any(char::is_control) {
                let found = "a control character in the command line";
                vm.mistake(
                    given.line,
                    found,
                    "words with spaces between them",
                    &default,
                );
            }
            if given.value.len() > MAX_COMMAND_LINE {
                let found = format!("a command line of {} bytes", given.value.len());
                vm.mistake(
                    given.line,
                    found,
                    format!("at most {MAX_COMMAND_LINE} bytes"),
                    default,
                );
            }
            given.value
        }
        None => DEFAULT_COMMAND_LINE.to_owned(),
    };
    // Linux takes the address from the device tree's stdout-path.
    if earlycon && !line.split(' ').any(|word| word.starts_with("earlycon")) {
        line.push_str(" earlycon");
    }
    line
}

/// The console of a guest; without a section, one with the default size.
fn console_device(console: Option<&Section<'_>>) -> Console {
    let number = |key, default: u16| {
        let number = console?.number(key, 1..=u32::from(u16::MAX), "", default.into())?;
        u16::try_from(number.value).ok()
    };
    if let Some(console) = console {
        console.only(&["columns", "rows"]);
    }
    Console {
        columns: number("columns", DEFAULT_COLUMNS).unwrap_or(DEFAULT_COLUMNS),
        rows: number("rows", DEFAULT_ROWS).unwrap_or(DEFAULT_ROWS),
    }
}

fn block(block: &Section<'_>) -> Block {
    block.only(&["read_only", "serial", "cache"]);
    let serial = block.text("serial", "serial = \"disk0\"");
    if let Some(serial) = &serial
        && (serial.value.len() > MAX_SERIAL
            || !serial.value.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        block.mistake(
            serial.line,
            format!("`serial = \"{}\"`", serial.value),
            format!("at most {MAX_SERIAL} letters, digits and signs"),
            "`serial = \"disk0\"`",
        );
    }
    let [default, ..] = CACHE_MODES;
    let cache = block.text("cache", &format!("cache = \"{default}\""));
    if let Some(cache) = &cache
        && !CACHE_MODES.contains(&cache.value.as_str())
    {
        let near = nearest(&cache.value, &CACHE_MODES).unwrap_or(default);
        block.mistake(
            cache.line,
            format!("`cache = \"{}\"`", cache.value),
            one_of(&CACHE_MODES),
            format!("`cache = \"{near}\"`"),
        );
    }
    Block {
        read_only: block.boolean("read_only").unwrap_or(false),
        serial: serial.map(|serial| serial.value).unwrap_or_default(),
        cache: cache.map_or_else(|| default.to_owned(), |cache| cache.value),
    }
}

fn net_device(net: &Section<'_>, index: usize) -> Net {
    net.only(&["mac", "mtu", "bulk", "forward"]);
    let number = u8::try_from(index + 1).unwrap_or(u8::MAX);
    let default = [0x52, 0x54, 0, 0, 0, number];
    let range = limits::MIN_MTU..=limits::MAX_MTU;
    let mtu = net.number(
        "mtu",
        range,
        " (the hardware's frames carry no more)",
        limits::MAX_MTU,
    );
    Net {
        mac: mac(net, default),
        mtu: mtu
            .and_then(|mtu| u16::try_from(mtu.value).ok())
            .unwrap_or(1500),
        bulk: net.boolean("bulk"),
        forward: forward(net),
    }
}

fn mac(net: &Section<'_>, default: [u8; 6]) -> [u8; 6] {
    let example = format!("mac = \"{}\"", super::text::mac(default));
    let Some(mac) = net.text("mac", &example) else {
        return default;
    };
    let found = format!("`mac = \"{}\"`", mac.value);
    let Some(address) = parse_mac(&mac.value) else {
        net.mistake(
            mac.line,
            found,
            "six pairs of hexadecimal digits with colons between them",
            format!("`{example}`"),
        );
        return default;
    };
    if address == [0; 6] {
        net.mistake(
            mac.line,
            found,
            "an address that is not zero",
            format!("`{example}`"),
        );
    } else if address.first().is_some_and(|first| first & 1 != 0) {
        let mut unicast = address;
        if let Some(first) = unicast.first_mut() {
            *first &= !1;
        }
        let better = super::text::mac(unicast);
        net.mistake(
            mac.line,
            format!("{found}, a multicast address"),
            "an even first byte",
            format!("`mac = \"{better}\"`"),
        );
    }
    address
}

fn forward(net: &Section<'_>) -> Vec<Forward> {
    let example = "forward = [\"tcp:2222-22\"]";
    let Some(rules) = net.texts("forward", example) else {
        return Vec::new();
    };
    let mut forwards = Vec::new();
    for rule in &rules.value {
        match parse_forward(rule) {
            Some(forward) => forwards.push(forward),
            None => net.mistake(
                rules.line,
                format!("the rule \"{rule}\""),
                "tcp or udp, a port of the host and a port of the guest, as in \"tcp:2222-22\"",
                format!("`{example}`"),
            ),
        }
    }
    forwards
}

fn parse_forward(rule: &str) -> Option<Forward> {
    let (protocol, ports) = rule.split_once(':')?;
    let (host, guest) = ports.split_once('-')?;
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    Some(Forward {
        udp: match protocol {
            "udp" => true,
            "tcp" => false,
            _ => return None,
        },
        host: port(host)?,
        guest: port(guest)?,
    })
}
