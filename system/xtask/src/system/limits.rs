//! What guests share: names, addresses, the machine's memory and its devices.

use super::board::Board;
use super::model::Guest;
use super::reader::{Reader, Section};
use super::sockets;
use super::text::{mac, size};
use sel4cp_abi::config::MAX_GUESTS;
use sel4cp_abi::image::LARGE_PAGE;

/// Least MTU (RFC 791).
pub(super) const MIN_MTU: u32 = 68;
/// Largest MTU of the machine's network devices.
pub(super) const MAX_MTU: u32 = 1500;
/// Bytes of memory for a device driver's own queues, which the device reads and writes.
pub(super) const DMA_BYTES: u64 = LARGE_PAGE;
/// Bytes of memory for the frames that a network device's backend makes for its driver: more than it has places for, as one
/// large page costs less than many small ones.
pub(super) const FRAMES_BYTES: u64 = LARGE_PAGE;

/// Notes what `guests` cannot have together.
pub(super) fn check(reader: &Reader<'_>, board: &Board, root: &Section<'_>, guests: &[Guest]) {
    let sections = root.sections("vm", "[[vm]]");
    if guests.len() > MAX_GUESTS {
        let line = guests.get(MAX_GUESTS).map(|guest| guest.lines.vm);
        reader.mistake(
            line,
            format!("{} guests", guests.len()),
            format!("at most {MAX_GUESTS}"),
            "fewer sections [[vm]]",
        );
    }
    check_names(reader, guests, &sections);
    check_network(reader, guests, &sections);
    sockets::check(reader, guests, &sections);
    check_devices(reader, board, guests);
    check_memory(reader, board, guests);
}

fn check_names(reader: &Reader<'_>, guests: &[Guest], sections: &[Section<'_>]) {
    for (index, guest) in guests.iter().enumerate() {
        let Some(first) = guests
            .iter()
            .take(index)
            .find(|other| other.name == guest.name)
        else {
            continue;
        };
        let line = sections.get(index).and_then(|vm| vm.line_of("name"));
        reader.mistake(
            Some(line.unwrap_or(guest.lines.vm)),
            format!("a second guest called \"{}\"", guest.name),
            format!("another name than the guest at line {}", first.lines.vm),
            format!("`name = \"{}{}\"`", guest.name, index + 1),
        );
    }
}

fn check_network(reader: &Reader<'_>, guests: &[Guest], sections: &[Section<'_>]) {
    let nets: Vec<_> = guests
        .iter()
        .zip(sections)
        .enumerate()
        .filter_map(|(index, (guest, vm))| {
            Some((
                index,
                guest,
                guest.net.as_ref()?,
                vm.section("net", "[vm.net]")?,
            ))
        })
        .collect();
    for (position, (index, guest, net, section)) in nets.iter().enumerate() {
        let before = nets.get(..position).unwrap_or_default();
        if let Some((_, first, _, _)) = before.iter().find(|(_, _, other, _)| other.mac == net.mac)
        {
            let mut better = net.mac;
            if let Some(last) = better.last_mut() {
                *last = last.wrapping_add(u8::try_from(*index).unwrap_or(1));
            }
            reader.mistake(
                Some(section.line_of("mac").unwrap_or(section.line())),
                format!(
                    "`mac = \"{}\"`, which the guest {} has too",
                    mac(net.mac),
                    first.name
                ),
                "an address that no other guest has",
                format!("`mac = \"{}\"`", mac(better)),
            );
        }
        let taken: Vec<_> = before
            .iter()
            .flat_map(|(_, _, other, _)| &other.forward)
            .collect();
        for (rule, forward) in net.forward.iter().enumerate() {
            let own = net.forward.iter().take(rule);
            let mut others = taken.iter().copied().chain(own);
            if others.any(|other| (other.udp, other.host) == (forward.udp, forward.host)) {
                reader.mistake(
                    Some(section.line_of("forward").unwrap_or(guest.lines.vm)),
                    format!("port {} of the host a second time", forward.host),
                    "a port that leads to one guest",
                    format!(
                        "another port, such as {}",
                        forward.host.wrapping_add(1).max(1024)
                    ),
                );
            }
        }
    }
}

fn check_devices(reader: &Reader<'_>, board: &Board, guests: &[Guest]) {
    let most = board.transports.len();
    let mut count = 0;
    let mut first = None;
    for guest in guests {
        count += devices(guest);
        if count > most && first.is_none() {
            first = Some(guest.lines.vm);
        }
    }
    if let Some(line) = first {
        reader.mistake(
            Some(line),
            format!("{count} disks and network devices by the end of the file"),
            format!("at most {most} (the machine has so many transports in pages of their own)"),
            "no [vm.block] or no [vm.net] in one of the guests",
        );
    }
}

fn check_memory(reader: &Reader<'_>, board: &Board, guests: &[Guest]) {
    let reserved: u64 = guests.iter().map(reserved).sum();
    let most = board.pool.size.saturating_sub(reserved);
    let mut sum: u64 = 0;
    for guest in guests {
        let before = sum;
        sum = sum.saturating_add(guest.memory);
        if before <= most && sum > most {
            let left = most.saturating_sub(before);
            let write = if left >= LARGE_PAGE {
                format!(
                    "`memory = \"{}\"`, or less for the guests before it",
                    size(left / LARGE_PAGE * LARGE_PAGE)
                )
            } else {
                "less memory for the guests before it".to_owned()
            };
            reader.mistake(
                Some(guest.lines.memory),
                format!("{} for the guests so far", size(sum)),
                format!(
                    "at most {} in all guests (of the machine's {}, {} are for drivers)",
                    size(most),
                    size(board.pool.size),
                    size(reserved)
                ),
                write,
            );
        }
    }
}

/// Bytes that the drivers of `guest`'s devices need besides its RAM.
fn reserved(guest: &Guest) -> u64 {
    let of = |device: bool, bytes| if device { bytes } else { 0 };
    of(guest.block.is_some(), DMA_BYTES) + of(guest.net.is_some(), DMA_BYTES + FRAMES_BYTES)
}

/// How many of the machine's transports `guest` takes.
fn devices(guest: &Guest) -> usize {
    usize::from(guest.block.is_some()) + usize::from(guest.net.is_some())
}
