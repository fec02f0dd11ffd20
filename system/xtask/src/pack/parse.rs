//! Reads a `.system` file: the outermost elements, regions, mappings and channels.
//!
//! Names, defaults and limits are those of the Microkit's manual, version 2.3.0. What the bundled kernel lacks is
//! refused by name.

use super::domain;
use super::error::{Error, Result};
use super::sdf::{End, File, Map, Region, System, Value, Variable};
use super::xml::Xml;
use roxmltree::{Document, Node};
use sel4cp_abi::image::{LARGE_PAGE, PAGE};
use sel4cp_abi::slot::CHANNELS;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Reads and finds files that the system names.
pub(super) struct Files<'a> {
    search_paths: &'a [PathBuf],
    known: HashMap<PathBuf, Rc<File>>,
}

impl<'a> Files<'a> {
    pub(super) fn new(search_paths: &'a [PathBuf]) -> Self {
        Self {
            search_paths,
            known: HashMap::new(),
        }
    }

    /// Where the file `name` is: in the first search path that has it.
    pub(super) fn find(&self, name: &Path) -> std::result::Result<PathBuf, String> {
        let candidates = self.search_paths.iter().map(|folder| folder.join(name));
        let found = candidates.clone().find(|path| path.is_file());
        found.ok_or_else(|| {
            let folders: Vec<String> = self
                .search_paths
                .iter()
                .map(|folder| folder.display().to_string())
                .collect();
            format!(
                "found no file {}, expected it in {}",
                name.display(),
                folders.join(", ")
            )
        })
    }

