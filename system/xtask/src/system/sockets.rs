//! The section `[vm.vsock]`: a guest's CID, which guests it may talk to, and what it may ask the control service.
//!
//! Two guests can talk if each names the other. Everybody with the section reaches the native services but the control service,
//! which knows about all guests and so is for those that are given it.

use super::model::{Guest, Vsock};
use super::reader::{Reader, Section};
use super::text::{nearest, one_of};
use sel4cp_abi::config::Access;
use sel4cp_model::vsock::{FIRST_GUEST_CID, LAST_GUEST_CID};

/// What a guest may ask the control service, as the file says it.
const ACCESS: [(&str, Access); 3] = [
    ("none", Access::None),
    ("status", Access::Status),
    ("all", Access::All),
];
/// The CID of the native services.
pub(super) use sel4cp_model::vsock::HOST_CID;

/// Reads the section of the guest with this number from 0.
pub(super) fn parse(vsock: &Section<'_>, index: usize) -> Vsock {
    vsock.only(&["cid", "peers", "control"]);
    let bound = |cid: u64| u32::try_from(cid).unwrap_or(u32::MAX);
    let (first, last) = (bound(FIRST_GUEST_CID), bound(LAST_GUEST_CID));
    let default = first.saturating_add(u32::try_from(index).unwrap_or(0));
    let cid = vsock.number("cid", first..=last, "", default);
    let peers = vsock.texts("peers", "peers = [\"other\"]");
    Vsock {
        cid: cid.map_or(default, |cid| cid.value).into(),
        peers: peers.map(|peers| peers.value).unwrap_or_default(),
        control: access(vsock),
    }
}

/// What the guest may ask the control service; without the key, nothing.
fn access(vsock: &Section<'_>) -> Access {
    let Some(control) = vsock.text("control", "control = \"status\"") else {
        return Access::None;
    };
    let found = ACCESS.iter().find(|(name, _)| *name == control.value);
    if let Some((_, access)) = found {
        return *access;
    }
    let names = ACCESS.map(|(name, _)| name);
    let near = nearest(&control.value, &names).unwrap_or("status");
    vsock.mistake(
        control.line,
        format!("`control = \"{}\"`", control.value),
        one_of(&names),
        format!("`control = \"{near}\"`"),
    );
    Access::None
}

/// Whether both guests allow it.
pub(super) fn may_talk(a: &Guest, b: &Guest) -> bool {
    let names = |guest: &Guest, other: &Guest| {
        let vsock = guest.vsock.as_ref();
        vsock.is_some_and(|vsock| vsock.peers.contains(&other.name))
    };
    names(a, b) && names(b, a)
}

/// Notes what guests cannot have together.
pub(super) fn check(reader: &Reader<'_>, guests: &[Guest], sections: &[Section<'_>]) {
    for (index, (guest, vm)) in guests.iter().zip(sections).enumerate() {
        let (Some(vsock), Some(section)) = (&guest.vsock, vm.section("vsock", "[vm.vsock]")) else {
            continue;
        };
        let before = guests.get(..index).unwrap_or_default();
        let cid = |other: &&Guest| other.vsock.as_ref().is_some_and(|o| o.cid == vsock.cid);
        if let Some(first) = before.iter().find(cid) {
            let used = |cid: u64| guests.iter().flat_map(|g| &g.vsock).any(|v| v.cid == cid);
            let mut free = (FIRST_GUEST_CID..).filter(|cid| !used(*cid));
            reader.mistake(
                Some(section.line_of("cid").unwrap_or(section.line())),
                format!(
                    "`cid = {}`, which the guest {} has too",
                    vsock.cid, first.name
                ),
                "a CID that no other guest has",
                format!("`cid = {}`", free.next().unwrap_or(FIRST_GUEST_CID)),
            );
        }
        for peer in &vsock.peers {
            check_peer(reader, guests, guest, peer, &section);
        }
    }
}

fn check_peer(
    reader: &Reader<'_>,
    guests: &[Guest],
    guest: &Guest,
    peer: &str,
    section: &Section<'_>,
) {
    let line = Some(section.line_of("peers").unwrap_or(section.line()));
    let others: Vec<&str> = guests
        .iter()
        .filter(|other| other.name != guest.name && other.vsock.is_some())
        .map(|other| other.name.as_str())
        .collect();
    if !others.contains(&peer) {
        let near = nearest(peer, &others).or(others.first().copied());
        let expected = if others.is_empty() {
            "no peers: no other guest has a section [vm.vsock]".to_owned()
        } else {
            format!(
                "another guest with a section [vm.vsock]: {}",
                one_of(&others)
            )
        };
        let write = match near {
            Some(near) => format!("`peers = [\"{near}\"]`"),
            None => "`peers = []`".to_owned(),
        };
        reader.mistake(line, format!("the peer \"{peer}\""), expected, write);
        return;
    }
    let Some(other) = guests.iter().find(|other| other.name == peer) else {
        return;
    };
    if !may_talk(guest, other) {
        reader.mistake(
            line,
            format!(
                "the peer \"{peer}\", whose peers are without \"{}\"",
                guest.name
            ),
            "two guests that name each other: both must allow it",
            format!(
                "\"{}\" among the peers of {peer}, or not \"{peer}\" here",
                guest.name
            ),
        );
    }
}