    /// The file `name`, read once however often it is asked for.
    pub(super) fn read(&mut self, name: &Path) -> std::result::Result<Rc<File>, String> {
        let path = self.find(name)?;
        if let Some(file) = self.known.get(&path) {
            return Ok(Rc::clone(file));
        }
        let bytes = std::fs::read(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let file = Rc::new(File { path, bytes });
        self.known.insert(file.path.clone(), Rc::clone(&file));
        Ok(file)
    }
}

/// The system that the file at `path` describes; rules between its parts are [`super::check`]'s.
pub(super) fn parse(path: &Path, files: &mut Files<'_>) -> Result<System> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::file(path, format!("cannot read it: {error}")))?;
    let document = Document::parse(&text).map_err(|error| Error::file(path, error))?;
    let xml = Xml::new(path, &document);
    let root = xml.system()?;
    let mut regions: Vec<Region> = Vec::new();
    // Mappings name regions, which may come later in the file.
    for node in Xml::children(root).filter(|node| node.has_tag_name("memory_region")) {
        let region = region(&xml, node, files)?;
        if regions.iter().any(|other| other.name == region.name) {
            return Err(xml.error(node, format!("found a second region {}", region.name)));
        }
        regions.push(region);
    }
    let mut domains = Vec::new();
    for node in Xml::children(root) {
        match node.tag_name().name() {
            "memory_region" | "channel" => {}
            "protection_domain" => domain::parse(&xml, node, None, &regions, &mut domains)?,
            "virtual_machine" => {
                return Err(xml.error(
                    node,
                    "found <virtual_machine> in <system>, expected it in a <protection_domain>",
                ));
            }
            "domains" => {
                return Err(xml.error(node, "found <domains>: the bundled kernel has no domain scheduler; use the SDK's kernel"));
            }
            "io_address_space" => {
                return Err(xml.error(node, "found <io_address_space>: the board has no IOMMU"));
            }
            _ => {
                let known = "protection_domain, channel or memory_region";
                return Err(xml.unexpected(root, node, known));
            }
        }
    }
    let mut channels = Vec::new();
    for node in Xml::children(root).filter(|node| node.has_tag_name("channel")) {
        channels.push(channel(&xml, node, &mut domains)?);
    }
    let mut system = System {
        regions,
        domains,
        channels,
    };
    super::check::check(&xml, &system)?;
    super::check::enlarge_pages(&mut system);
    Ok(system)
}

fn region<'a>(xml: &Xml<'a>, node: Node<'a, 'a>, files: &mut Files<'_>) -> Result<Region> {
    xml.attributes(
        node,
        &[
            "name",
            "size",
            "page_size",
            "phys_addr",
            "prefill_path",
            "prefill_bootinfo",
        ],
    )?;
    let name = xml.required(node, "name")?.to_owned();
    let page_size = xml.number(node, "page_size")?;
    let page = page_size.unwrap_or(PAGE);
    if page != PAGE && page != LARGE_PAGE {
        let text = format!("found page_size {page:#x}, expected {PAGE:#x} or {LARGE_PAGE:#x}");
        return Err(xml.error(node, text));
    }
    if node.attribute("prefill_bootinfo").is_some() {
        return Err(xml.error(
            node,
            "found prefill_bootinfo: the bundled kernel gives no boot information",
        ));
    }
    let contents = match node.attribute("prefill_path") {
        Some(path) => {
            let file = files
                .read(Path::new(path))
                .map_err(|error| xml.error(node, error))?;
            if file.bytes.is_empty() {
                return Err(xml.error(
                    node,
                    format!("found the empty file {path}, expected contents"),
                ));
            }
            Some(file)
        }
        None => None,
    };
    let bytes = contents.as_ref().map_or(0, |file| file.bytes.len());
    let bytes = u64::try_from(bytes).map_err(|error| xml.error(node, error))?;
    let size = match xml.number(node, "size")? {
        Some(size) => size,
        None if contents.is_some() => bytes.next_multiple_of(page),
        None => {
            return Err(xml.error(
                node,
                format!(
                    "found no size of region {name}, expected size=\"…\" or prefill_path=\"…\""
                ),
            ));
        }
    };
    if size == 0 || !size.is_multiple_of(page) {
        let text = format!("found size {size:#x}, expected a multiple of the page size {page:#x}");
        return Err(xml.error(node, text));
    }
    if bytes > size {
        let text =
            format!("found size {size:#x}, expected at least the {bytes:#x} bytes of its file");
        return Err(xml.error(node, text));
    }
    let physical = xml.number(node, "phys_addr")?;
    if let Some(address) = physical {
        if !address.is_multiple_of(page) {
            let text = format!(
                "found phys_addr {address:#x}, expected a multiple of the page size {page:#x}"
            );
            return Err(xml.error(node, text));
        }
        if address.checked_add(size).is_none() {
            return Err(xml.error(node, "found a region that ends above 64 bits"));
        }
        if contents.is_some() {
            return Err(xml.error(node, "found phys_addr and prefill_path: the bundled kernel fills no region at a given address; leave out phys_addr"));
        }
    }
    Ok(Region {
        name,
        size,
        page,
        page_given: page_size.is_some(),
        physical,
        contents,
        place: xml.place(node),
    })
}

/// A mapping into a space that ends at `top`.
pub(super) fn map<'a>(
    xml: &Xml<'a>,
    node: Node<'a, 'a>,
    regions: &[Region],
    top: u64,
    variables: Option<&mut Vec<Variable>>,
) -> Result<Map> {
    let mut known = vec!["mr", "vaddr", "perms", "cached"];
    if variables.is_some() {
        known.extend(["setvar_vaddr", "setvar_size", "setvar_prefill_size"]);
    }
    xml.attributes(node, &known)?;
    let name = xml.required(node, "mr")?;
    let vaddr = xml.required_number(node, "vaddr")?;
    let perms = node.attribute("perms").unwrap_or("rw");
    let known = perms.chars().all(|letter| "rwx".contains(letter)) && !perms.is_empty();
    if !known || perms == "w" {
        let text =
            format!("found perms=\"{perms}\", expected letters of r, w and x, and not w alone");
        return Err(xml.error(node, text));
    }
    let cached = xml.boolean(node, "cached", true)?;
    let Some((number, region)) = regions
        .iter()
        .enumerate()
        .find(|(_, region)| region.name == name)
    else {
        return Err(xml.error(
            node,
            format!("found mr=\"{name}\", expected the name of a <memory_region>"),
        ));
    };
    if !vaddr.is_multiple_of(region.page) {
        let text = format!(
            "found vaddr {vaddr:#x}, expected a multiple of the page size {:#x}",
            region.page
        );
        return Err(xml.error(node, text));
    }
    if vaddr.checked_add(region.size).is_none_or(|end| end > top) {
        let text = format!(
            "found {name} at {vaddr:#x} with {:#x} bytes, expected it to end at {top:#x} or below",
            region.size
        );
        return Err(xml.error(node, text));
    }
    if let Some(variables) = variables {
        for (attribute, value) in [
            ("setvar_vaddr", Value::Number(vaddr)),
            ("setvar_size", Value::Size(name.to_owned())),
            ("setvar_prefill_size", Value::PrefillSize(name.to_owned())),
        ] {
            if let Some(symbol) = node.attribute(attribute) {
                if attribute == "setvar_prefill_size" && region.contents.is_none() {
                    return Err(xml.error(
                        node,
                        format!(
                            "found setvar_prefill_size, expected {name} to have a prefill_path"
                        ),
                    ));
                }
                variable(xml, node, variables, symbol, value)?;
            }
        }
    }
    Ok(Map {
        region: number,
        vaddr,
        write: perms.contains('w'),
        execute: perms.contains('x'),
        cached,
        place: xml.place(node),
    })
}

/// Adds a variable; a symbol has one value.
pub(super) fn variable(
    xml: &Xml<'_>,
    node: Node<'_, '_>,
    variables: &mut Vec<Variable>,
    symbol: &str,
    value: Value,
) -> Result<()> {
    if variables.iter().any(|other| other.symbol == symbol) {
        return Err(xml.error(
            node,
            format!("found a second value for the symbol {symbol}"),
        ));
    }
    variables.push(Variable {
        symbol: symbol.to_owned(),
        value,
        place: xml.place(node),
    });
    Ok(())
}

/// Highest id of a channel, interrupt, child or vCPU.
pub(super) fn last_id() -> u32 {
    u32::try_from(CHANNELS).map_or(0, |channels| channels.saturating_sub(1))
}

fn channel<'a>(
    xml: &Xml<'a>,
    node: Node<'a, 'a>,
    domains: &mut [super::sdf::Domain],
) -> Result<[End; 2]> {
    xml.attributes(node, &[])?;
    let mut ends = Vec::new();
    for child in Xml::children(node) {
        if !child.has_tag_name("end") {
            return Err(xml.unexpected(node, child, "end"));
        }
        xml.attributes(child, &["pd", "id", "pp", "notify", "setvar_id"])?;
        let name = xml.required(child, "pd")?;
        let id = xml.limited(child, "id", last_id())?;
        let Some((number, domain)) = domains
            .iter_mut()
            .enumerate()
            .find(|(_, domain)| domain.name == name)
        else {
            return Err(xml.error(
                child,
                format!("found pd=\"{name}\", expected the name of a <protection_domain>"),
            ));
        };
        if let Some(symbol) = child.attribute("setvar_id") {
            variable(
                xml,
                child,
                &mut domain.variables,
                symbol,
                Value::Number(u64::from(id)),
            )?;
        }
        ends.push(End {
            domain: number,
            id,
            notify: xml.boolean(child, "notify", true)?,
            protected: xml.boolean(child, "pp", false)?,
            place: xml.place(child),
        });
    }
    <[End; 2]>::try_from(ends).map_err(|ends| {
        xml.error(
            node,
            format!("found a channel with {} ends, expected 2", ends.len()),
        )
    })
}
